//! `consign audit`: what was found, how each node stands, and whether all is well.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};

use super::client::read;
use super::command::AuditArgs;
use super::exit::{Exit, Failure};
use super::human::{self, paragraph};
use super::session::Session;
use super::table::{Heading, Listing, names, numbers, words};
use crate::api::AuditWanted;
use crate::audit::report::{Finding, Line, Outcome, Progress, Sum, Summary};
use crate::timestamp::Timestamp;

/// Files of one class that are named on a terminal.
const NAMED_MAX: usize = 10;
/// Reasons of one class that are given there.
const REASONS_MAX: usize = 3;

/// The classes in the order in which a person wants to hear of them.
const CLASSES: [(&str, &str); 5] = [
    ("missing", "MISSING AT"),
    ("different", "DIFFERENT AT"),
    ("rotten", "ROTTEN AT"),
    ("unknown", "UNKNOWN AT"),
    ("extra", "EXTRA AT"),
];

/// Audits. Exits with 1 when something is missing, different or rotten, or somebody was not reached.
pub(super) async fn run(session: &mut Session, args: AuditArgs) -> Result<(), Failure> {
    let wanted = AuditWanted {
        feed: args.feed,
        to: args.to,
        from: args.from,
        since: args.since.map(|span| {
            let ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
            Timestamp(Timestamp::now().0.saturating_sub(ms))
        }),
        read: args.read,
        reconcile: args.reconcile,
    };
    let mut lines = session.client.stream("/audit", &wanted).await?;
    let mut picture = Picture::default();
    let mut ticker = Ticker::default();
    let mut summary = None;
    let mut outcome = None;
    while let Some(mut line) = lines.next().await? {
        let told = read(&line)?;
        if args.output.json && !matches!(told, Line::Progress(_)) {
            line.push(b'\n');
            session.out.write_all(&line)?;
        }
        match told {
            Line::Progress(progress) => {
                // What was found so far is not kept back while files are being read.
                session.out.flush()?;
                ticker.show(&progress);
            }
            Line::Finding(finding) => picture.found(finding),
            Line::Consumer(sum) => picture.consumers.push(sum),
            Line::Own(sum) => picture.own.push(sum),
            Line::Reconciled(told) => outcome = Some(told),
            Line::Summary(last) => summary = Some(last),
        }
    }
    ticker.clear();
    let summary = summary.ok_or_else(|| {
        Failure::failed("the audit broke off; hint: see the log of the agent, then audit again")
    })?;
    if !args.output.json {
        picture.print(session, &summary)?;
    }
    session.out.flush()?;
    match outcome {
        Some(outcome) => reconciled(outcome)?,
        None if args.reconcile => {
            return Err(Failure::failed(
                "this agent does not know --reconcile; hint: upgrade it",
            ));
        }
        None => {}
    }
    match summary.sound {
        true => Ok(()),
        false => Err(Failure::silent(Exit::Failed)),
    }
}

/// Says what became of the wish to go on.
fn reconciled(outcome: Outcome) -> Result<(), Failure> {
    if let Some(why) = outcome.error {
        return Err(Failure::failed(format!("this node stays set apart: {why}")));
    }
    if outcome.delivered > 0 {
        eprintln!(
            "delivered by a later life of this node, and failed here with its next start: {}; `consign transfers --state failed` lists them then",
            human::files(outcome.delivered)
        );
    }
    eprintln!(
        "this node is reconciled with its peers; hint: start its agent again, then `consign audit` on each producer lists what it has lost"
    );
    Ok(())
}

/// How far it is, on one line of a terminal.
#[derive(Default)]
struct Ticker {
    shown: bool,
}

impl Ticker {
    fn show(&mut self, progress: &Progress) {
        if !std::io::stderr().is_terminal() {
            return;
        }
        let read = match progress.read_bytes {
            0 => String::new(),
            bytes => format!(", {} hashed", human::bytes(bytes)),
        };
        let (node, files) = (&progress.node, human::files(progress.files));
        eprint!("\r\x1b[K{}: {files}{read}", human::printable(node));
        self.shown = true;
    }

    fn clear(&self) {
        if self.shown {
            eprint!("\r\x1b[K");
        }
    }
}

/// What is shown: bounded, however much was found.
#[derive(Default)]
struct Picture {
    consumers: Vec<Sum>,
    own: Vec<Sum>,
    found: BTreeMap<String, Found>,
}

/// What was found of one class.
#[derive(Default)]
struct Found {
    named: Vec<Finding>,
    /// Each with the hint of the first that has it.
    reasons: Vec<(String, String)>,
    files: u64,
}

impl Picture {
    fn found(&mut self, finding: Finding) {
        let found = self.found.entry(finding.class.clone()).or_default();
        found.files += 1;
        let is_new = found
            .reasons
            .iter()
            .all(|(known, _)| *known != finding.reason);
        if is_new && found.reasons.len() < REASONS_MAX {
            let reason = (finding.reason.clone(), finding.hint.clone());
            found.reasons.push(reason);
        }
        if found.named.len() < NAMED_MAX {
            found.named.push(finding);
        }
    }

    fn print(&self, session: &mut Session, summary: &Summary) -> Result<(), Failure> {
        if self.consumers.is_empty() && self.own.is_empty() {
            eprintln!("there is nothing to audit: nothing was sent or received");
            return Ok(());
        }
        for (class, heading) in CLASSES {
            if let Some(found) = self.found.get(class) {
                print_found(session, heading, found)?;
            }
        }
        self.print_consumers(session, summary)?;
        self.print_own(session, summary)?;
        let unknown = self.found.contains_key("unknown");
        Ok(session.print(&verdict(summary, unknown, session.paint.is_on()))?)
    }

    fn print_consumers(&self, session: &mut Session, summary: &Summary) -> Result<(), Failure> {
        if self.consumers.is_empty() {
            return Ok(());
        }
        let header = [
            words("CONSUMER"),
            numbers("FILES"),
            numbers("OK"),
            numbers("OWED"),
            numbers("MISSING"),
            numbers("EXTRA"),
            numbers("DIFFERENT"),
            numbers("ROTTEN"),
            numbers("UNKNOWN"),
        ];
        let rows = self.consumers.iter().map(|sum| {
            let counts = &sum.counts;
            let of = [
                counts.files,
                counts.ok,
                counts.owed,
                counts.missing,
                counts.extra,
                counts.different,
                counts.rotten,
                counts.unknown,
            ];
            let cells = of.iter().map(|&count| human::count(count));
            [sum.node.clone()].into_iter().chain(cells).collect()
        });
        print_table(session, &header, rows.collect())?;
        for sum in &self.consumers {
            print_trouble(session, sum)?;
            print_copies(session, summary.read, "", sum)?;
        }
        Ok(session.print("\n")?)
    }

    fn print_own(&self, session: &mut Session, summary: &Summary) -> Result<(), Failure> {
        if self.own.is_empty() {
            return Ok(());
        }
        let header = [
            words("RECEIVED FROM"),
            numbers("FILES"),
            numbers("OK"),
            numbers("ARRIVING"),
            numbers("ROTTEN"),
        ];
        let rows = self.own.iter().map(|sum| {
            let counts = &sum.counts;
            let of = [counts.files, counts.ok, counts.owed, counts.rotten];
            let cells = of.iter().map(|&count| human::count(count));
            [sum.node.clone()].into_iter().chain(cells).collect()
        });
        print_table(session, &header, rows.collect())?;
        for sum in &self.own {
            print_trouble(session, sum)?;
            print_copies(session, summary.read, "from ", sum)?;
        }
        let about = match summary.read {
            true => "These are this node's own copies; their producers were not asked.",
            false => {
                "These are this node's own records of what it received; neither were their producers \
                 asked nor the files read. --read hashes those that still lie in an inbox."
            }
        };
        session.print(&(paragraph("  ", about) + "\n"))?;
        Ok(session.print("\n")?)
    }
}

fn print_table(
    session: &mut Session,
    header: &[Heading],
    rows: Vec<Vec<String>>,
) -> Result<(), Failure> {
    let text = Listing::new(session.paint, header).block(rows);
    Ok(session.print(&text)?)
}

fn print_found(session: &mut Session, heading: &'static str, found: &Found) -> Result<(), Failure> {
    let header = [words(heading), names("NAME"), words("ID")];
    let rows = found.named.iter().map(|finding| {
        let place = finding.path.as_ref().unwrap_or(&finding.name);
        vec![finding.node.clone(), place.clone(), finding.id.clone()]
    });
    print_table(session, &header, rows.collect())?;
    let left = found.files - found.named.len() as u64;
    if left > 0 {
        let more = format!("and {} more; --json lists all\n", human::files(left));
        session.print(&more)?;
    }
    for (reason, hint) in &found.reasons {
        let reason = human::printable(reason);
        session.print(&(paragraph("  ", &reason) + "\n"))?;
        let hint = human::printable(hint);
        session.print(&(paragraph("  hint: ", &hint) + "\n"))?;
    }
    Ok(session.print("\n")?)
}

/// Why a node did not answer.
fn print_trouble(session: &mut Session, sum: &Sum) -> Result<(), Failure> {
    let Some(error) = &sum.error else {
        return Ok(());
    };
    let error = human::printable(error);
    let (why, hint) = crate::hint::split(&error);
    let told = match sum.gone {
        true => format!("{}: {why}", sum.node),
        false => format!("{} could not be audited: {why}", sum.node),
    };
    session.print(&(paragraph("! ", &told) + "\n"))?;
    match hint {
        "" => Ok(()),
        hint => Ok(session.print(&(paragraph("  hint: ", hint) + "\n"))?),
    }
}

/// What became of the copies of one node, where there is something to say.
fn print_copies(session: &mut Session, read: bool, whose: &str, sum: &Sum) -> Result<(), Failure> {
    let counts = &sum.counts;
    let mut told = Vec::new();
    if read && counts.intact > 0 {
        let (files, read) = (human::count(counts.intact), human::bytes(counts.read_bytes));
        told.push(format!("{files} intact ({read} hashed)"));
    }
    for (count, what) in [
        (counts.taken, "taken by the application"),
        (counts.changed, "changed by the application"),
        (counts.unpublished, "saved and not in the inbox yet"),
        (counts.unread, "not readable for the agent"),
    ] {
        if count > 0 {
            told.push(format!("{} {what}", human::count(count)));
        }
    }
    match told.is_empty() {
        true => Ok(()),
        false => {
            let text = format!("{whose}{}: {}", sum.node, told.join(", "));
            Ok(session.print(&(paragraph("  ", &text) + "\n"))?)
        }
    }
}

fn verdict(summary: &Summary, unknown: bool, bright: bool) -> String {
    let counts = &summary.totals.counts;
    let bad: Vec<String> = [
        (counts.missing, "missing"),
        (counts.different, "different"),
        (counts.rotten, "rotten"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{} {what}", human::count(count)))
    .chain(match summary.totals.not_reached {
        0 => None,
        1 => Some("1 node not reached".to_owned()),
        nodes => Some(format!("{} nodes not reached", human::count(nodes))),
    })
    .collect();
    let took = human::span(summary.took_ms);
    let mut text = match bad.is_empty() {
        true if summary.totals.consumers == 0 && !summary.read => format!(
            "{} copies are on record; nothing was compared or read ({took})\n",
            human::count(counts.files)
        ),
        true => format!(
            "{}: of {} copies, none is {} ({took})\n",
            coloured("sound", "32", bright),
            human::count(counts.files),
            match summary.totals.consumers {
                0 => "rotten",
                _ => "missing, different or rotten",
            }
        ),
        false => format!(
            "{}: of {} copies, {} ({took})\n",
            coloured("not sound", "31", bright),
            human::count(counts.files),
            bad.join(", ")
        ),
    };
    if summary.totals.consumers > 0 && !summary.read {
        let note = "This compared what both sides have written down. --read also has the consumers hash \
                    the copies that still lie in their inboxes.";
        text += &(paragraph("", note) + "\n");
    }
    if let Some(from) = summary.history_from.filter(|_| unknown) {
        let note = format!("What this node itself knows goes back to {from}.");
        text += &(paragraph("", &note) + "\n");
    }
    text
}

fn coloured(text: &str, code: &str, bright: bool) -> String {
    match bright {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text.to_owned(),
    }
}
