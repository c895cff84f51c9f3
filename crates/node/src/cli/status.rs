//! `consign status`: am I healthy, what is queued, what waits and why, what failed and what to do.

use std::fmt::Write as _;
use std::io::Write as _;

use super::command::Output;
use super::exit::{Exit, Failure};
use super::feeds::{consumed_table, produced_table};
use super::human;
use super::paint::Paint;
use super::session::Session;
use super::transfers::progress;
use crate::api::model::{Consumer, Status};
use crate::driver::snapshot::{ActiveTransfer, Snapshot};
use crate::timestamp::Timestamp;

/// Moving transfers that are listed; the others are counted.
const MOVING_SHOWN_MAX: usize = 8;

pub(super) async fn run(session: &mut Session, output: Output) -> Result<(), Failure> {
    let status: Status = session.client.get("/status").await?;
    match output.json {
        true => session.print_json(&status)?,
        false => session.print(&page(&status, Timestamp::now(), session.paint))?,
    }
    match status.node.ready && status.node.log.has_room {
        true => Ok(()),
        // Printed before the exit code tells it, which is the one thing that scripts look at.
        false => {
            session.out.flush()?;
            Err(Failure::silent(Exit::Failed))
        }
    }
}

// Writing to a String cannot fail, so the results of `writeln!` are dropped below.

fn page(status: &Status, now: Timestamp, paint: Paint) -> String {
    let mut out = String::new();
    heading(&mut out, status, now, paint);
    draining(&mut out, &status.node, paint);
    problems(&mut out, status, now, paint);
    waiting(&mut out, &status.node, paint);
    for table in [
        produced_table(&status.node.produces, paint),
        consumed_table(&status.node.consumes, paint),
    ] {
        if !table.is_empty() {
            let _ = write!(out, "\n{table}");
        }
    }
    moving(&mut out, &status.node, paint);
    arriving(&mut out, &status.node, paint);
    failed(&mut out, status, paint);
    out
}

fn heading(out: &mut String, status: &Status, now: Timestamp, paint: Paint) {
    let node = &status.node;
    let zone = node.zone.as_ref();
    let zone = zone.map_or(String::new(), |zone| format!(" in {zone}"));
    let _ = writeln!(
        out,
        "{}{zone}  {}",
        paint.bold(&node.node),
        paint.state(&status.health)
    );
    let about = format!(
        "consign {} · up {} · listens on {} · log {}\n{}{}",
        node.version,
        human::age(now.since(node.started_at)),
        node.listen,
        human::bytes(node.log.bytes),
        links(node),
        source(node)
    );
    let _ = writeln!(out, "{}", paint.dim(about));
}

/// `sends to 2 of 3 consumers · 1 producer sends here`, as far as the node does either.
fn links(node: &Snapshot) -> String {
    let consumers = node.members.iter().filter(|other| {
        other.name != node.node && !other.feeds.is_empty() && other.state != "forgotten"
    });
    let (connected, all) = consumers.fold((0, 0), |(connected, all), other| {
        (connected + usize::from(other.connected), all + 1)
    });
    let senders = node.members.iter().filter(|other| other.sends_here).count();
    let sends = format!("connected to {connected} of {all} consumers");
    let receives = match senders {
        1 => "1 producer is connected".to_owned(),
        _ => format!("{senders} producers are connected"),
    };
    match (node.produces.is_empty(), node.consumes.is_empty()) {
        (false, true) => sends,
        (true, false) => receives,
        (false, false) => format!("{sends} · {receives}"),
        (true, true) => {
            "it neither produces nor consumes: add [[produce]] or [[consume]]".to_owned()
        }
    }
}

/// Where the members are learned from, unless they are listed.
fn source(node: &Snapshot) -> String {
    let heard = node
        .members
        .iter()
        .filter(|m| m.heard == Some(true))
        .count();
    match (node.membership.source.as_str(), node.membership.reachable) {
        ("" | "static", _) => String::new(),
        (source, true) => {
            let all = node.members.len();
            format!(" · {source} hears {heard} of {all} members")
        }
        (source, false) if node.membership.error.is_some() => {
            format!(" · {source} does not answer")
        }
        (source, false) if node.members.len() > 1 => format!(" · {source} hears nobody"),
        (source, false) => format!(" · alone: {source} hears nobody yet"),
    }
}

/// What is wrong, and what to do about it.
fn complaint(out: &mut String, what: &str, hint: &str, paint: Paint) {
    let what = human::paragraph("! ", &human::printable(what));
    let hint = human::paragraph("  ", &human::printable(hint));
    let _ = writeln!(out, "\n{what}\n{}", paint.dim(hint));
}

/// Whether a node that drains may be switched off, and what it still waits for.
fn draining(out: &mut String, node: &Snapshot, paint: Paint) {
    let Some(drain) = &node.drain else {
        return;
    };
    if drain.is_done {
        let what = "it has drained: it has no duty left, and takes nothing new";
        let hint = "switch it off once the applications have taken what is in its inboxes; `consign drain --undo` takes it back";
        return complaint(out, what, hint, paint);
    }
    let what = "it drains: it takes nothing new, and finishes what it has";
    complaint(out, what, "`consign drain --undo` takes it back", paint);
    for line in &drain.waits_for {
        let (what, hint) = crate::hint::split(line);
        complaint(out, what, hint, paint);
    }
}

fn problems(out: &mut String, status: &Status, now: Timestamp, paint: Paint) {
    let node = &status.node;
    if node.plaintext {
        complaint(
            out,
            "nodes speak without TLS, and anyone between them can read and change files",
            "there are no keys in this version: keep to a network where every machine is trusted",
            paint,
        );
    }
    for problem in &node.problems {
        let since = human::lasting(now.since(problem.since));
        let what = format!("{} ({since})", problem.what);
        complaint(out, &what, &problem.hint, paint);
    }
    if node.ready && !node.log.has_room {
        complaint(
            out,
            "the intent log has no room, and no new files are accepted",
            "free some space in the data directory's filesystem",
            paint,
        );
    }
}

fn waiting(out: &mut String, node: &Snapshot, paint: Paint) {
    for feed in &node.produces {
        let Some(reason) = &feed.waiting_reason else {
            continue;
        };
        let (why, hint) = crate::hint::split_or(reason, "`consign nodes` lists the members");
        let verb = if feed.queued_files == 1 {
            "waits"
        } else {
            "wait"
        };
        let files = human::files(feed.queued_files);
        let what = format!("{files} of {} {verb}: {why}", feed.feed);
        complaint(out, &what, hint, paint);
    }
}

fn moving(out: &mut String, node: &Snapshot, paint: Paint) {
    if node.active.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{}", paint.dim("MOVING"));
    for transfer in node.active.iter().take(MOVING_SHOWN_MAX) {
        let ActiveTransfer {
            feed, size, phase, ..
        } = transfer;
        let consumers = transfer.consumers.iter().map(|consumer| {
            let known = Consumer {
                node: consumer.node.clone(),
                state: consumer.state.clone(),
                bytes: consumer.bytes,
                receipt: None,
            };
            format!("{} {}", consumer.node, progress(&known, *size))
        });
        let consumers: Vec<String> = consumers.collect();
        let _ = writeln!(
            out,
            "{}  {feed}  {}  {phase}: {}",
            human::printable(&transfer.name),
            human::bytes(*size),
            consumers.join(", ")
        );
    }
    let active: u64 = node.produces.iter().map(|feed| feed.active).sum();
    let more = active.saturating_sub(node.active.len().min(MOVING_SHOWN_MAX) as u64);
    if more > 0 {
        let _ = writeln!(
            out,
            "{}",
            paint.dim(format!("and {} more", human::count(more)))
        );
    }
}

fn arriving(out: &mut String, node: &Snapshot, paint: Paint) {
    if node.arriving.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{}", paint.dim("ARRIVING"));
    for file in node.arriving.iter().take(MOVING_SHOWN_MAX) {
        let progress = match file.state.as_str() {
            "receiving" => human::percent(file.bytes, file.size),
            state => state.to_owned(),
        };
        let _ = writeln!(
            out,
            "{}  {}  {}  from {}: {progress}",
            human::printable(&file.name),
            file.feed,
            human::bytes(file.size),
            file.producer
        );
    }
    let all: u64 = node.consumes.iter().map(|feed| feed.staged_files).sum();
    let more = all.saturating_sub(node.arriving.len().min(MOVING_SHOWN_MAX) as u64);
    if more > 0 {
        let more = format!("and {} more", human::count(more));
        let _ = writeln!(out, "{}", paint.dim(more));
    }
}

fn failed(out: &mut String, status: &Status, paint: Paint) {
    let failed = status
        .transfers
        .iter()
        .filter(|count| count.state == "failed");
    let files: u64 = failed.map(|count| count.files).sum();
    if files > 0 {
        complaint(
            out,
            &format!("{} failed", human::files(files)),
            "`consign transfers --state failed` says why and what to do; then `consign retry --failed` tries again",
            paint,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::model::Count;
    use crate::driver::snapshot::{ActiveConsumer, ConsumedFeed, LogState, Member, ProducedFeed};
    use crate::problems::Problem;

    const NOW: Timestamp = Timestamp(1_772_357_400_000);

    fn calm() -> Status {
        let member = |name: &str, connected| Member {
            feeds: vec!["images".to_owned()],
            name: name.to_owned(),
            connected,
            ..Member::default()
        };
        Status {
            health: "ok".to_owned(),
            node: Snapshot {
                node: "cam-7".to_owned(),
                zone: Some("hall-2".to_owned()),
                version: "0.1.0".to_owned(),
                started_at: Timestamp(NOW.0 - 7_200_000),
                ready: true,
                listen: "0.0.0.0:7420".to_owned(),
                log: LogState {
                    segments: 3,
                    bytes: 192 << 20,
                    has_room: true,
                },
                members: vec![member("cam-7", false), member("store-1", true)],
                produces: vec![ProducedFeed {
                    feed: "images".to_owned(),
                    replicas: "2".to_owned(),
                    after: "archive".to_owned(),
                    watch: Some("/srv/camera/out".to_owned()),
                    ..ProducedFeed::default()
                }],
                ..Snapshot::default()
            },
            transfers: Vec::new(),
            deliveries: Vec::new(),
        }
    }

    #[test]
    fn a_healthy_node_has_little_to_say() {
        insta::assert_snapshot!(page(&calm(), NOW, Paint::plain()));
    }

    #[test]
    fn a_troubled_node_says_what_is_wrong_and_what_to_do() {
        let mut status = calm();
        status.health = "degraded".to_owned();
        let node = &mut status.node;
        node.plaintext = true;
        node.problems.push(Problem {
            what: "the inbox /srv/in has 1.0 GiB left, less than min_free".to_owned(),
            hint: "free some space there".to_owned(),
            since: Timestamp(NOW.0 - 300_000),
        });
        node.produces[0].queued_files = 1_204;
        node.produces[0].queued_bytes = 3 << 30;
        node.produces[0].active = 20;
        node.produces[0].failed = 2;
        node.produces[0].waiting_reason = Some("no member consumes this feed".to_owned());
        node.consumes.push(ConsumedFeed {
            feed: "logs".to_owned(),
            inbox: "/srv/in".to_owned(),
            free_bytes: 1 << 30,
            staged_files: 3,
            published_total: 41_000,
            ..ConsumedFeed::default()
        });
        node.active.push(ActiveTransfer {
            name: "big.bin".to_owned(),
            feed: "images".to_owned(),
            size: 2 << 30,
            phase: "sending".to_owned(),
            consumers: vec![ActiveConsumer {
                node: "store-1".to_owned(),
                state: "receiving".to_owned(),
                bytes: 900 << 20,
            }],
            ..ActiveTransfer::default()
        });
        status.transfers.push(Count {
            feed: "images".to_owned(),
            state: "failed".to_owned(),
            files: 2,
            bytes: 0,
        });
        insta::assert_snapshot!(page(&status, NOW, Paint::plain()));
    }
}
