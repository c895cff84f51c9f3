//! `consign feeds`.

use super::command::Output;
use super::exit::Failure;
use super::human;
use super::paint::Paint;
use super::session::Session;
use super::table::{Listing, numbers, words};
use crate::api::model::Feed;
use crate::driver::snapshot::{ConsumedFeed, ProducedFeed};

pub(super) async fn run(session: &mut Session, output: Output) -> Result<(), Failure> {
    let feeds: Vec<Feed> = session.client.all("/feeds").await?;
    if output.json {
        for feed in &feeds {
            session.print_json(feed)?;
        }
        return Ok(());
    }
    let (mut produced, mut consumed) = (Vec::new(), Vec::new());
    for feed in feeds {
        match feed {
            Feed::Produce(feed) => produced.push(feed),
            Feed::Consume(feed) => consumed.push(feed),
        }
    }
    let paint = session.paint;
    let tables = [
        produced_table(&produced, paint),
        consumed_table(&consumed, paint),
    ];
    let tables: Vec<String> = tables.into_iter().filter(|text| !text.is_empty()).collect();
    Ok(session.print(&tables.join("\n"))?)
}

/// The feeds that a node produces; empty when there are none.
pub(super) fn produced_table(feeds: &[ProducedFeed], paint: Paint) -> String {
    if feeds.is_empty() {
        return String::new();
    }
    let header = [
        words("PRODUCES"),
        words("TO"),
        words("AFTERWARDS"),
        numbers("QUEUED"),
        numbers("SIZE"),
        numbers("MOVING"),
        numbers("FAILED"),
        numbers("DONE"),
        words("WATCHES"),
    ];
    let rows = feeds.iter().map(|feed| {
        vec![
            feed.feed.clone(),
            feed.replicas.clone(),
            feed.after.clone(),
            human::count(feed.queued_files),
            human::bytes(feed.queued_bytes),
            human::count(feed.active),
            human::count(feed.failed),
            human::count(feed.done_total),
            feed.watch.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    });
    Listing::new(paint, &header).block(rows.collect())
}

/// The feeds that a node consumes; empty when there are none.
pub(super) fn consumed_table(feeds: &[ConsumedFeed], paint: Paint) -> String {
    if feeds.is_empty() {
        return String::new();
    }
    let header = [
        words("CONSUMES"),
        words("INBOX"),
        numbers("FREE"),
        numbers("ARRIVING"),
        numbers("PUBLISHED"),
    ];
    let rows = feeds.iter().map(|feed| {
        vec![
            feed.feed.clone(),
            feed.inbox.clone(),
            human::bytes(feed.free_bytes),
            human::count(feed.staged_files),
            human::count(feed.published_total),
        ]
    });
    Listing::new(paint, &header).block(rows.collect())
}
