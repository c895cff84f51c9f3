//! What a run leaves behind: a hash over everything that happened, and, when wanted, lines to read.

use std::cell::RefCell;
use std::rc::Rc;

/// Longest line that is kept, in bytes.
const LINE_BYTES_MAX: usize = 900;

/// A trace that outlives a world which panics.
pub type SharedTrace = Rc<RefCell<Trace>>;

/// The trace of one run.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// A trace; with `lines` one that can be read.
    #[must_use]
    pub fn new(lines: bool) -> SharedTrace {
        Rc::new(RefCell::new(Self {
            hash: 0xcbf2_9ce4_8422_2325,
            lines: lines.then(Vec::new),
        }))
    }

    /// Mixes numbers into the hash.
    pub fn mix(&mut self, numbers: &[u64]) {
        for &number in numbers {
            self.hash = (self.hash.rotate_left(5) ^ number).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
    }

    /// The hash over all that happened: the same seed gives the same.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Adds a line, if lines are kept.
    pub fn line(&mut self, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            let mut line = line();
            if line.len() > LINE_BYTES_MAX {
                let cut = (0..=LINE_BYTES_MAX)
                    .rev()
                    .find(|&at| line.is_char_boundary(at));
                line.truncate(cut.unwrap_or(0));
                line.push('…');
            }
            lines.push(line);
        }
    }

    /// The last lines in which any of `needles` occurs; all lines when there are no needles.
    #[must_use]
    pub fn tail(&self, needles: &[String], lines_max: usize) -> Vec<String> {
        let wanted =
            |line: &&String| needles.is_empty() || needles.iter().any(|n| line.contains(n));
        let mut tail: Vec<String> = self
            .lines
            .iter()
            .flatten()
            .rev()
            .filter(wanted)
            .take(lines_max)
            .cloned()
            .collect();
        tail.reverse();
        tail
    }
}
