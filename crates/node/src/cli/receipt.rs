//! `consign receipt`: what consumers have signed for a file.

use std::io;

use super::client::encoded;
use super::command::ReceiptArgs;
use super::exit::Failure;
use super::session::Session;
use crate::api::model;
use crate::receipts::Document;

/// Prints the document of a transfer. What nobody has signed is said beside it.
pub(super) async fn export(session: &mut Session, args: ReceiptArgs) -> Result<(), Failure> {
    let id = args.id;
    let path = format!("/transfers/{}", encoded(&id));
    let document: Document = session.client.get(&format!("{path}/receipts")).await?;
    match args.output.json {
        true => session.print_json(&document)?,
        false => {
            let text = serde_json::to_string_pretty(&document).map_err(io::Error::from)?;
            session.print(&(text + "\n"))?;
        }
    }
    // Only talk: the document is there, whether the catalogue has its transfer or not.
    let Ok(model::File::Produced(transfer)) = session.client.get(&path).await else {
        return Ok(());
    };
    for consumer in &transfer.consumers {
        match (consumer.state.as_str(), consumer.receipt.as_deref()) {
            ("saved", Some("unsigned")) => eprintln!(
                "{} has saved it and signed nothing: it had no keys then, or is of a version that signs nothing",
                consumer.node
            ),
            ("saved", _) => {}
            (state, _) => eprintln!("{} has not saved it yet: {state}", consumer.node),
        }
    }
    Ok(())
}
