//! Listings of what this node produces and what it receives, a page at a time.

use consign_core::ids::NodeName;
use rusqlite::{Connection, ToSql};

use super::super::row::FileState;
use super::deliveries::{self, DeliveryRow};
use super::transfers::{self, TransferRow};
use crate::catalogue::bounds::PAGE_ROWS;

/// One file of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FileRow {
    /// One that this node produces.
    Produced(TransferRow),
    /// One that it receives or received.
    Received(DeliveryRow),
}

/// Which files to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    /// Only those in this state; a state of one role leaves out the other.
    pub(crate) state: Option<FileState>,
    /// Only those that this node produces, or only those that it receives.
    pub(crate) part: Option<Part>,
    /// Only of this feed.
    pub(crate) feed: Option<String>,
    /// Only those with this consumer.
    pub(crate) to: Option<String>,
    /// Only those of this producer.
    pub(crate) from: Option<String>,
    /// At most so many.
    pub(crate) limit: Option<u64>,
    /// The latest first; else in the order of their submission, roughly. What is produced comes
    /// before what is received in any case.
    pub(crate) newest_first: bool,
}

/// A listing under way. It holds no transaction between pages: what changes meanwhile is seen or
/// not, what does not is seen once.
#[derive(Debug, Clone)]
pub(crate) struct Pages {
    filter: Filter,
    part: Part,
    last: Option<i64>,
    left: u64,
}

/// One of the two tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// What this node produces.
    Produced,
    /// What it receives.
    Received,
}

impl Pages {
    /// A listing from its begin.
    pub(crate) fn new(filter: Filter) -> Self {
        let left = filter.limit.unwrap_or(u64::MAX);
        Self {
            filter,
            part: Part::Produced,
            last: None,
            left,
        }
    }

    /// The next page; empty at the end.
    pub(in super::super) fn next(
        &mut self,
        db: &Connection,
        node: &NodeName,
    ) -> rusqlite::Result<Vec<FileRow>> {
        if self.part == Part::Produced {
            let rows = self.produced(db, node)?;
            if !rows.is_empty() {
                return Ok(rows);
            }
            (self.part, self.last) = (Part::Received, None);
        }
        self.received(db, node)
    }

    fn produced(&mut self, db: &Connection, node: &NodeName) -> rusqlite::Result<Vec<FileRow>> {
        let filter = &self.filter;
        let state = match filter.state {
            None => None,
            Some(FileState::Produced(state)) => Some(state as i64),
            Some(FileState::Received(_)) => return Ok(Vec::new()),
        };
        let others = filter
            .from
            .as_ref()
            .is_some_and(|from| from != node.as_str());
        if others || self.left == 0 || filter.part == Some(Part::Received) {
            return Ok(Vec::new());
        }
        let rows = transfers::page(db, node, &self.page(state))?;
        Ok(self.taken(rows, FileRow::Produced))
    }

    fn received(&mut self, db: &Connection, node: &NodeName) -> rusqlite::Result<Vec<FileRow>> {
        let filter = &self.filter;
        let state = match filter.state {
            None => None,
            Some(FileState::Received(state)) => Some(state as i64),
            Some(FileState::Produced(_)) => return Ok(Vec::new()),
        };
        let others = filter.to.as_ref().is_some_and(|to| to != node.as_str());
        if others || self.left == 0 || filter.part == Some(Part::Produced) {
            return Ok(Vec::new());
        }
        let rows = deliveries::page(db, &self.page(state))?;
        Ok(self.taken(rows, FileRow::Received))
    }

    /// What is asked of one table.
    fn page(&self, state: Option<i64>) -> Page<'_> {
        let filter = &self.filter;
        let begin = if filter.newest_first { i64::MAX } else { -1 };
        Page {
            state,
            feed: filter.feed.as_ref(),
            to: filter.to.as_ref(),
            from: filter.from.as_ref(),
            newest_first: filter.newest_first,
            after: self.last.unwrap_or(begin),
            rows: self.left.min(PAGE_ROWS).cast_signed(),
        }
    }

    fn taken<T>(&mut self, rows: Vec<(i64, T)>, row: impl Fn(T) -> FileRow) -> Vec<FileRow> {
        self.left -= rows.len() as u64;
        self.last = rows.last().map(|(number, _)| *number).or(self.last);
        rows.into_iter().map(|(_, one)| row(one)).collect()
    }
}

/// A name in a query, and what it stands for.
type Value<'a> = (&'a str, &'a dyn ToSql);

/// The next rows of one table.
pub(super) struct Page<'a> {
    state: Option<i64>,
    feed: Option<&'a String>,
    pub(super) to: Option<&'a String>,
    pub(super) from: Option<&'a String>,
    newest_first: bool,
    after: i64,
    rows: i64,
}

impl Page<'_> {
    /// The query up to its own conditions; [`Page::ordered`] ends it.
    pub(super) fn select(&self, columns: &str, table: &str) -> String {
        let after = if self.newest_first { "<" } else { ">" };
        let mut sql = format!("SELECT {columns} FROM {table} WHERE id {after} :after");
        if let Some(state) = self.state {
            // As a literal, so that the partial index over failed ones can serve.
            sql += &format!(" AND state = {state}");
        }
        if self.feed.is_some() {
            sql += " AND feed = :feed";
        }
        sql
    }

    /// What the names in the query stand for. `to` and `from` are only for a table that asks for
    /// them: SQLite refuses names that it does not know.
    pub(super) fn values<'b>(&'b self, own: &[(&'b str, Option<&'b String>)]) -> Vec<Value<'b>> {
        let mut values: Vec<Value<'b>> = vec![(":after", &self.after), (":rows", &self.rows)];
        let named = own.iter().copied().chain([(":feed", self.feed)]);
        values.extend(named.filter_map(|(name, value)| Some((name, value? as &dyn ToSql))));
        values
    }

    /// The whole query.
    pub(super) fn ordered(&self, sql: String) -> String {
        let order = if self.newest_first { "DESC" } else { "ASC" };
        sql + &format!(" ORDER BY id {order} LIMIT :rows")
    }
}
