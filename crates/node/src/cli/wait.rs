//! Waiting for transfers to end.
//!
//! The agent tells which ended as soon as that is synced ([`Hearing`]). It is asked about the others only
//! for progress bars, for the JSON of each, for why one failed, and where it cannot be heard.

use std::collections::{HashMap, HashSet};
use std::io::Write as _;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::bars::Bars;
use super::exit::{Exit, Failure};
use super::hearing::{Heard, Hearing};
use super::human;
use super::session::Session;
use crate::api::IDS_PER_REQUEST_MAX;
use crate::api::model::Transfer;

/// Pause between two looks: in proportion to what a look costs, so that a short wait ends soon and a long
/// one takes little from those who do the work.
const LOOK_EVERY_MIN: Duration = Duration::from_millis(20);
const LOOK_EVERY_MAX: Duration = Duration::from_millis(500);
/// While everything that ends is heard: an end may have been before that, and too fresh to be found.
const LOOK_EVERY_HEARING: Duration = Duration::from_secs(5);
const LOOK_EVERY_PER_FILE: Duration = Duration::from_micros(50);

/// How a wait ended.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    done: u64,
    bytes: u64,
    failed: u64,
    pending: u64,
}

impl Outcome {
    /// How many are done.
    #[cfg(test)]
    pub(super) fn done(&self) -> u64 {
        self.done
    }

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

/// What is wanted of a wait.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wanted {
    /// No longer than this.
    pub(super) timeout: Option<Duration>,
    /// Each transfer is printed when it has ended.
    pub(super) json: bool,
    /// Progress bars are drawn.
    pub(super) bars: bool,
}

/// Waits until all transfers have ended or the time is over; `sizes` has the length of each in bytes, by
/// its id.
pub(super) async fn for_all(
    session: &mut Session,
    hearing: &mut Hearing,
    sizes: HashMap<String, u64>,
    wanted: Wanted,
) -> Result<Outcome, Failure> {
    let began = Instant::now();
    let mut deadline = wanted
        .timeout
        .and_then(|timeout| began.checked_add(timeout));
    let mut watch = Watch {
        pending: sizes,
        ended: HashSet::new(),
        outcome: Outcome::default(),
        bars: Bars::new(),
        wanted,
        hears: false,
        is_away: false,
    };
    let mut look_at = began;
    let mut interrupt = signal(SignalKind::interrupt())?;
    loop {
        let late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
        if watch.pending.is_empty() || late {
            watch.bars.clear();
            watch.outcome.pending = watch.pending.len() as u64;
            return Ok(watch.outcome);
        }
        tokio::select! {
            biased;
            heard = hearing.next() => {
                if watch.hear(heard) {
                    look_at = Instant::now();
                }
            }
            () = tokio::time::sleep_until(look_at) => {
                // What is heard meanwhile waits: a look that began again with each word would not end.
                tokio::select! {
                    looked = watch.look(session) => {
                        looked?;
                        look_at = Instant::now() + watch.pause();
                    }
                    () = at(deadline) => {}
                    _ = interrupt.recv() => deadline = Some(Instant::now()),
                }
            }
            () = at(deadline) => {}
            // Whoever does not want to wait any longer is told what is left, as when the time is over.
            _ = interrupt.recv() => deadline = Some(Instant::now()),
        }
    }
}

/// That time; never, without one.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

struct Watch {
    /// By their ids, with their lengths in bytes.
    pending: HashMap<String, u64>,
    /// Those of them that were heard to have ended; how is to be looked up.
    ended: HashSet<String>,
    outcome: Outcome,
    bars: Bars,
    wanted: Wanted,
    /// Whether everything that ends is heard.
    hears: bool,
    is_away: bool,
}

impl Watch {
    /// Whether more is to be known of each than that it is done.
    fn wants_all(&self) -> bool {
        self.wanted.json || self.wanted.bars
    }

    /// Takes in what the agent tells, and says whether that is to be looked up at once.
    fn hear(&mut self, heard: Heard) -> bool {
        let (state, ids) = match heard {
            // Some may have ended before.
            Heard::Begins => {
                self.hears = true;
                return true;
            }
            Heard::Lost => {
                self.hears = false;
                return true;
            }
            Heard::Ended { state, ids } => (state, ids),
        };
        let mut is_news = false;
        for id in ids {
            if state == "done" && !self.wants_all() {
                if let Some(size) = self.pending.remove(&id) {
                    self.outcome.done += 1;
                    self.outcome.bytes += size;
                }
            } else if self.pending.contains_key(&id) {
                is_news |= self.ended.insert(id);
            }
        }
        is_news && (!self.wants_all() || self.ended.len() == self.pending.len())
    }

    /// How long until the next look.
    fn pause(&self) -> Duration {
        if self.is_away {
            return LOOK_EVERY_MAX;
        }
        let files = u32::try_from(self.pending.len()).unwrap_or(u32::MAX);
        let pause = LOOK_EVERY_PER_FILE.saturating_mul(files);
        match self.hears && !self.wants_all() && self.ended.is_empty() {
            // A look at many takes long, and hardly ever finds one.
            true => LOOK_EVERY_HEARING.max(10 * pause),
            false => pause.clamp(LOOK_EVERY_MIN, LOOK_EVERY_MAX),
        }
    }

    /// Looks at what is pending, once. Cancel safe: what was seen is counted.
    async fn look(&mut self, session: &mut Session) -> Result<(), Failure> {
        self.bars.begin_round();
        let ids: Vec<String> = self.pending.keys().cloned().collect();
        for ids in ids.chunks(IDS_PER_REQUEST_MAX) {
            let path = format!("/transfers?ids={}", ids.join(","));
            let found: Vec<Transfer> = match session.client.all(&path).await {
                Ok(found) => found,
                // An agent that is restarted goes on with what was submitted, and so does this.
                Err(failure) if failure.exit == Some(Exit::Unreachable) => {
                    if !std::mem::replace(&mut self.is_away, true) {
                        self.bars.say(
                            "consign: the agent does not answer, waiting for it; what is \
                             submitted is delivered in any case",
                        );
                    }
                    return Ok(());
                }
                Err(failure) => return Err(failure),
            };
            self.is_away = false;
            // What is not found is not in the catalogue yet.
            for transfer in &found {
                if self.has_ended(session, transfer)? {
                    self.pending.remove(&transfer.id);
                    self.ended.remove(&transfer.id);
                }
            }
        }
        self.bars.aside(|| session.out.flush())?;
        self.bars.draw();
        Ok(())
    }

    /// Counts a transfer, and says whether it has ended.
    fn has_ended(&mut self, session: &mut Session, transfer: &Transfer) -> Result<bool, Failure> {
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
        if ended && self.wanted.json {
            session.print_json(transfer)?;
        }
        Ok(ended)
    }
}
