//! `consign show ID`: what one transfer is, who has it, and its whole timeline.

use std::fmt::Write as _;

use serde_json::json;

use super::client::encoded;
use super::command::ShowArgs;
use super::exit::Failure;
use super::human;
use super::paint::Paint;
use super::session::Session;
use super::transfers::progress;
use crate::api::model::Transfer;
use crate::catalogue::Event;
use crate::timestamp::Timestamp;

pub(super) async fn run(session: &mut Session, args: ShowArgs) -> Result<(), Failure> {
    let path = format!("/transfers/{}", encoded(&args.id));
    let transfer: Transfer = session.client.get(&path).await?;
    let events: Vec<Event> = session.client.all(&format!("{path}/events")).await?;
    if args.output.json {
        let mut object = json!(transfer);
        object["events"] = json!(events);
        return Ok(session.print_json(&object)?);
    }
    let page = page(&transfer, &events, Timestamp::now(), session.paint);
    Ok(session.print(&page)?)
}

fn page(transfer: &Transfer, events: &[Event], now: Timestamp, paint: Paint) -> String {
    let mut out = String::new();
    about(&mut out, transfer, now, paint);
    consumers(&mut out, transfer, paint);
    timeline(&mut out, events, paint);
    out
}

fn about(out: &mut String, transfer: &Transfer, now: Timestamp, paint: Paint) {
    let Transfer { id, feed, .. } = transfer;
    let name = human::printable(&transfer.name);
    let state = paint.state(&transfer.state);
    let since = match transfer.done_at {
        Some(done) => format!("in {}", human::span(done.since(transfer.submitted_at))),
        None => format!("for {}", human::age(now.since(transfer.submitted_at))),
    };
    let size = human::bytes(transfer.size);
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{}  {state} {since}", paint.bold(name));
    let _ = writeln!(out, "  id      {id}");
    let _ = writeln!(out, "  feed    {feed}");
    if transfer.key != transfer.name {
        let _ = writeln!(out, "  key     {}", human::printable(&transfer.key));
    }
    let _ = writeln!(out, "  size    {size}");
    if let Some(digest) = &transfer.digest {
        let _ = writeln!(out, "  blake3  {digest}");
    }
    if let Some(error) = &transfer.error {
        let _ = writeln!(out, "  error   {}", human::printable(error));
        let _ = writeln!(out, "          try it again with `consign retry {id}`");
    }
}

fn consumers(out: &mut String, transfer: &Transfer, paint: Paint) {
    let all = &transfer.consumers;
    if !all.is_empty() {
        out.push('\n');
    }
    let wide = all.iter().map(|consumer| consumer.node.len()).max();
    for consumer in all {
        let progress = progress(consumer, transfer.size);
        let held = match progress == consumer.state {
            true => String::new(),
            false => format!(" {progress}, {}", human::bytes(consumer.bytes)),
        };
        let _ = writeln!(
            out,
            "  {:wide$}  {}{}",
            consumer.node,
            paint.state(&consumer.state),
            paint.dim(held),
            wide = wide.unwrap_or(0)
        );
    }
}

fn timeline(out: &mut String, events: &[Event], paint: Paint) {
    let Some(first) = events.first() else {
        return;
    };
    out.push('\n');
    let began = first.at.to_string();
    let _ = writeln!(out, "  {}", paint.dim(began));
    for event in events {
        let after = match event.at.since(first.at) {
            0 => String::new(),
            ms => format!("+{}", human::span(ms)),
        };
        let node = event.node.as_deref();
        let text = human::printable(&event.text);
        let said = match (node, text.as_str()) {
            (Some(node), "") => node.to_owned(),
            (Some(node), text) => format!("{node}: {text}"),
            (None, text) => text.to_owned(),
        };
        // Padded before it is painted, since colours have no width.
        let after = paint.dim(format!("{after:>14}"));
        let line = format!("{after}  {:<10}{said}", event.kind);
        let _ = writeln!(out, "{}", line.trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::model::Consumer;

    #[test]
    fn a_page_tells_the_whole_story() {
        let consumer = |node: &str, state: &str, bytes| Consumer {
            node: node.to_owned(),
            state: state.to_owned(),
            bytes,
        };
        let transfer = Transfer {
            id: "cam-7.00c0ffee00c0ffee.42".to_owned(),
            feed: "images".to_owned(),
            name: "hall/\u{1b}[31mred.jpg".to_owned(),
            key: "hall".to_owned(),
            size: 4 << 20,
            digest: None,
            state: "placed".to_owned(),
            attempt: 2,
            consumers: vec![
                consumer("store-1", "saved", 4 << 20),
                consumer("archive-2", "receiving", 1 << 20),
            ],
            submitted_at: Timestamp(1_772_357_400_250),
            done_at: None,
            error: None,
        };
        let event = |ms: u64, kind: &str, node: Option<&str>, text: &str| Event {
            at: Timestamp(1_772_357_400_250 + ms),
            kind: kind.to_owned(),
            node: node.map(str::to_owned),
            text: text.to_owned(),
        };
        let events = [
            event(0, "submitted", None, "from /srv/out/red.jpg"),
            event(
                120,
                "placed",
                None,
                "on store-1 → archive-2: first placement",
            ),
            event(65_000, "saved", Some("store-1"), ""),
        ];
        let now = Timestamp(1_772_357_400_250 + 70_000);
        insta::assert_snapshot!(page(&transfer, &events, now, Paint::plain()));
    }
}
