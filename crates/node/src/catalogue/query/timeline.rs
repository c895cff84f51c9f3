//! The story of one transfer.

use consign_core::ids::{NodeName, TransferId};
use rusqlite::{Connection, Row};

use super::{deliveries, row_of, time};
use crate::timestamp::Timestamp;

/// One thing that happened to a transfer.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Event {
    /// When, by this node's clock.
    pub(crate) at: Timestamp,
    /// Of one that is produced here: `submitted`, `placed`, `attempt`, `digest`, `saved`, `refused`,
    /// `abandoned`, `failed`, `retried`, `cancelled`, `done` or `released`. Of one that is received
    /// here: `opened`, `saved`, `published` or `abandoned`.
    pub(crate) kind: String,
    /// The consumer that it is about, or the producer that opened it.
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
    let mut events = Vec::new();
    if let Some(number) = row_of(db, node, id)? {
        let mut statement = db.prepare_cached(SELECT)?;
        let found = statement.query_map([number], read)?;
        events = found.collect::<Result<_, _>>()?;
    }
    for delivery in deliveries::numbers(db, id)? {
        let mut statement = db.prepare_cached(SELECT_ARRIVAL)?;
        for event in statement.query_map([delivery], read)? {
            events.push(event?);
        }
    }
    // In the order of their steps within one moment, since the sort keeps what is equal.
    events.sort_by_key(|event| event.at);
    Ok(events)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Event> {
    Ok(Event {
        at: time(row, 0)?,
        kind: row.get(1)?,
        node: row.get(2)?,
        text: row.get(3)?,
    })
}

const SELECT: &str = "SELECT at, kind, (SELECT name FROM nodes WHERE id = node), text
    FROM timeline WHERE transfer = ?1 ORDER BY at, step";

const SELECT_ARRIVAL: &str = "SELECT at, kind, (SELECT name FROM nodes WHERE id = node), text
    FROM arrival WHERE delivery = ?1 ORDER BY at, step";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeline_is_found_without_scanning() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(include_str!("../tables.sql")).unwrap();
        for select in [SELECT, SELECT_ARRIVAL, deliveries::SELECT_NUMBERS] {
            let mut plan = db.prepare(&format!("EXPLAIN QUERY PLAN {select}")).unwrap();
            let mut found = plan.raw_query();
            let mut steps = Vec::new();
            while let Some(row) = found.next().unwrap() {
                steps.push(row.get::<_, String>(3).unwrap());
            }
            assert!(!steps.is_empty());
            for table in ["transfers", "legs", "events", "deliveries", "openings"] {
                let scan = format!("SCAN {table}");
                assert!(!steps.iter().any(|step| step.contains(&scan)), "{steps:#?}");
            }
        }
    }
}
