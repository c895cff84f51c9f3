//! The sums by feed and state, kept beside the rows: what a transaction moves is added up in
//! memory and written once, at its end.

use std::collections::HashMap;
use std::ops::Range;

use rusqlite::{Connection, params};

/// A table whose rows have a feed, a state and a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    Transfers,
    Deliveries,
}

impl Counted {
    fn rows(self) -> &'static str {
        match self {
            Self::Transfers => "transfers",
            Self::Deliveries => "deliveries",
        }
    }

    fn counts(self) -> &'static str {
        match self {
            Self::Transfers => "transfer_counts",
            Self::Deliveries => "delivery_counts",
        }
    }
}

/// One more than the largest state of either table.
const STATES: usize = 5;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    files: i64,
    bytes: i64,
}

/// What the transaction under way has moved.
#[derive(Debug, Default)]
pub(super) struct Tally {
    transfers: HashMap<String, [Sum; STATES]>,
    deliveries: HashMap<String, [Sum; STATES]>,
}

impl Tally {
    /// Files came into a state, or left it when `files` is negative.
    pub(super) fn add(&mut self, table: Counted, feed: &str, state: i64, files: i64, bytes: i64) {
        let sums = match table {
            Counted::Transfers => &mut self.transfers,
            Counted::Deliveries => &mut self.deliveries,
        };
        // Looked up first, since an entry would need a copy of the name each time.
        if !sums.contains_key(feed) {
            sums.insert(feed.to_owned(), Default::default());
        }
        let slot = usize::try_from(state).ok();
        let sums = sums.get_mut(feed).expect("it was just put there");
        let sum = slot.and_then(|slot| sums.get_mut(slot));
        let sum = sum.expect("states come from the enums, which are smaller");
        sum.files += files;
        sum.bytes += bytes;
    }

    /// One file moved from one state to another.
    pub(super) fn moved(&mut self, table: Counted, feed: &str, size: i64, from: i64, to: i64) {
        self.add(table, feed, from, -1, -size);
        self.add(table, feed, to, 1, size);
    }

    /// Says that the rows in `rows` of which `condition` is true are about to get state `to`, or
    /// to be deleted when that is `None`. To be called before the update, with its condition.
    pub(super) fn moving(
        &mut self,
        db: &Connection,
        table: Counted,
        rows: &Range<i64>,
        condition: &str,
        to: Option<i64>,
    ) -> rusqlite::Result<()> {
        let sql = format!(
            "SELECT feed, state, count(*), sum(size) FROM {}
             WHERE id >= ?1 AND id < ?2 AND ({condition}) GROUP BY feed, state",
            table.rows()
        );
        let mut statement = db.prepare_cached(&sql)?;
        let mut found = statement.query(params![rows.start, rows.end])?;
        while let Some(row) = found.next()? {
            let feed = row.get_ref(0)?.as_str()?;
            let (state, files, bytes): (i64, i64, i64) = (row.get(1)?, row.get(2)?, row.get(3)?);
            self.add(table, feed, state, -files, -bytes);
            if let Some(to) = to {
                self.add(table, feed, to, files, bytes);
            }
        }
        Ok(())
    }

    /// Writes the sums, within the transaction that moved the rows.
    pub(super) fn write(&mut self, db: &Connection) -> rusqlite::Result<()> {
        for table in [Counted::Transfers, Counted::Deliveries] {
            let sums = match table {
                Counted::Transfers => &mut self.transfers,
                Counted::Deliveries => &mut self.deliveries,
            };
            let sql = format!(
                "INSERT INTO {} VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE
                 SET files = files + excluded.files, bytes = bytes + excluded.bytes",
                table.counts()
            );
            let mut statement = db.prepare_cached(&sql)?;
            for (feed, states) in sums.drain() {
                for (state, sum) in states.iter().enumerate() {
                    if *sum != Sum::default() {
                        let state = state.cast_signed();
                        statement.execute(params![feed, state, sum.files, sum.bytes])?;
                    }
                }
            }
        }
        Ok(())
    }
}
