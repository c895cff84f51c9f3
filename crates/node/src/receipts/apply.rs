//! Applying records of the log to the tables, many in one transaction.
//!
//! Applying the log's records from any earlier point again, in order, ends in the same rows. What
//! begins and ends among the records of one transaction is written once, at its end.

mod batch;

use std::collections::{BTreeMap, HashMap};

use consign_core::ranges::SlotRange;
use consign_core::record::{
    DigestKnown, LegRung, LegsSettled, Placed, Record, Submitted, Transfers,
};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::bounds::NODES_MAX;

/// A transfer, by its start and sequence.
type Key = (u64, u64);
/// A slot, by its consumer, the start under which it was drawn, and its number.
type SlotKey = (i64, u64, u64);

/// The numbers that nodes have in the database.
pub(super) type Nodes = HashMap<String, i64>;

/// Whether the archive needs a record.
pub(crate) fn concerns(record: &Record) -> bool {
    matches!(
        record,
        Record::Submitted(_)
            | Record::Placed(_)
            | Record::DigestKnown(_)
            | Record::LegsSettled(_)
            | Record::Done(_)
            | Record::Cancelled(_)
            | Record::Forgotten(_)
    )
}

/// A file as it was submitted in this transaction.
#[derive(Debug, Default)]
struct Fresh {
    feed: String,
    name: String,
    size: u64,
    digest: Vec<u8>,
    ended_at: Option<u64>,
}

/// A transaction under way.
pub(super) struct Applier<'a> {
    db: &'a Connection,
    nodes: &'a mut Nodes,
    fresh: BTreeMap<Key, Fresh>,
    placed: BTreeMap<SlotKey, Key>,
    /// Whether slots count that are answered for already.
    with_settled: bool,
}

impl<'a> Applier<'a> {
    /// Begins within the caller's transaction.
    pub(super) fn new(db: &'a Connection, nodes: &'a mut Nodes) -> Self {
        Self {
            db,
            nodes,
            fresh: BTreeMap::new(),
            placed: BTreeMap::new(),
            with_settled: false,
        }
    }

    /// Learns whose slots are whose, for an archive that was begun after the log: the placement that an
    /// answer is to may have been carried behind it.
    pub(super) fn learn(&mut self, record: &Record) -> rusqlite::Result<()> {
        self.with_settled = true;
        match record {
            Record::Submitted(_) | Record::Placed(_) => self.apply(record),
            _ => Ok(()),
        }
    }

    /// Applies one record.
    pub(super) fn apply(&mut self, record: &Record) -> rusqlite::Result<()> {
        match record {
            Record::Submitted(body) => {
                self.submitted(body);
                Ok(())
            }
            Record::DigestKnown(DigestKnown { start, seq, digest }) => {
                self.digest_known((*start, *seq), digest)
            }
            Record::Placed(body) => self.placed(body),
            Record::LegsSettled(body) => self.legs_settled(body),
            Record::Done(body) | Record::Cancelled(body) => self.ended(body),
            // It will never sign anything, so nothing waits for it.
            Record::Forgotten(body) => {
                let node = self.node(&body.node)?;
                self.placed.retain(|(consumer, ..), _| *consumer != node);
                let mut delete = self
                    .db
                    .prepare_cached("DELETE FROM placed WHERE consumer = ?1")?;
                delete.execute([node]).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Writes what is left to be written. To be called before the transaction's commit.
    pub(super) fn finish(self) -> rusqlite::Result<()> {
        let mut insert = self.db.prepare_cached(
            "INSERT INTO transfers (start, seq, feed, name, size, digest, ended_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT DO UPDATE SET digest = coalesce(digest, excluded.digest),
                 ended_at = coalesce(ended_at, excluded.ended_at)",
        )?;
        for ((start, seq), fresh) in self.fresh {
            insert.execute(params![
                start.cast_signed(),
                seq.cast_signed(),
                fresh.feed,
                fresh.name,
                fresh.size.cast_signed(),
                digest_or_null(&fresh.digest),
                fresh.ended_at.map(u64::cast_signed),
            ])?;
        }
        let mut insert = self
            .db
            .prepare_cached("INSERT OR IGNORE INTO placed VALUES (?1, ?2, ?3, ?4, ?5)")?;
        for ((consumer, slot_start, slot), (start, seq)) in self.placed {
            insert.execute(params![
                consumer,
                slot_start.cast_signed(),
                slot.cast_signed(),
                start.cast_signed(),
                seq.cast_signed(),
            ])?;
        }
        Ok(())
    }

    /// Also one that is only carried: it changes nothing.
    fn submitted(&mut self, body: &Submitted) {
        let fresh = self.fresh.entry((body.start, body.seq)).or_default();
        fresh.feed.clone_from(&body.spec.feed);
        fresh.name.clone_from(&body.spec.name);
        fresh.size = body.spec.size;
        if fresh.digest.is_empty() {
            fresh.digest.clone_from(&body.digest);
        }
    }

    fn digest_known(&mut self, key: Key, digest: &[u8]) -> rusqlite::Result<()> {
        if let Some(fresh) = self.fresh.get_mut(&key) {
            fresh.digest = digest.to_vec();
            return Ok(());
        }
        self.db
            .prepare_cached(
                "UPDATE transfers SET digest = ?3 WHERE start = ?1 AND seq = ?2 AND digest IS NULL",
            )?
            .execute(params![
                key.0.cast_signed(),
                key.1.cast_signed(),
                digest_or_null(digest)
            ])
            .map(drop)
    }

    fn placed(&mut self, body: &Placed) -> rusqlite::Result<()> {
        let key = (body.start, body.seq);
        if !body.digest.is_empty() {
            self.digest_known(key, &body.digest)?;
        }
        for leg in &body.legs {
            // Whoever is told off may have saved it already, and says so with a receipt.
            let is_open = match LegRung::try_from(leg.rung) {
                Ok(LegRung::Owed | LegRung::Abandoning | LegRung::Refused) => true,
                Ok(LegRung::Saved | LegRung::Abandoned) | Err(_) => false,
            };
            if is_open || self.with_settled {
                let consumer = self.node(&leg.node)?;
                self.placed.insert((consumer, leg.start, leg.slot), key);
            }
        }
        Ok(())
    }

    fn legs_settled(&mut self, body: &LegsSettled) -> rusqlite::Result<()> {
        let consumer = self.node(&body.node)?;
        let signed = body.receipt.as_ref().filter(|r| !r.signature.is_empty());
        match (LegRung::try_from(body.rung), signed) {
            (Ok(LegRung::Saved), Some(receipt)) => self.signed(consumer, body, receipt),
            (Ok(LegRung::Saved | LegRung::Abandoned), _) => {
                for slot in numbers(&body.slots) {
                    self.take_slot((consumer, body.start, slot))?;
                }
                Ok(())
            }
            // A refused one may still be told off, or tried again.
            (Ok(LegRung::Refused | LegRung::Owed | LegRung::Abandoning) | Err(_), _) => Ok(()),
        }
    }

    fn ended(&mut self, body: &Transfers) -> rusqlite::Result<()> {
        for range in &body.seqs {
            let keys = (body.start, range.from)..(body.start, range.to);
            if range.from < range.to {
                for (_, fresh) in self.fresh.range_mut(keys) {
                    fresh.ended_at = Some(body.at);
                }
            }
            self.db
                .prepare_cached(
                    "UPDATE transfers SET ended_at = ?4
                     WHERE start = ?1 AND seq >= ?2 AND seq < ?3 AND ended_at IS NULL",
                )?
                .execute(params![
                    body.start.cast_signed(),
                    range.from.cast_signed(),
                    range.to.cast_signed(),
                    body.at.cast_signed(),
                ])?;
        }
        Ok(())
    }

    /// Whose slot it is, if that is still open; it is not any more.
    fn take_slot(&mut self, slot: SlotKey) -> rusqlite::Result<Option<Key>> {
        // Most are placed and answered for among the same records.
        let fresh = self.placed.remove(&slot);
        let (consumer, start, number) = slot;
        let mut delete = self.db.prepare_cached(
            "DELETE FROM placed WHERE consumer = ?1 AND start = ?2 AND slot = ?3
             RETURNING of_start, of_seq",
        )?;
        let known = delete
            .query_row(
                params![consumer, start.cast_signed(), number.cast_signed()],
                |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)),
            )
            .optional()?;
        Ok(fresh.or(known.map(|(start, seq)| (start.cast_unsigned(), seq.cast_unsigned()))))
    }

    /// Whether it is known what file a transfer is.
    fn is_known(&self, key: Key) -> rusqlite::Result<bool> {
        if self.fresh.contains_key(&key) {
            return Ok(true);
        }
        self.db
            .prepare_cached("SELECT 1 FROM transfers WHERE start = ?1 AND seq = ?2")?
            .exists(params![key.0.cast_signed(), key.1.cast_signed()])
    }

    /// The number of a node, given out at its first use.
    fn node(&mut self, name: &str) -> rusqlite::Result<i64> {
        if let Some(&number) = self.nodes.get(name) {
            return Ok(number);
        }
        self.db
            .prepare_cached("INSERT OR IGNORE INTO nodes (name) VALUES (?1)")?
            .execute([name])?;
        let number = self
            .db
            .prepare_cached("SELECT id FROM nodes WHERE name = ?1")?
            .query_row([name], |row| row.get(0))?;
        if self.nodes.len() >= NODES_MAX {
            self.nodes.clear();
        }
        self.nodes.insert(name.to_owned(), number);
        Ok(number)
    }
}

fn numbers(ranges: &[SlotRange]) -> impl Iterator<Item = u64> {
    ranges.iter().flat_map(|range| range.from..range.to)
}

/// Digests are 32 bytes or not known.
fn digest_or_null(digest: &[u8]) -> Option<&[u8]> {
    (digest.len() == 32).then_some(digest)
}
