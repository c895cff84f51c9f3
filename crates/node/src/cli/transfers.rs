//! `consign transfers`.

use std::io::Write as _;

use super::client::{encoded, read};
use super::command::TransfersArgs;
use super::exit::Failure;
use super::human;
use super::paint::Paint;
use super::session::Session;
use super::table::{Listing, numbers, words};
use crate::api::model::{Consumer, Transfer};
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
    let mut listing = listing(session.paint);
    let (mut block, mut any) = (Vec::new(), false);
    let now = Timestamp::now();
    while let Some(line) = lines.next().await? {
        block.push(row(&read(&line)?, now));
        any = true;
        if block.len() == BLOCK_ROWS {
            session.print(&listing.block(std::mem::take(&mut block)))?;
        }
    }
    if !block.is_empty() {
        session.print(&listing.block(block))?;
    }
    if !any {
        eprintln!("no transfers match");
    }
    Ok(())
}

fn path(args: &TransfersArgs) -> String {
    let state = args.state.map(|state| state.to_string());
    let filters = [
        ("state", state.as_deref()),
        ("feed", args.feed.as_deref()),
        ("to", args.to.as_deref()),
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

fn listing(paint: Paint) -> Listing {
    let header = [
        words("ID"),
        words("FEED"),
        words("NAME"),
        numbers("SIZE"),
        words("STATE"),
        numbers("AGE"),
        words("CONSUMERS"),
    ];
    Listing::new(paint, &header)
}

fn row(transfer: &Transfer, now: Timestamp) -> Vec<String> {
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
