//! Waiting for transfers to end, with a progress bar for each consumer.

use std::collections::{BTreeMap, HashSet};
use std::io::Write as _;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::exit::{Exit, Failure};
use super::human;
use super::session::Session;
use crate::api::IDS_PER_REQUEST_MAX;
use crate::api::model::Transfer;

/// Pause between two looks: in proportion to what a look costs, so that a short wait ends soon and
/// a long one takes little from those who do the work.
const LOOK_EVERY_MIN: Duration = Duration::from_millis(20);
const LOOK_EVERY_MAX: Duration = Duration::from_millis(500);
const LOOK_EVERY_PER_FILE: Duration = Duration::from_micros(50);
/// Bars that are drawn; a terminal has no room for more.
const BARS_MAX: usize = 12;

/// How a wait ended.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    done: u64,
    bytes: u64,
    failed: u64,
    pending: u64,
}

impl Outcome {
    /// Says it, and whether it is good.
    pub(super) fn report(&self, took: Duration) -> Result<(), Failure> {
        let took = human::span(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        if self.done > 0 {
            eprintln!(
                "{}, {}: done in {took}",
                human::files(self.done),
                human::bytes(self.bytes)
            );
        }
        if self.failed > 0 {
            return Err(Failure::failed(format!(
                "{} failed; hint: `consign transfers --state failed` says why, `consign retry \
                 --failed` tries again",
                human::files(self.failed)
            )));
        }
        if self.pending > 0 {
            return Err(Failure::with(
                Exit::TimedOut,
                format!(
                    "{} not done after {took}; hint: they will still be delivered, `consign \
                     status` says what they wait for",
                    human::files(self.pending)
                ),
            ));
        }
        Ok(())
    }
}

/// Looks at the transfers until all have ended or the time is over. With `json`, each is printed
/// when it has ended.
pub(super) async fn for_all(
    session: &mut Session,
    ids: &[String],
    timeout: Option<Duration>,
    json: bool,
) -> Result<Outcome, Failure> {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut watch = Watch {
        pending: ids.to_vec(),
        outcome: Outcome::default(),
        bars: Bars::new(),
        json,
    };
    let mut is_away = false;
    loop {
        match watch.look(session).await {
            Ok(()) => is_away = false,
            // An agent that is restarted goes on with what was submitted, and so does this.
            Err(failure) if failure.exit == Some(Exit::Unreachable) => {
                if !is_away {
                    watch.bars.say(
                        "consign: the agent does not answer, waiting for it; what is submitted \
                         is delivered in any case",
                    );
                }
                is_away = true;
            }
            Err(failure) => return Err(failure),
        }
        let late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
        if watch.pending.is_empty() || late {
            watch.bars.clear();
            watch.outcome.pending = watch.pending.len() as u64;
            return Ok(watch.outcome);
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let files = u32::try_from(watch.pending.len()).unwrap_or(u32::MAX);
        let pause = LOOK_EVERY_PER_FILE.saturating_mul(files);
        let pause = match is_away {
            true => LOOK_EVERY_MAX,
            false => pause.clamp(LOOK_EVERY_MIN, LOOK_EVERY_MAX),
        };
        tokio::time::sleep(left.unwrap_or(pause).min(pause)).await;
    }
}

struct Watch {
    pending: Vec<String>,
    outcome: Outcome,
    bars: Bars,
    json: bool,
}

impl Watch {
    /// Looks at everything that is pending, once. What was not reached when this fails is pending
    /// still.
    async fn look(&mut self, session: &mut Session) -> Result<(), Failure> {
        self.bars.begin_round();
        let mut still = Vec::new();
        let pending = std::mem::take(&mut self.pending);
        for (at, ids) in pending.chunks(IDS_PER_REQUEST_MAX).enumerate() {
            let path = format!("/transfers?ids={}", ids.join(","));
            let found: Vec<Transfer> = match session.client.all(&path).await {
                Ok(found) => found,
                Err(failure) => {
                    still.extend_from_slice(&pending[at * IDS_PER_REQUEST_MAX..]);
                    self.pending = still;
                    return Err(failure);
                }
            };
            let mut ended = HashSet::new();
            for transfer in &found {
                if self.ended(session, transfer)? {
                    ended.insert(transfer.id.as_str());
                }
            }
            // What is not found is not in the catalogue yet.
            still.extend(
                ids.iter()
                    .filter(|id| !ended.contains(id.as_str()))
                    .cloned(),
            );
        }
        self.pending = still;
        // The bars are out of the way while data is printed, and drawn again after it.
        self.bars.all.suspend(|| session.out.flush())?;
        self.bars.draw();
        Ok(())
    }

    /// Counts a transfer, and says whether it has ended.
    fn ended(&mut self, session: &mut Session, transfer: &Transfer) -> Result<bool, Failure> {
        let ended = match transfer.state.as_str() {
            "done" => {
                self.outcome.done += 1;
                self.outcome.bytes += transfer.size;
                true
            }
            "failed" | "cancelled" => {
                self.outcome.failed += 1;
                let why = transfer.error.as_deref().unwrap_or(&transfer.state);
                let said = format!("consign: {} ({}): {why}", transfer.name, transfer.id);
                self.bars.say(&human::printable(&said));
                true
            }
            _ => false,
        };
        self.bars.count(transfer, ended);
        if ended && self.json {
            session.print_json(transfer)?;
        }
        Ok(ended)
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    held_bytes: u64,
    bytes: u64,
    saved: u64,
    files: u64,
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.held_bytes += other.held_bytes;
        self.bytes += other.bytes;
        self.saved += other.saved;
        self.files += other.files;
    }
}

/// A bar for each consumer; indicatif draws them on stderr, and only if that is a terminal.
struct Bars {
    all: MultiProgress,
    bars: BTreeMap<String, ProgressBar>,
    ended: BTreeMap<String, Sum>,
    moving: BTreeMap<String, Sum>,
}

impl Bars {
    fn new() -> Self {
        Self {
            all: MultiProgress::new(),
            bars: BTreeMap::new(),
            ended: BTreeMap::new(),
            moving: BTreeMap::new(),
        }
    }

    fn begin_round(&mut self) {
        self.moving.clear();
    }

    fn count(&mut self, transfer: &Transfer, ended: bool) {
        let sums = match ended {
            true => &mut self.ended,
            false => &mut self.moving,
        };
        for consumer in &transfer.consumers {
            if matches!(&*consumer.state, "abandoned" | "abandoning" | "refused") {
                continue;
            }
            let sum = Sum {
                held_bytes: consumer.bytes,
                bytes: transfer.size,
                saved: u64::from(consumer.state == "saved"),
                files: 1,
            };
            sums.entry(consumer.node.clone()).or_default().add(sum);
        }
    }

    fn draw(&mut self) {
        let mut sums = self.ended.clone();
        for (node, sum) in &self.moving {
            sums.entry(node.clone()).or_default().add(*sum);
        }
        for (node, sum) in sums {
            if !self.bars.contains_key(&node) {
                if self.bars.len() >= BARS_MAX {
                    continue;
                }
                let bar = self.all.add(ProgressBar::new(0));
                bar.set_style(style());
                bar.set_prefix(node.clone());
                self.bars.insert(node.clone(), bar);
            }
            if let Some(bar) = self.bars.get(&node) {
                bar.set_length(sum.bytes);
                bar.set_position(sum.held_bytes);
                let (saved, files) = (human::count(sum.saved), human::files(sum.files));
                bar.set_message(format!("{saved} of {files} saved"));
            }
        }
    }

    fn say(&self, line: &str) {
        self.all.suspend(|| eprintln!("{line}"));
    }

    fn clear(&self) {
        // Only fails when the terminal is gone, and then nobody looks.
        let _ = self.all.clear();
    }
}

fn style() -> ProgressStyle {
    // Without colours: calm everywhere, and nothing to switch off.
    ProgressStyle::with_template("{prefix:>16}  {bar:32}  {bytes:>10} / {total_bytes:10} {msg}")
        .expect("a constant template")
        .progress_chars("━╸─")
}
