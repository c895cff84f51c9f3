//! What a command works with: the agent it asks, and the stdout it prints its data to.

use std::io::{self, BufWriter, Write};

use serde::Serialize;

use super::client::Client;
use super::paint::Paint;

/// One run of a command.
pub(super) struct Session {
    /// The way to the agent.
    pub(super) client: Client,
    /// stdout; buffered, so what must be seen at once has to be flushed.
    pub(super) out: Box<dyn Write>,
    /// Whether colours are welcome there.
    pub(super) paint: Paint,
}

impl Session {
    /// A session with the process's own stdout.
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            out: Box::new(BufWriter::new(io::stdout())),
            paint: Paint::for_stdout(),
        }
    }

    /// Prints a page or a line.
    pub(super) fn print(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())
    }

    /// Prints an object as one line of JSON.
    pub(super) fn print_json(&mut self, object: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, object)?;
        self.out.write_all(b"\n")
    }
}
