//! `consign transfers`: what this node sends, and below it what it receives.

use std::io::Write as _;

use super::client::{encoded, read};
use super::command::TransfersArgs;
use super::exit::Failure;
use super::human;
use super::paint::Paint;
use super::session::Session;
use super::table::{Heading, Listing, names, numbers, words};
use crate::api::model::{Consumer, File, Transfer};
use crate::api::received::Received;
use crate::timestamp::Timestamp;

/// Rows that are laid out together.
const BLOCK_ROWS: usize = 500;

pub(super) async fn run(session: &mut Session, args: TransfersArgs) -> Result<(), Failure> {
    let mut lines = session.client.list(&path(&args)).await?;
    if args.output.json {
        while let Some(mut line) = lines.next().await? {
            line.push(b'\n');
            session.out.write_all(&line)?;
        }
        return Ok(());
    }
    let now = Timestamp::now();
    let (mut produced, mut received) = (produced(session.paint), received(session.paint));
    while let Some(line) = lines.next().await? {
        match read(&line)? {
            File::Produced(transfer) => produced.push(session, produced_row(&transfer, now))?,
            File::Received(file) => {
                // The listing has all that is produced first.
                produced.flush(session)?;
                if produced.any && !received.any {
                    session.print("\n")?;
                }
                received.push(session, received_row(&file, now))?;
            }
        }
    }
    produced.flush(session)?;
    received.flush(session)?;
    if !produced.any && !received.any {
        match path(&args).contains('?') {
            true => eprintln!("no transfers match"),
            false => eprintln!("this node has sent and received nothing yet"),
        }
    }
    Ok(())
}

/// A table that is printed as it grows.
struct Growing {
    listing: Listing,
    block: Vec<Vec<String>>,
    any: bool,
}

impl Growing {
    fn new(paint: Paint, header: &[Heading]) -> Self {
        Self {
            listing: Listing::new(paint, header),
            block: Vec::new(),
            any: false,
        }
    }

    fn push(&mut self, session: &mut Session, row: Vec<String>) -> Result<(), Failure> {
        self.block.push(row);
        self.any = true;
        match self.block.len() {
            BLOCK_ROWS => self.flush(session),
            _ => Ok(()),
        }
    }

    fn flush(&mut self, session: &mut Session) -> Result<(), Failure> {
        let block = std::mem::take(&mut self.block);
        match block.is_empty() {
            true => Ok(()),
            false => Ok(session.print(&self.listing.block(block))?),
        }
    }
}

fn path(args: &TransfersArgs) -> String {
    let state = args.state.map(|state| state.to_string());
    let filters = [
        ("state", state.as_deref()),
        ("feed", args.feed.as_deref()),
        ("to", args.to.as_deref()),
        ("from", args.from.as_deref()),
    ];
    let set = filters.into_iter().filter_map(|(name, value)| {
        let value = encoded(value?);
        Some(format!("{name}={value}"))
    });
    let query: Vec<String> = set.collect();
    match query.is_empty() {
        true => "/transfers".to_owned(),
        false => format!("/transfers?{}", query.join("&")),
    }
}

fn produced(paint: Paint) -> Growing {
    let header = [
        words("ID"),
        words("FEED"),
        names("NAME"),
        numbers("SIZE"),
        words("STATE"),
        numbers("AGE"),
        words("CONSUMERS"),
    ];
    Growing::new(paint, &header)
}

fn produced_row(transfer: &Transfer, now: Timestamp) -> Vec<String> {
    vec![
        transfer.id.clone(),
        transfer.feed.clone(),
        transfer.name.clone(),
        human::bytes(transfer.size),
        transfer.state.clone(),
        human::age(now.since(transfer.submitted_at)),
        match &transfer.error {
            Some(error) => error.clone(),
            None => consumers(transfer),
        },
    ]
}

fn received(paint: Paint) -> Growing {
    let header = [
        words("RECEIVED ID"),
        words("FEED"),
        names("NAME"),
        numbers("SIZE"),
        words("STATE"),
        numbers("AGE"),
        words("HERE"),
    ];
    Growing::new(paint, &header)
}

fn received_row(file: &Received, now: Timestamp) -> Vec<String> {
    let since = [file.published_at, file.abandoned_at, file.saved_at];
    let since = since.into_iter().flatten().next();
    vec![
        file.id.clone(),
        file.feed.clone(),
        file.name.clone(),
        human::bytes(file.size),
        file.state.clone(),
        human::age(now.since(since.unwrap_or(file.submitted_at))),
        match (file.state.as_str(), file.place()) {
            ("published", Some(place)) => place,
            ("receiving", _) => human::percent(file.bytes, file.size),
            _ => String::new(),
        },
    ]
}

/// `store-1, store-2 45%`: who has it is only named, who has not says how far it is.
fn consumers(transfer: &Transfer) -> String {
    let told = transfer
        .consumers
        .iter()
        .map(|consumer| match consumer.state.as_str() {
            "saved" => consumer.node.clone(),
            _ => format!("{} {}", consumer.node, progress(consumer, transfer.size)),
        });
    told.collect::<Vec<_>>().join(", ")
}

/// How far a consumer is: a percentage while bytes flow, else its state.
pub(super) fn progress(consumer: &Consumer, size: u64) -> String {
    let flows = consumer.bytes > 0 && !matches!(&*consumer.state, "received" | "saved");
    match flows {
        true => human::percent(consumer.bytes, size),
        false => consumer.state.clone(),
    }
}
