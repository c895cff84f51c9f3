//! What this node holds of one producer's files, for audits.

use consign_core::audit::Scope;
use consign_core::ids::{NodeName, TransferKey};
use rusqlite::{Connection, OptionalExtension as _, Row, named_params, params};

use super::super::row::DeliveryState;
use super::in_order::in_order;
use super::{key_of, optional_time, unsigned};
use crate::timestamp::Timestamp;

/// A file of another node here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeldRow {
    /// The transfer; its producer was asked for.
    pub(crate) key: TransferKey,
    /// Tells this copy from others of the same transfer; later ones are larger.
    pub(crate) number: i64,
    /// Its feed.
    pub(crate) feed: String,
    /// Its name.
    pub(crate) name: String,
    /// Its length in bytes.
    pub(crate) size: u64,
    /// Its BLAKE3; empty while it is not known.
    pub(crate) digest: Vec<u8>,
    /// Where it stands.
    pub(crate) state: DeliveryState,
    /// Its path under the inbox, once it is chosen.
    pub(crate) path: Option<String>,
    /// The modification time that its copy was given, in ns since the Unix epoch; `None` when it has
    /// that of its writing.
    pub(crate) mtime_ns: Option<i64>,
    /// When it was submitted, in ms, by the producer's clock.
    pub(crate) submitted_at: u64,
    /// When it was published or abandoned.
    pub(crate) ended_at: Option<Timestamp>,
}

/// Where a walk over them goes on, and where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeldSpan {
    /// The first transfer.
    pub(crate) first: TransferKey,
    /// Of that one only copies above this number.
    pub(crate) after: i64,
    /// The last transfer.
    pub(crate) last: TransferKey,
}

/// The next files, in the order of the transfers; at most `rows`.
pub(in super::super) fn page(
    db: &Connection,
    producer: &NodeName,
    scope: &Scope,
    span: &HeldSpan,
    rows: usize,
) -> rusqlite::Result<Vec<HeldRow>> {
    in_order(db, (span.first, span.last), rows, |stretch, rows| {
        let mut files = db.prepare_cached(PAGE)?;
        let files = files.query_map(
            named_params! {
                ":producer": producer.as_str(),
                ":from": stretch.from,
                ":after": if stretch.is_first { span.after } else { -1 },
                ":to": stretch.to,
                ":feed": scope.feed,
                ":since": scope.since.cast_signed(),
                ":rows": rows as i64,
            },
            |row| read(row, stretch.start),
        )?;
        files.collect()
    })
}

const PAGE: &str = "SELECT transfer, id, feed, name, size, digest, state, path, mtime_ns,
        submitted_at, ended_at
    FROM deliveries
    WHERE transfer >= :from AND transfer <= :to AND NOT (transfer = :from AND id <= :after)
        AND producer = (SELECT nodes.id FROM nodes WHERE nodes.name = :producer)
        AND (:feed = '' OR feed = :feed) AND submitted_at >= :since
    ORDER BY transfer, id LIMIT :rows";

/// Every producer that this node has received something of.
pub(in super::super) fn producers(db: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = db.prepare_cached(
        "SELECT name FROM nodes WHERE id IN (SELECT producer FROM deliveries) ORDER BY name",
    )?;
    let found = statement.query_map([], |row| row.get(0))?;
    found.collect()
}

/// Whether another file was published at the same path, with this digest: then it is that one which
/// lies there. It looks at every row, and is asked only when something seems to be wrong.
pub(in super::super) fn is_of_another(
    db: &Connection,
    row: &HeldRow,
    digest: &[u8],
) -> rusqlite::Result<bool> {
    let other = db
        .query_row(
            "SELECT 1 FROM deliveries WHERE feed = ?1 AND path = ?2 AND digest = ?3 AND id <> ?4",
            params![row.feed, row.path, digest, row.number],
            |_| Ok(()),
        )
        .optional()?;
    Ok(other.is_some())
}

fn read(row: &Row<'_>, start: u64) -> rusqlite::Result<HeldRow> {
    Ok(HeldRow {
        key: key_of(start, row.get(0)?),
        number: row.get(1)?,
        feed: row.get(2)?,
        name: row.get(3)?,
        size: unsigned(row, 4)?,
        digest: row.get::<_, Option<Vec<u8>>>(5)?.unwrap_or_default(),
        state: DeliveryState::from_column(6, row.get(6)?)?,
        path: row.get(7)?,
        mtime_ns: row.get(8)?,
        submitted_at: unsigned(row, 9)?,
        ended_at: optional_time(row, 10)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_found_by_its_transfers_without_sorting() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(include_str!("../tables.sql")).unwrap();
        let mut plan = db.prepare(&format!("EXPLAIN QUERY PLAN {PAGE}")).unwrap();
        let mut found = plan.raw_query();
        let mut steps = Vec::new();
        while let Some(row) = found.next().unwrap() {
            steps.push(row.get::<_, String>(3).unwrap());
        }
        let by_transfer = |step: &String| step.contains("deliveries_by_transfer");
        assert!(steps.iter().any(by_transfer), "{steps:#?}");
        let sorts = |step: &String| step.contains("TEMP B-TREE");
        assert!(!steps.iter().any(sorts), "{steps:#?}");
    }
}
