//! Audits: what a producer's ledger says of its files is compared with what each consumer says of its
//! copies.
//!
//! * [`Question`]: one range of transfers that a consumer was asked for, and the checks of its answers.
//!   A consumer may be broken or lying: what it says is held to order, range and number, so that no
//!   answer makes an audit endless or large.
//! * [`judge()`]: what is to be said of one file.
//!
//! Deliberately absent: who asks whom and when, files, clocks, and the ledger itself.

mod judge;
mod question;
#[cfg(test)]
mod tests;

pub use judge::{Belief, Class, Judged, LedgerFile, is_held, judge, of_stranger};
pub use question::{BadAnswer, Heard, Question, Scope};
