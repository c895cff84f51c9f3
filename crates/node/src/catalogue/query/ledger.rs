//! What this node's ledger says of its files at one consumer, for audits.

use consign_core::audit::{Belief, Scope};
use consign_core::ids::{NodeName, Sequence, Start, TransferKey};
use rusqlite::{Connection, OptionalExtension as _, Row, named_params, params};

use super::super::row::LegState;
use super::in_order::in_order;
use super::{key_of, number_of, unsigned};

/// A file of this node at one consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LedgerRow {
    /// The transfer.
    pub(crate) key: TransferKey,
    /// Its feed.
    pub(crate) feed: String,
    /// Its name.
    pub(crate) name: String,
    /// Its length in bytes.
    pub(crate) size: u64,
    /// Its BLAKE3; empty while it is not known.
    pub(crate) digest: Vec<u8>,
    /// What is believed of the consumer.
    pub(crate) belief: Belief,
}

/// The next files that the consumer has or is to have, from `first` on, in the order of the
/// transfers; at most `rows`.
pub(in super::super) fn page(
    db: &Connection,
    node: &NodeName,
    scope: &Scope,
    first: TransferKey,
    rows: usize,
) -> rusqlite::Result<Vec<LedgerRow>> {
    let Some(node) = number_of_node(db, node)? else {
        return Ok(Vec::new());
    };
    let last = TransferKey {
        start: Start(u64::MAX),
        seq: Sequence(u64::MAX),
    };
    in_order(db, (first, last), rows, |stretch, rows| {
        let mut files = db.prepare_cached(PAGE)?;
        let files = files.query_map(
            named_params! {
                ":from": stretch.from,
                ":last": stretch.to,
                ":node": node,
                ":feed": scope.feed,
                ":since": scope.since.cast_signed(),
                ":rows": rows as i64,
            },
            |row| read(row, stretch.start),
        )?;
        files.collect()
    })
}

const PAGE: &str =
    "SELECT transfers.id, feed, name, size, digest, rung, since, receipt_at, replaced
    FROM transfers CROSS JOIN legs ON legs.transfer = transfers.id AND legs.node = :node
    WHERE transfers.id >= :from AND transfers.id <= :last AND rung IN (0, 1) AND NOT replaced
        AND (:feed = '' OR feed = :feed) AND submitted_at >= :since
    ORDER BY transfers.id LIMIT :rows";

/// These files, in the order of the keys; `None` for those that the ledger does not have.
pub(in super::super) fn some(
    db: &Connection,
    node: &NodeName,
    keys: &[TransferKey],
) -> rusqlite::Result<Vec<Option<LedgerRow>>> {
    let node = number_of_node(db, node)?;
    let mut statement = db.prepare_cached(
        "SELECT id, feed, name, size, digest, rung, since, receipt_at, replaced
         FROM transfers LEFT JOIN legs ON legs.transfer = transfers.id AND legs.node = ?2
         WHERE transfers.id = ?1",
    )?;
    let found = keys.iter().map(|key| match number_of(db, key)? {
        Some(id) => statement
            .query_row(params![id, node], |row| read(row, key.start.0))
            .optional(),
        None => Ok(None),
    });
    found.collect()
}

/// How many files it has or is to have.
pub(in super::super) fn count(
    db: &Connection,
    node: &NodeName,
    scope: &Scope,
) -> rusqlite::Result<u64> {
    let Some(node) = number_of_node(db, node)? else {
        return Ok(0);
    };
    db.query_row(
        "SELECT count(*) FROM legs JOIN transfers ON transfers.id = legs.transfer
         WHERE legs.node = ?1 AND rung IN (0, 1) AND NOT replaced
             AND (?2 = '' OR feed = ?2) AND submitted_at >= ?3",
        params![node, scope.feed, scope.since.cast_signed()],
        |row| unsigned(row, 0),
    )
}

/// Every consumer that the ledger names.
pub(in super::super) fn consumers(db: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = db.prepare_cached(
        "SELECT name FROM nodes WHERE EXISTS (SELECT 1 FROM legs WHERE legs.node = nodes.id)
         ORDER BY name",
    )?;
    let found = statement.query_map([], |row| row.get(0))?;
    found.collect()
}

fn number_of_node(db: &Connection, node: &NodeName) -> rusqlite::Result<Option<i64>> {
    db.prepare_cached("SELECT id FROM nodes WHERE name = ?1")?
        .query_row([node.as_str()], |row| row.get(0))
        .optional()
}

fn read(row: &Row<'_>, start: u64) -> rusqlite::Result<LedgerRow> {
    let rung: Option<i64> = row.get(5)?;
    let rung = rung
        .map(|rung| LegState::from_column(5, rung))
        .transpose()?;
    // One that had saved it before it could be told that it was replaced.
    let replaced: Option<bool> = row.get(8)?;
    let belief = match rung.filter(|_| replaced != Some(true)) {
        Some(LegState::Saved) => {
            let receipt: Option<i64> = row.get(7)?;
            let at = receipt.map_or_else(|| unsigned(row, 6), |at| Ok(at.cast_unsigned()))?;
            Belief::Saved { at }
        }
        Some(LegState::Owed) => Belief::Owed,
        Some(LegState::Abandoned | LegState::Refused | LegState::Abandoning) | None => {
            Belief::NotPlaced
        }
    };
    Ok(LedgerRow {
        key: key_of(start, row.get(0)?),
        feed: row.get(1)?,
        name: row.get(2)?,
        size: unsigned(row, 3)?,
        digest: row.get::<_, Option<Vec<u8>>>(4)?.unwrap_or_default(),
        belief,
    })
}
