//! `consign retry`, `cancel` and `forget`.

use serde_json::{Value, json};

use super::client::encoded;
use super::command::{CancelArgs, ForgetArgs, RetryArgs};
use super::exit::{Exit, Failure, told};
use super::human;
use super::session::Session;
use crate::api::model::Acted;

pub(super) async fn retry(session: &mut Session, args: RetryArgs) -> Result<(), Failure> {
    if !args.failed {
        return each(session, &args.ids, "retry", "tried again", args.output.json).await;
    }
    let acted: Acted = session
        .client
        .post("/transfers/retry-failed", &json!({}))
        .await?;
    match args.output.json {
        true => session.print_json(&acted)?,
        false => session.print(&format!("{} tried again\n", human::files(acted.files)))?,
    }
    for refused in &acted.refused {
        eprintln!("consign: {}", told(&refused.error));
    }
    match acted.refused.is_empty() {
        true => Ok(()),
        false => Err(Failure::silent(Exit::Failed)),
    }
}

pub(super) async fn cancel(session: &mut Session, args: CancelArgs) -> Result<(), Failure> {
    each(session, &args.ids, "cancel", "cancelled", args.output.json).await
}

/// Does it to one after the other; one that is refused does not keep the rest from it.
async fn each(
    session: &mut Session,
    ids: &[String],
    action: &str,
    done: &str,
    as_json: bool,
) -> Result<(), Failure> {
    let mut any_refused = false;
    for id in ids {
        let path = format!("/transfers/{}/{action}", encoded(id));
        match session.client.post::<Acted>(&path, &json!({})).await {
            Ok(acted) if as_json => {
                let note = acted.note;
                session.print_json(&json!({"id": id, "result": done, "note": note}))?;
            }
            Ok(Acted { note: None, .. }) => session.print(&format!("{id} {done}\n"))?,
            Ok(Acted {
                note: Some(note), ..
            }) => session.print(&format!("{id} {done}: {}\n", human::printable(&note)))?,
            // The agent is away, or the id is no id: what follows would fare no better.
            Err(failure) if failure.exit != Some(Exit::Failed) => return Err(failure),
            Err(failure) => {
                failure.say();
                any_refused = true;
            }
        }
    }
    match any_refused {
        true => Err(Failure::silent(Exit::Failed)),
        false => Ok(()),
    }
}

pub(super) async fn forget(session: &mut Session, args: ForgetArgs) -> Result<(), Failure> {
    let path = format!("/nodes/{}/forget", encoded(&args.node));
    let answer: Value = session.client.post(&path, &json!({})).await?;
    match args.output.json {
        true => session.print_json(&answer)?,
        false => session.print(&format!(
            "{} is forgotten; what was owed to it goes to others, as soon as there are any\n",
            args.node
        ))?,
    }
    Ok(())
}
