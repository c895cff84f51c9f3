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
use crate::api::model::{File, Transfer};
use crate::api::received::Received;
use crate::catalogue::Event;
use crate::timestamp::Timestamp;

pub(super) async fn run(session: &mut Session, args: ShowArgs) -> Result<(), Failure> {
    let path = format!("/transfers/{}", encoded(&args.id));
    let file: File = session.client.get(&path).await?;
    let events: Vec<Event> = session.client.all(&format!("{path}/events")).await?;
    if args.output.json {
        let mut object = json!(file);
        object["events"] = json!(events);
        return Ok(session.print_json(&object)?);
    }
    let page = page(&file, &events, Timestamp::now(), session.paint);
    Ok(session.print(&page)?)
}

fn page(file: &File, events: &[Event], now: Timestamp, paint: Paint) -> String {
    let mut out = String::new();
    match file {
        File::Produced(transfer) => {
            about(&mut out, transfer, now, paint);
            consumers(&mut out, transfer, paint);
        }
        File::Received(file) => about_received(&mut out, file, now, paint),
    }
    timeline(&mut out, events, paint);
    out
}

fn about_received(out: &mut String, file: &Received, now: Timestamp, paint: Paint) {
    let name = human::printable(&file.name);
    let state = paint.state(&file.state);
    let since = [file.published_at, file.abandoned_at, file.saved_at];
    let since = since.into_iter().flatten().next();
    let since = since.map_or(String::new(), |at| {
        format!(" {} ago", human::span(now.since(at)))
    });
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{}  {state}{since}", paint.bold(name));
    let _ = writeln!(out, "  id      {}", file.id);
    let _ = writeln!(out, "  feed    {}", file.feed);
    let _ = writeln!(
        out,
        "  from    {}, submitted {} by its clock",
        file.producer, file.submitted_at
    );
    let held = match file.state.as_str() {
        "receiving" => format!(
            ", {} of it here ({})",
            human::bytes(file.bytes),
            human::percent(file.bytes, file.size)
        ),
        _ => String::new(),
    };
    let _ = writeln!(out, "  size    {}{held}", human::bytes(file.size));
    if let Some(digest) = &file.digest {
        let _ = writeln!(out, "  blake3  {digest}");
    }
    if let Some(place) = file.place() {
        let _ = writeln!(out, "  path    {}", human::printable(&place));
    }
    waits(out, file.waiting_reason.as_deref(), paint);
}

fn waits(out: &mut String, reason: Option<&str>, paint: Paint) {
    let Some(reason) = reason else {
        return;
    };
    let (what, hint) = crate::hint::split(reason);
    let what = human::printable(what);
    let _ = writeln!(out, "{}", human::paragraph("  waits   ", &what));
    if !hint.is_empty() {
        let hint = human::paragraph("          ", &human::printable(hint));
        let _ = writeln!(out, "{}", paint.dim(hint));
    }
}

fn about(out: &mut String, transfer: &Transfer, now: Timestamp, paint: Paint) {
    let Transfer { id, feed, .. } = transfer;
    let name = human::printable(&transfer.name);
    let state = paint.state(&transfer.state);
    let since = match transfer.done_at {
        Some(done) => format!("in {}", human::span(done.since(transfer.submitted_at))),
        None => human::lasting(now.since(transfer.submitted_at)),
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
        let error = human::printable(error);
        let _ = writeln!(out, "{}", human::paragraph("  error   ", &error));
        if !error.contains("hint: ") {
            let _ = writeln!(out, "          try it again with `consign retry {id}`");
        }
    }
    waits(out, transfer.waiting_reason.as_deref(), paint);
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
        let receipt = match consumer.receipt.as_deref() {
            None => String::new(),
            Some(word) => format!(", receipt {word}"),
        };
        let _ = writeln!(
            out,
            "  {:wide$}  {}{}{receipt}",
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
    use crate::api::received::Role;

    #[test]
    fn a_page_tells_the_whole_story() {
        let consumer = |node: &str, state: &str, bytes| Consumer {
            node: node.to_owned(),
            state: state.to_owned(),
            bytes,
            receipt: (state == "saved").then(|| "signed".to_owned()),
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
            waiting_reason: Some("archive-2 cannot be reached; hint: look".to_owned()),
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
        insta::assert_snapshot!(page(
            &File::Produced(transfer),
            &events,
            now,
            Paint::plain()
        ));
    }

    #[test]
    fn a_consumers_page_says_where_it_is_or_why_not_yet() {
        let at = |ms: u64| Timestamp(1_772_357_400_250 + ms);
        let mut file = Received {
            role: Role::Consumer,
            id: "cam-7.00c0ffee00c0ffee.42".to_owned(),
            producer: "cam-7".to_owned(),
            feed: "images".to_owned(),
            name: "hall/red.jpg".to_owned(),
            size: 4 << 20,
            digest: None,
            state: "receiving".to_owned(),
            bytes: 1 << 20,
            inbox: Some("/srv/in".to_owned()),
            path: None,
            submitted_at: at(0),
            saved_at: None,
            published_at: None,
            abandoned_at: None,
            waiting_reason: Some("cam-7 is not connected; hint: is it running?".to_owned()),
        };
        let opened = Event {
            at: at(90),
            kind: "opened".to_owned(),
            node: Some("cam-7".to_owned()),
            text: "attempt 1 of its incarnation 3".to_owned(),
        };
        let mut events = vec![opened];
        let now = at(70_000);
        let told = |file: &Received, events: &[Event]| {
            page(&File::Received(file.clone()), events, now, Paint::plain())
        };
        let waiting = told(&file, &events);
        file.state = "published".to_owned();
        file.path = Some("hall/red.jpg".to_owned());
        (file.saved_at, file.published_at) = (Some(at(60_000)), Some(at(60_010)));
        file.waiting_reason = None;
        for (ms, kind, text) in [
            (60_000, "saved", "synced, and certain to be published"),
            (60_010, "published", "in the inbox as hall/red.jpg"),
        ] {
            events.push(Event {
                at: at(ms),
                kind: kind.to_owned(),
                node: None,
                text: text.to_owned(),
            });
        }
        insta::assert_snapshot!(format!("{waiting}\n{}", told(&file, &events)));
    }
}
