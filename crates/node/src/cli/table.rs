//! Tables for people: a header, columns two spaces apart, no lines.

use comfy_table::{
    Attribute, Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table, Width, presets,
};

use super::human::printable;
use super::paint::{Paint, color_of};

/// A table that is written in blocks, so that a long listing needs no more memory than a short
/// one; columns grow with later blocks and never shrink.
pub(crate) struct Listing {
    header: Vec<Heading>,
    widths: Vec<u16>,
    paint: Paint,
    begun: bool,
}

/// A column: its name, and where its cells stand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heading {
    name: &'static str,
    right: bool,
}

/// A column of words.
pub(crate) const fn words(name: &'static str) -> Heading {
    Heading { name, right: false }
}

/// A column of numbers.
pub(crate) const fn numbers(name: &'static str) -> Heading {
    Heading { name, right: true }
}

impl Listing {
    pub(crate) fn new(paint: Paint, header: &[Heading]) -> Self {
        Self {
            header: header.to_vec(),
            widths: vec![0; header.len()],
            paint,
            begun: false,
        }
    }

    /// A block of rows as text, with a line end after each; the first block has the header.
    pub(crate) fn block(&mut self, rows: Vec<Vec<String>>) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_content_arrangement(ContentArrangement::Disabled);
        if self.paint.is_on() {
            table.enforce_styling();
            table.style_text_only();
        } else {
            table.force_no_tty();
        }
        if !self.begun {
            let names = self.header.iter();
            table.set_header(
                names.map(|heading| Cell::new(heading.name).add_attribute(Attribute::Dim)),
            );
            self.begun = true;
        }
        for row in rows {
            table.add_row(row.into_iter().map(|text| {
                let cell = Cell::new(printable(&text));
                match color_of(&text) {
                    Some(color) => cell.fg(color),
                    None => cell,
                }
            }));
        }
        self.lay_out(&mut table);
        let lines = table.lines().map(|line| line.trim_end().to_owned() + "\n");
        lines.collect()
    }

    fn lay_out(&mut self, table: &mut Table) {
        let content = table.column_max_content_widths();
        for (at, heading) in self.header.iter().enumerate() {
            let wide = content.get(at).copied().unwrap_or(0);
            self.widths[at] = self.widths[at].max(wide);
            let Some(column) = table.column_mut(at) else {
                continue;
            };
            column.set_padding((0, 2));
            let width = Width::Fixed(self.widths[at] + 2);
            column.set_constraint(ColumnConstraint::LowerBoundary(width));
            if heading.right {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_across_blocks() {
        let mut listing = Listing::new(Paint::plain(), &[words("NAME"), numbers("SIZE")]);
        let row = |name: &str, size: &str| vec![name.to_owned(), size.to_owned()];
        let mut text = listing.block(vec![row("a", "1.0 KiB"), row("long-name", "3 B")]);
        text += &listing.block(vec![row("b", "20 B")]);
        let expected = "NAME          SIZE\n\
                        a          1.0 KiB\n\
                        long-name      3 B\n\
                        b             20 B\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn colours_take_no_room_and_strangers_bring_none() {
        let header = [words("NAME"), words("STATE"), numbers("SIZE")];
        let row = ["a\u{1b}[31mb", "failed", "3 B"].map(str::to_owned);
        let plain = Listing::new(Paint::plain(), &header).block(vec![row.to_vec()]);
        let bright = Listing::new(Paint::bright(), &header).block(vec![row.to_vec()]);
        assert!(!plain.contains('\u{1b}'), "{plain:?}");
        assert!(bright.contains("\u{1b}["), "{bright:?}");
        let mut bare = String::new();
        for part in bright.split('\u{1b}') {
            // What follows an escape character, up to and including the `m` that ends its code.
            bare += part
                .strip_prefix('[')
                .map_or(part, |code| code.split_once('m').unwrap().1);
        }
        assert_eq!(bare, plain);
    }
}
