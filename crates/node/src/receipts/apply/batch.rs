//! A signed batch: stored once, with a row for each file that it settled.

use consign_core::ranges::RangeSet;
use consign_core::receipt::{HASH_BYTES, Hash, Statement};
use consign_core::record::{LegsSettled, Receipt};
use rusqlite::{OptionalExtension as _, params};

use super::{Applier, Key, numbers};

impl Applier<'_> {
    /// Enters what a consumer has signed of the slots that are settled by it. The batch may cover
    /// others, whose leaves were not right: these have no receipt.
    pub(super) fn signed(
        &mut self,
        consumer: i64,
        body: &LegsSettled,
        receipt: &Receipt,
    ) -> rusqlite::Result<()> {
        let settled = RangeSet::from_ranges(&body.slots);
        let leaves = receipt.leaves.len() / HASH_BYTES;
        let mut files = Vec::new();
        for (place, slot) in numbers(body.covered()).take(leaves).enumerate() {
            if settled.contains(slot)
                && let Some(key) = self.take_slot((consumer, body.start, slot))?
                && self.is_known(key)?
            {
                files.push((key, place));
            }
        }
        let (Ok(cluster), Ok(root)) = (
            Hash::try_from(receipt.cluster.as_slice()),
            Hash::try_from(receipt.root.as_slice()),
        ) else {
            return Ok(());
        };
        if files.is_empty() {
            return Ok(());
        }
        let statement = Statement {
            cluster,
            consumer: &receipt.consumer,
            incarnation: receipt.incarnation,
            at: receipt.at,
            count: leaves as u64,
            root,
        };
        let batch = self.batch(consumer, receipt, &statement)?;
        self.enter(consumer, batch, &files)
    }

    /// The number of a batch, which is entered unless it is there.
    fn batch(
        &self,
        consumer: i64,
        receipt: &Receipt,
        statement: &Statement<'_>,
    ) -> rusqlite::Result<i64> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&statement.to_bytes());
        hasher.update(&receipt.signature);
        let hash = *hasher.finalize().as_bytes();
        let known = self
            .db
            .prepare_cached("SELECT id FROM batches WHERE hash = ?1")?
            .query_row([hash], |row| row.get(0))
            .optional()?;
        if let Some(batch) = known {
            return Ok(batch);
        }
        let chain = self.chain(&receipt.certificates)?;
        self.db
            .prepare_cached(
                "INSERT INTO batches (hash, consumer, incarnation, at, root, leaves, cluster, scheme,
                     signature, chain, held)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 0)",
            )?
            .insert(params![
                hash,
                consumer,
                statement.incarnation.cast_signed(),
                statement.at.cast_signed(),
                statement.root,
                receipt.leaves,
                statement.cluster,
                receipt.scheme,
                receipt.signature,
                chain,
            ])
    }

    fn enter(&self, consumer: i64, batch: i64, files: &[(Key, usize)]) -> rusqlite::Result<()> {
        let mut insert = self
            .db
            .prepare_cached("INSERT OR IGNORE INTO receipts VALUES (?1, ?2, ?3, ?4, ?5)")?;
        let mut entered = 0;
        for &((start, seq), place) in files {
            entered += insert.execute(params![
                start.cast_signed(),
                seq.cast_signed(),
                consumer,
                batch,
                place.cast_signed(),
            ])?;
        }
        self.db
            .prepare_cached("UPDATE batches SET held = held + ?2 WHERE id = ?1")?
            .execute(params![batch, entered.cast_signed()])?;
        // The first word of a consumer stands; a later one of the same files is not kept beside it.
        self.db
            .prepare_cached("DELETE FROM batches WHERE id = ?1 AND held = 0")?
            .execute([batch])
            .map(drop)
    }

    /// The number of a chain of certificates, which is entered unless it is there.
    fn chain(&self, certificates: &[Vec<u8>]) -> rusqlite::Result<i64> {
        let hashes: Vec<Hash> = certificates
            .iter()
            .map(|der| *blake3::hash(der).as_bytes())
            .collect();
        let hash = *blake3::hash(hashes.as_flattened()).as_bytes();
        let known = self
            .db
            .prepare_cached("SELECT id FROM chains WHERE hash = ?1")?
            .query_row([hash], |row| row.get(0))
            .optional()?;
        if let Some(chain) = known {
            return Ok(chain);
        }
        let mut insert = self
            .db
            .prepare_cached("INSERT INTO chains (hash) VALUES (?1)")?;
        let chain = insert.insert([hash])?;
        for (place, (hash, der)) in hashes.iter().zip(certificates).enumerate() {
            self.db
                .prepare_cached("INSERT OR IGNORE INTO certificates (hash, der) VALUES (?1, ?2)")?
                .execute(params![hash, der])?;
            self.db
                .prepare_cached(
                    "INSERT INTO links
                     SELECT ?1, ?2, id FROM certificates WHERE hash = ?3",
                )?
                .execute(params![chain, place.cast_signed(), hash])?;
        }
        Ok(chain)
    }
}
