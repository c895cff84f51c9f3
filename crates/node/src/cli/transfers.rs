//! `consign transfers`: what this node sends, and below it what it receives.

use std::io::{IsTerminal as _, Write as _};

use super::client::{encoded, read};
use super::command::TransfersArgs;
use super::exit::Failure;
use super::human;
use super::paint::Paint;
use super::session::Session;
use super::table::{Heading, Listing, names, numbers, words};
use crate::api::model::{Consumer, File, Status, Transfer};
use crate::api::received::Received;
use crate::timestamp::Timestamp;

/// Rows that are laid out together.
const BLOCK_ROWS: usize = 500;

/// Rows of each part that a terminal is given unless it asks for more: as much as anybody scrolls
/// through, at once, however many there are.
const TERMINAL_ROWS: u64 = 500;

pub(super) async fn run(session: &mut Session, args: TransfersArgs) -> Result<(), Failure> {
    let on_terminal = std::io::stdout().is_terminal() && !args.output.json;
    let limit = args.limit.or(on_terminal.then_some(TERMINAL_ROWS));
    let mut tables = Tables::new(session, args.output.json);
    match limit {
        None | Some(0) => {
            let mut lines = session.client.list(&path(&args, &[])).await?;
            while let Some(line) = lines.next().await? {
                tables.push(session, line)?;
            }
            tables.flush(session)?;
        }
        Some(limit) => {
            for part in ["produced", "received"] {
                let hidden = newest(session, &args, part, limit, &mut tables).await?;
                tables.flush(session)?;
                if hidden {
                    session.out.flush()?;
                    tell_hidden(session, &args, part, limit).await?;
                }
            }
        }
    }
    if !tables.any() && !args.output.json {
        match path(&args, &[]).contains('?') {
            true => eprintln!("no transfers match"),
            false => eprintln!("this node has sent and received nothing yet"),
        }
    }
    Ok(())
}

/// Lists the newest of a part, the very newest last. Whether there are more.
async fn newest(
    session: &mut Session,
    args: &TransfersArgs,
    part: &str,
    limit: u64,
    tables: &mut Tables,
) -> Result<bool, Failure> {
    let one_more = limit.saturating_add(1).to_string();
    let wanted = [("part", part), ("order", "newest"), ("limit", &one_more)];
    let mut lines = session.client.list(&path(args, &wanted)).await?;
    let (mut found, mut hidden) = (Vec::new(), false);
    while let Some(line) = lines.next().await? {
        hidden = found.len() as u64 == limit;
        if !hidden {
            found.push(line);
        }
    }
    for line in found.into_iter().rev() {
        tables.push(session, line)?;
    }
    Ok(hidden)
}

/// Says that not everything was listed, how much there is as far as that is counted, and how to see
/// it.
async fn tell_hidden(
    session: &Session,
    args: &TransfersArgs,
    part: &str,
    limit: u64,
) -> Result<(), Failure> {
    let status: Status = session.client.get("/status").await?;
    let counts = match part {
        "produced" => &status.transfers,
        _ => &status.deliveries,
    };
    let state = args.state.map(|state| state.to_string());
    let counted = counts.iter().filter(|count| {
        state.as_ref().is_none_or(|state| *state == count.state)
            && args.feed.as_ref().is_none_or(|feed| *feed == count.feed)
    });
    let all: u64 = counted.map(|count| count.files).sum();
    let of_all = match args.to.is_none() && args.from.is_none() {
        true => format!(" of {}", human::count(all)),
        false => String::new(),
    };
    eprintln!(
        "only the newest {}{of_all} {part} are listed; hint: --limit 0 lists all, --state, --feed, \
         --to and --from choose, and --json is for programs",
        human::count(limit)
    );
    Ok(())
}

/// The two tables, or lines of JSON instead.
struct Tables {
    json: bool,
    produced: Growing,
    received: Growing,
    now: Timestamp,
}

impl Tables {
    fn new(session: &Session, json: bool) -> Self {
        Self {
            json,
            produced: produced(session.paint),
            received: received(session.paint),
            now: Timestamp::now(),
        }
    }

    fn any(&self) -> bool {
        self.produced.any || self.received.any
    }

    fn push(&mut self, session: &mut Session, mut line: Vec<u8>) -> Result<(), Failure> {
        if self.json {
            line.push(b'\n');
            return Ok(session.out.write_all(&line)?);
        }
        match read(&line)? {
            File::Produced(transfer) => self
                .produced
                .push(session, produced_row(&transfer, self.now)),
            File::Received(file) => {
                // The listing has all that is produced first.
                self.produced.flush(session)?;
                if self.produced.any && !self.received.any {
                    session.print("\n")?;
                }
                self.received.push(session, received_row(&file, self.now))
            }
        }
    }

    fn flush(&mut self, session: &mut Session) -> Result<(), Failure> {
        self.produced.flush(session)?;
        self.received.flush(session)
    }
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

/// The listing that was asked for, with further `wishes`.
fn path(args: &TransfersArgs, wishes: &[(&str, &str)]) -> String {
    let state = args.state.map(|state| state.to_string());
    let filters = [
        ("state", state.as_deref()),
        ("feed", args.feed.as_deref()),
        ("to", args.to.as_deref()),
        ("from", args.from.as_deref()),
    ];
    let wishes = wishes.iter().map(|&(name, value)| (name, Some(value)));
    let set = filters
        .into_iter()
        .chain(wishes)
        .filter_map(|(name, value)| {
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
