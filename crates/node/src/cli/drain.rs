//! `consign drain`.

use std::time::Duration;

use serde_json::{Value, json};

use super::client::encoded;
use super::command::DrainArgs;
use super::exit::Failure;
use super::human;
use super::session::Session;
use crate::api::model::Status;

/// How often the agent is asked whether it is done.
const ASK_EVERY: Duration = Duration::from_millis(500);

pub(super) async fn run(session: &mut Session, args: DrainArgs) -> Result<(), Failure> {
    let node = match args.node {
        Some(node) => node,
        None => session.client.get::<Status>("/status").await?.node.node,
    };
    let action = if args.undo { "undrain" } else { "drain" };
    let path = format!("/nodes/{}/{action}", encoded(&node));
    let answer: Value = session.client.post(&path, &json!({})).await?;
    if args.wait {
        wait(session, &node).await?;
    }
    let said = match (args.undo, args.wait) {
        (true, _) => format!("{node} takes part again\n"),
        (false, false) => format!(
            "{node} takes nothing new, and finishes what it has; `consign status` says when it is done\n"
        ),
        (false, true) => format!(
            "{node} has no duty left; it may be switched off once the applications have taken what is in its inboxes\n"
        ),
    };
    match args.output.json {
        true => session.print_json(&answer)?,
        false => session.print(&said)?,
    }
    Ok(())
}

/// Says what it waits for whenever that changes.
async fn wait(session: &Session, node: &str) -> Result<(), Failure> {
    let mut said = Vec::new();
    loop {
        let status: Status = session.client.get("/status").await?;
        let Some(drain) = status.node.drain else {
            return Err(Failure::failed(format!(
                "{node} was taken back into service; hint: `consign drain` orders it again"
            )));
        };
        if drain.is_done {
            return Ok(());
        }
        if drain.waits_for != said {
            for line in &drain.waits_for {
                let (what, hint) = crate::hint::split(line);
                eprintln!(
                    "waiting: {}  ({})",
                    human::printable(what),
                    human::printable(hint)
                );
            }
            said = drain.waits_for;
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}
