//! The agent's log: one line for each event, whatever the names in it are.

use std::io::{self, Write};

/// Stderr, on which each event stays one line. Names of files are chosen by strangers; a line end
/// in one would begin a line of the log that nobody wrote.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogLines;

impl Write for LogLines {
    /// Takes a whole event, as the subscriber hands it over.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        io::stderr()
            .lock()
            .write_all(escaped(&String::from_utf8_lossy(event)).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// An event with everything escaped that could pass for something else; its own end stays.
fn escaped(event: &str) -> String {
    let (line, end) = match event.strip_suffix('\n') {
        Some(line) => (line, "\n"),
        None => (event, ""),
    };
    let mut out = String::with_capacity(event.len());
    for c in line.chars() {
        match is_unruly(c) {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    out + end
}

/// Whether a character moves the cursor, ends a line, or turns the direction of what follows, so
/// that a name reads as another.
pub(crate) fn is_unruly(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_forges_no_line_of_the_log() {
        let event = "WARN file=\"a\nERROR all is lost\u{1b}[2J \u{202e}gpj.文\"\n";
        let expected = "WARN file=\"a\\nERROR all is lost\\u{1b}[2J \\u{202e}gpj.文\"\n";
        assert_eq!(escaped(event), expected);
    }
}
