//! What the agent tells of transfers that end, while something else is done.

use std::time::Duration;

use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::client::{Client, read};
use super::exit::{Exit, Failure};

/// What was heard and not asked for yet. More waits with the agent, which says so when it drops some.
const WAITING_MAX: usize = 1024;
/// Pause before an agent that cannot be heard is tried again.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// What is heard.
#[derive(Debug)]
pub(super) enum Heard {
    /// From here on everything is heard; what was before may not have been.
    Begins,
    /// These have ended, in this state.
    Ended { state: String, ids: Vec<String> },
    /// Nothing is heard until it begins again.
    Lost,
}

#[derive(Debug, Deserialize)]
struct Ended {
    state: String,
    ids: Vec<String>,
}

/// A task that listens until this is dropped.
#[derive(Debug)]
pub(super) struct Hearing {
    heard: mpsc::Receiver<Heard>,
    task: JoinHandle<()>,
}

impl Hearing {
    /// Begins to listen. When this returns, what ends is heard, if the agent can be heard at all.
    pub(super) async fn begin(client: &Client) -> Self {
        let (to, heard) = mpsc::channel(WAITING_MAX);
        let first = client.list("/events").await;
        let client = client.clone();
        let task = tokio::spawn(async move {
            let mut lines = first;
            loop {
                match lines {
                    Ok(lines) => {
                        // Whoever does not want it any more has dropped this.
                        let _ = to.send(Heard::Begins).await;
                        let _ = tell(lines, &to).await;
                    }
                    Err(Failure {
                        exit: Some(Exit::Unreachable),
                        ..
                    }) => {}
                    // An older agent tells nothing, and one with many listeners no more of them.
                    Err(_) => return std::future::pending().await,
                }
                let _ = to.send(Heard::Lost).await;
                tokio::time::sleep(AGAIN_AFTER).await;
                lines = client.list("/events").await;
            }
        });
        Self { heard, task }
    }

    /// The next that is heard. Cancel safe.
    pub(super) async fn next(&mut self) -> Heard {
        match self.heard.recv().await {
            Some(heard) => heard,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Hearing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Passes on what is told until it ends. Lines are those of server-sent events, one field each.
async fn tell(mut lines: super::client::Lines, to: &mpsc::Sender<Heard>) -> Result<(), Failure> {
    let mut kind = Vec::new();
    while let Some(line) = lines.next().await? {
        if let Some(name) = line.strip_prefix(b"event: ") {
            kind = name.to_vec();
        }
        let Some(data) = line.strip_prefix(b"data: ") else {
            continue;
        };
        let heard = match kind.as_slice() {
            b"ended" => {
                let Ended { state, ids } = read(data)?;
                Heard::Ended { state, ids }
            }
            b"missed" => Heard::Begins,
            _ => continue,
        };
        let _ = to.send(heard).await;
    }
    Ok(())
}
