//! Tables for people: a header, columns two spaces apart, no lines.

use std::io::IsTerminal as _;

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
    /// Whether it is read by a person, whose terminal has only so many columns.
    on_terminal: bool,
}

/// Characters of a name that are shown on a terminal.
const NAME_CHARS_MAX: usize = 48;

/// A column: its name, and where its cells stand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heading {
    name: &'static str,
    right: bool,
    /// Whether what strangers chose stands there, which may be as long as they like.
    cut: bool,
}

/// A column of words.
pub(crate) const fn words(name: &'static str) -> Heading {
    Heading {
        name,
        right: false,
        cut: false,
    }
}

/// A column of names of files: on a terminal the middle of a long one is left out.
pub(crate) const fn names(name: &'static str) -> Heading {
    Heading {
        cut: true,
        ..words(name)
    }
}

/// A column of numbers.
pub(crate) const fn numbers(name: &'static str) -> Heading {
    Heading {
        right: true,
        ..words(name)
    }
}

impl Listing {
    pub(crate) fn new(paint: Paint, header: &[Heading]) -> Self {
        Self {
            header: header.to_vec(),
            widths: vec![0; header.len()],
            paint,
            begun: false,
            on_terminal: std::io::stdout().is_terminal(),
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
            let cells = row.into_iter().zip(&self.header);
            table.add_row(cells.map(|(text, heading)| {
                let shown = printable(&text);
                let cell = match self.on_terminal && heading.cut {
                    true => Cell::new(without_middle(&shown, NAME_CHARS_MAX)),
                    false => Cell::new(shown),
                };
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

/// A text of at most so many characters: its beginning and its end tell it from others.
fn without_middle(text: &str, max: usize) -> String {
    let count = text.chars().count();
    if count <= max {
        return text.to_owned();
    }
    let (head, tail) = (max / 2, max - max / 2 - 1);
    let beginning = text.chars().take(head);
    beginning
        .chain(['…'])
        .chain(text.chars().skip(count - tail))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_keeps_its_beginning_and_its_end() {
        assert_eq!(without_middle("short", 5), "short");
        assert_eq!(without_middle("文very-long-name.jpg", 9), "文ver….jpg");
        let mut listing = Listing::new(Paint::plain(), &[names("NAME"), words("STATE")]);
        let row = || vec![vec!["n".repeat(255), "done".to_owned()]];
        listing.on_terminal = false;
        assert!(listing.block(row()).contains(&"n".repeat(255)));
        let mut listing = Listing::new(Paint::plain(), &[names("NAME"), words("STATE")]);
        listing.on_terminal = true;
        let widest = listing
            .block(row())
            .lines()
            .map(|line| line.chars().count())
            .max();
        assert_eq!(widest, Some(NAME_CHARS_MAX + 2 + "STATE".len()));
    }

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
