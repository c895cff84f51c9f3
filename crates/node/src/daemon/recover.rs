//! Recovery: opens the log, replays it into the state machines, and makes up for what the last life
//! left between two steps.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use consign_core::consumer::Consumer;
use consign_core::disk::Disk;
use consign_core::ids::{Incarnation, Sequence, Start, TransferId, TransferKey};
use consign_core::limits::SEGMENT_BYTES;
use consign_core::log::{Log, LogError, LogSettings, Position};
use consign_core::producer::{Identity, Producer};
use consign_core::record::Record;
use consign_core::spec::{After, Source};
use consign_core::view::{LastView, View};

use crate::catalogue::{self, LogSpan};
use crate::config::Config;
use crate::driver::own_records::OwnRecords;
use crate::inboxes::InboxMarks;
use crate::net::PastLife;
use crate::os_disk::OsDisk;
use crate::outbox::{OrphanKind, Outbox, OwedRemoval, owes_removal};
use crate::problems::Problems;

/// The log's directory in the data directory.
pub(crate) const LOG_DIR: &str = "log";

/// What recovery needs.
pub(super) struct Recovery<'a> {
    pub(super) config: &'a Config,
    pub(super) view: &'a View,
    pub(super) start: Start,
    pub(super) outbox: &'a Arc<Outbox>,
    pub(super) problems: &'a Problems,
}

/// What it gives.
pub(super) struct Recovered {
    pub(super) log: Log,
    pub(super) producer: Producer,
    pub(super) consumer: Consumer,
    /// The node's own records, which are neither machine's.
    pub(super) own: Own,
    /// Where feeds had their inboxes.
    pub(super) marks: InboxMarks,
}

/// A source whose release may have been cut short.
struct Unfinished {
    key: TransferKey,
    feed: String,
    name: String,
    source: Source,
}

impl Recovery<'_> {
    pub(super) async fn run(self) -> anyhow::Result<Recovered> {
        let me = Identity {
            node: self.config.node.name.clone(),
            incarnation: Incarnation(1),
            start: self.start,
            zone: self.config.node.zone.clone(),
        };
        let (view, data_dir) = (self.view.clone(), self.config.node.data_dir.clone());
        let replayed = tokio::task::spawn_blocking(move || replay(me, view, &data_dir));
        let (recovered, unfinished) = replayed
            .await
            .context("recovery panicked; hint: report this as a bug")??;
        self.make_up(&recovered.producer, &unfinished)?;
        Ok(recovered)
    }

    /// Removes the originals of files that were copied, remembers what `keep` took, and sets aside
    /// what is in the spool and in no record.
    fn make_up(&self, producer: &Producer, unfinished: &[Unfinished]) -> anyhow::Result<()> {
        let root = |one: &Unfinished| {
            let feed = self
                .config
                .produce
                .iter()
                .find(|feed| feed.policy.feed.as_str() == one.feed)?;
            let dir = feed.watch.as_ref()?.dir.clone();
            (one.source.watched && Path::new(&one.source.origin).starts_with(&dir)).then_some(dir)
        };
        let owed: Vec<_> = unfinished
            .iter()
            .filter(|one| owes_removal(&one.source))
            .map(|one| OwedRemoval {
                transfer: TransferId {
                    producer: self.config.node.name.clone(),
                    key: one.key,
                },
                feed: one.feed.clone(),
                name: one.name.clone(),
                source: one.source.clone(),
                beneath: root(one),
            })
            .collect();
        for stays in self.outbox.remove_or_remember(&owed)? {
            self.problems.add_staying(&stays);
        }
        let kept = unfinished
            .iter()
            .filter(|one| one.source.watched && one.source.after() == After::Keep);
        let kept =
            kept.filter_map(|one| Some((one.feed.as_str(), one.name.as_str(), one.source.stamp?)));
        self.outbox.kept().insert_batch(kept)?;
        self.clear_spool(producer).with_context(|| {
            format!(
                "cannot look after what the last run left in the spool under {}; hint: check that disk, and let this user write there",
                self.config.node.data_dir.display()
            )
        })
    }

    /// Removes parts of copies, and sets aside what may be the only copy of somebody's file.
    fn clear_spool(&self, producer: &Producer) -> io::Result<()> {
        for orphan in self.outbox.orphans(|name| producer.holds_spool(name))? {
            if orphan.kind == OrphanKind::Partial {
                self.outbox.discard_partial(&orphan.name)?;
                continue;
            }
            let aside = self.outbox.set_aside(&orphan.name)?;
            tracing::warn!(file = %orphan.name, "no record knows of this file in the spool; it was moved to {}", aside.display());
        }
        Ok(())
    }
}

fn replay(
    me: Identity,
    view: View,
    data_dir: &Path,
) -> anyhow::Result<(Recovered, Vec<Unfinished>)> {
    let disk = OsDisk::private(data_dir).with_context(|| {
        format!(
            "cannot open the data directory {}; hint: let this user read and write it",
            data_dir.display()
        )
    })?;
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let mut producer = Producer::new(me.clone(), view);
    let mut consumer = Consumer::new(me);
    let mut own = Own::default();
    let mut marks = InboxMarks::default();
    let mut sources = BTreeMap::new();
    let settings = LogSettings {
        segment_bytes: SEGMENT_BYTES,
        seed: u64::from_le_bytes(super::random()),
    };
    let began = std::time::Instant::now();
    let (log, recovery) = Log::open(
        disk,
        Path::new(LOG_DIR),
        settings,
        &mut |position, record, _| {
            producer.replay(position, &record);
            consumer.replay(position, &record);
            own.replay(&mut marks, position, &record);
            follow_sources(&mut sources, &record);
        },
    )?;
    own.found_to = recovery.found_to.map_or(0, Position::pack);
    tracing::info!(
        records = recovery.records,
        segments = recovery.segments,
        rewritten = recovery.rewritten_records,
        cut_bytes = recovery.cut_bytes,
        took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        "the intent log is recovered"
    );
    let recovered = Recovered {
        log,
        producer,
        consumer,
        own,
        marks,
    };
    Ok((recovered, sources.into_values().collect()))
}

/// The node's own records.
#[derive(Default)]
pub(super) struct Own {
    /// What counts of what they say of nodes.
    pub(super) of_nodes: OwnRecords,
    /// Whom it knew as members last.
    pub(super) view: LastView,
    /// The starts of its earlier lives.
    pub(super) starts: BTreeSet<Start>,
    /// The segment of the oldest of all these, and of where inboxes were.
    pub(super) from: Option<u32>,
    /// Earlier lives, as far back as it tells.
    pub(super) lives: Vec<PastLife>,
    /// And when this one did.
    pub(super) found_to: u64,
}

impl Own {
    fn replay(&mut self, marks: &mut InboxMarks, position: Position, record: &Record) {
        match record {
            record if record.is_of_nodes() => {
                self.of_nodes.note(record.clone());
            }
            Record::InboxMarked(marked) => marks.note(marked.clone()),
            Record::ViewSeen(seen) => self.view.note(seen),
            Record::Boot(boot) => {
                self.starts.insert(Start(boot.start));
                // Written again, as long as it is this life's.
                if self
                    .lives
                    .iter()
                    .all(|life| life.start != Start(boot.start))
                {
                    self.lives.push(PastLife {
                        incarnation: Incarnation(boot.incarnation),
                        start: Start(boot.start),
                        found_to: (boot.found_to > 0).then_some(boot.found_to),
                    });
                }
                return;
            }
            _ => return,
        }
        self.from.get_or_insert(position.segment);
    }
}

/// Sources that a restart may have to finish with: copied ones, and watched ones that stay.
fn follow_sources(sources: &mut BTreeMap<(u64, u64), Unfinished>, record: &Record) {
    match record {
        Record::Submitted(submitted) => {
            let source = &submitted.source;
            if owes_removal(source) || (source.watched && source.after() == After::Keep) {
                let key = TransferKey {
                    start: Start(submitted.start),
                    seq: Sequence(submitted.seq),
                };
                let unfinished = Unfinished {
                    key,
                    feed: submitted.spec.feed.clone(),
                    name: submitted.spec.name.clone(),
                    source: source.clone(),
                };
                sources.insert((submitted.start, submitted.seq), unfinished);
            }
        }
        Record::Released(released) => {
            for seq in released.seqs.iter().flat_map(|range| range.from..range.to) {
                let key = (released.start, seq);
                // One that stays may be owed to the kept set still, on a disk that is full.
                if sources
                    .get(&key)
                    .is_some_and(|one| one.source.after() != After::Keep)
                {
                    sources.remove(&key);
                }
            }
        }
        // It is given back, or was: what lies in its place again is the file itself.
        Record::Cancelled(cancelled) => {
            for seq in cancelled.seqs.iter().flat_map(|range| range.from..range.to) {
                let key = (cancelled.start, seq);
                if sources
                    .get(&key)
                    .is_some_and(|one| owes_removal(&one.source))
                {
                    sources.remove(&key);
                }
            }
        }
        _ => {}
    }
}

/// Whether an error means that the log is damaged below what was proven synced.
pub(super) fn is_damage(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref::<LogError>(),
        Some(LogError::Damaged { .. } | LogError::Unreadable { .. })
    )
}

fn segments_of(data_dir: &Path) -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir(data_dir.join(LOG_DIR));
    entries.into_iter().flatten().flatten().filter_map(|entry| {
        let name = entry.file_name();
        name.to_str()?.strip_suffix(".log")?.parse().ok()
    })
}

/// Refuses a data directory that was in use and whose log is gone. Begun anew it would forget what it
/// promised, and files in its spool would be nobody's.
pub(super) fn must_have_log(data_dir: &Path) -> anyhow::Result<()> {
    if segments_of(data_dir).next().is_some() {
        return Ok(());
    }
    let spool = std::fs::read_dir(data_dir.join("spool"));
    let is_used = spool.is_ok_and(|mut entries| entries.next().is_some())
        || catalogue::knows_any(&data_dir.join(catalogue::FILE));
    anyhow::ensure!(
        !is_used,
        "the intent log in {:?} is gone, and the data directory was in use; hint: bring {LOG_DIR}/ back from a copy; if there is none, move the whole data directory aside, start the agent, and send again what is in the old one's spool",
        data_dir.join(LOG_DIR)
    );
    Ok(())
}

/// What positions the log can have, told from its files' names alone: the catalogue compares it
/// with what it was filled from.
pub(super) fn span_of_log(data_dir: &Path) -> LogSpan {
    let (mut first, mut last) = (u32::MAX, 0);
    for segment in segments_of(data_dir) {
        first = first.min(segment);
        last = last.max(segment);
    }
    let at = |segment| Position { segment, offset: 0 }.pack();
    LogSpan {
        first: if first == u32::MAX { 0 } else { at(first) },
        // Recovery begins one further segment.
        end: at(last.saturating_add(2)),
    }
}

#[cfg(test)]
mod tests {
    use consign_core::ranges::SlotRange;
    use consign_core::record::{Submitted, Transfers};
    use consign_core::spec::FileSpec;

    use super::*;

    /// What a restart has to finish with after these records, of which there is one transfer.
    fn unfinished(source: &Source, cancelled: bool) -> usize {
        let mut sources = BTreeMap::new();
        let submitted = Record::Submitted(Submitted {
            start: 1,
            seq: 7,
            spec: FileSpec::default(),
            source: source.clone(),
            ..Submitted::default()
        });
        follow_sources(&mut sources, &submitted);
        if cancelled {
            let seqs = vec![SlotRange { from: 7, to: 8 }];
            let cancelled = Record::Cancelled(Transfers {
                start: 1,
                seqs,
                at: 1,
                reason: String::new(),
            });
            follow_sources(&mut sources, &cancelled);
        }
        sources.len()
    }

    #[test]
    fn a_copied_file_that_was_cancelled_is_not_removed_where_it_was_given_back() {
        let copied = Source {
            origin: "/srv/out/a".to_owned(),
            spool: "s.1.copy".to_owned(),
            after: After::Delete.into(),
            ..Source::default()
        };
        assert_eq!(unfinished(&copied, false), 1);
        assert_eq!(unfinished(&copied, true), 0);
        let kept = Source {
            after: After::Keep.into(),
            watched: true,
            ..copied
        };
        assert_eq!(unfinished(&kept, true), 1, "it must not be found again");
    }
}
