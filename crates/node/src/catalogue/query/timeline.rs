//! The story of one transfer.

use consign_core::ids::{NodeName, TransferId};
use rusqlite::Connection;

use super::{row_of, time};
use crate::timestamp::Timestamp;

/// One thing that happened to a transfer.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Event {
    /// When, by this node's clock.
    pub(crate) at: Timestamp,
    /// `submitted`, `placed`, `attempt`, `digest`, `saved`, `refused`, `abandoned`, `failed`,
    /// `retried`, `cancelled`, `done` or `released`.
    pub(crate) kind: String,
    /// The consumer that it is about.
    pub(crate) node: Option<String>,
    /// What a person wants to read about it; may be empty.
    pub(crate) text: String,
}

/// Every event of a transfer, the earliest first.
pub(in super::super) fn of(
    db: &Connection,
    node: &NodeName,
    id: &TransferId,
) -> rusqlite::Result<Vec<Event>> {
    let Some(number) = row_of(db, node, id)? else {
        return Ok(Vec::new());
    };
    let mut statement = db.prepare_cached(SELECT)?;
    let found = statement.query_map([number], |row| {
        Ok(Event {
            at: time(row, 0)?,
            kind: row.get(1)?,
            node: row.get(2)?,
            text: row.get(3)?,
        })
    })?;
    found.collect()
}

const SELECT: &str = "SELECT at, kind, (SELECT name FROM nodes WHERE id = node), text
    FROM timeline WHERE transfer = ?1 ORDER BY at, step";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeline_is_found_without_scanning() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(include_str!("../tables.sql")).unwrap();
        let mut plan = db.prepare(&format!("EXPLAIN QUERY PLAN {SELECT}")).unwrap();
        let steps: Vec<String> = plan
            .query_map([1], |row| row.get(3))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        for table in ["transfers", "legs", "events"] {
            let scan = format!("SCAN {table}");
            assert!(!steps.iter().any(|step| step.contains(&scan)), "{steps:#?}");
        }
    }
}
