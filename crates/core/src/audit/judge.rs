//! What is to be said of one file at one consumer.

use crate::wire::{AuditCopy, AuditEntry, AuditState};

/// What a producer's ledger says of one file at one consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Belief {
    /// The consumer has said `saved`, at that time by its own clock if its receipt is known, else by
    /// the producer's; in ms since the Unix epoch.
    Saved {
        /// When.
        at: u64,
    },
    /// It is to have it, and has not said so yet.
    Owed,
    /// It is not among those that are to have it: it never was, was replaced, has refused it, or the
    /// transfer was cancelled.
    NotPlaced,
}

/// A file as the producer's ledger has it, with what it says of one consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerFile {
    /// What the producer believes of this consumer.
    pub belief: Belief,
    /// The file's length in bytes.
    pub size: u64,
    /// Its BLAKE3; empty while it is not known.
    pub digest: Vec<u8>,
}

/// What an audit says of one file at one consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Both say that it is there, and the same file.
    Ok,
    /// It is still on its way there.
    Owed,
    /// The consumer said that it had it, and does not know it, or says otherwise now.
    Missing,
    /// The consumer has a copy that the placement does not name. No error.
    Extra,
    /// It has another file under the same transfer.
    Different,
    /// Its published copy is not what was published, and nobody has written to it.
    Rotten,
    /// One of the two cannot tell any more.
    Unknown,
}

/// A class, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// What it is.
    pub class: Class,
    /// Why, for a person; empty for [`Class::Ok`] and [`Class::Owed`].
    pub reason: String,
    /// Which of the consumer's entries it is about.
    pub entry: Option<usize>,
}

impl Judged {
    fn new(class: Class, entry: Option<usize>, reason: impl Into<String>) -> Self {
        Self {
            class,
            reason: reason.into(),
            entry,
        }
    }
}

/// Compares a file of the ledger with all that the consumer says of it; nothing to say is an empty
/// answer. `known_from` is since when the consumer knows everything that it saved.
#[must_use]
pub fn judge(file: &LedgerFile, said: &[AuditEntry], known_from: u64) -> Vec<Judged> {
    let held: Vec<usize> = (0..said.len()).filter(|&at| is_held(&said[at])).collect();
    let mut judged = Vec::new();
    match (file.belief, held.first()) {
        (Belief::NotPlaced, _) => {}
        (_, Some(&at)) => judged.push(compared(file, &said[at], at)),
        (Belief::Owed, None) => judged.push(Judged::new(Class::Owed, None, "")),
        (Belief::Saved { at }, None) => judged.push(absent(at, said, known_from)),
    }
    let placed = judged.len().min(held.len());
    for &at in &held[placed..] {
        let reason = match placed {
            0 => {
                "it is not among the consumers of this file: it was replaced, and has kept its copy"
            }
            _ => "it has this file more than once",
        };
        judged.push(Judged::new(Class::Extra, Some(at), reason));
        // An extra copy that is bad is worth more than that it is extra.
        let bad = compared(file, &said[at], at);
        if bad.class != Class::Ok {
            judged.push(bad);
        }
    }
    judged
}

/// What is to be said of a file that the consumer has, and that the producer's ledger does not know;
/// `None` when it does not hold it. `ledger_from` is since when the ledger is complete.
#[must_use]
pub fn of_stranger(said: &AuditEntry, ledger_from: u64) -> Option<Judged> {
    if !is_held(said) {
        return None;
    }
    let reason = match said.submitted_at < ledger_from {
        true => "it is older than this node's own history, so there is nothing to compare it with",
        false => {
            "this node's history does not have it, although it should: was its data directory \
             restored from an old copy?"
        }
    };
    Some(Judged::new(Class::Unknown, None, reason))
}

/// Whether the consumer says that it has the file for good.
#[must_use]
pub fn is_held(said: &AuditEntry) -> bool {
    match AuditState::try_from(said.state) {
        Ok(AuditState::Saved | AuditState::Published) => true,
        Ok(AuditState::Receiving | AuditState::Received | AuditState::Abandoned) | Err(_) => false,
    }
}

/// It has it: the same file?
fn compared(file: &LedgerFile, said: &AuditEntry, at: usize) -> Judged {
    let (size, digest) = (said.size, &said.digest);
    if size != file.size {
        let reason = format!("it has {size} bytes and not {}", file.size);
        return Judged::new(Class::Different, Some(at), reason);
    }
    if digest.is_empty() {
        let reason = "it says that it has it, and does not know its digest any more";
        return Judged::new(Class::Unknown, Some(at), reason);
    }
    if !file.digest.is_empty() && *digest != file.digest {
        let reason = format!("its digest is {}", hex(digest));
        return Judged::new(Class::Different, Some(at), reason);
    }
    match AuditCopy::try_from(said.copy) {
        Ok(AuditCopy::Rotten) => {
            let reason = match said.note.as_str() {
                "" => "the copy in the inbox has other bytes, and nobody has written to it",
                note => note,
            };
            Judged::new(Class::Rotten, Some(at), reason)
        }
        Ok(
            AuditCopy::NotLooked
            | AuditCopy::Intact
            | AuditCopy::Taken
            | AuditCopy::Changed
            | AuditCopy::Unread,
        )
        | Err(_) => Judged::new(Class::Ok, Some(at), ""),
    }
}

/// It has said that it saved it, and does not have it.
fn absent(saved_at: u64, said: &[AuditEntry], known_from: u64) -> Judged {
    let states: Vec<_> = said
        .iter()
        .map(|one| AuditState::try_from(one.state))
        .collect();
    if states.contains(&Ok(AuditState::Abandoned)) {
        let reason = "it has said that it saved it, and says now that it gave it up";
        return Judged::new(Class::Missing, Some(0), reason);
    }
    if !said.is_empty() {
        let reason = "it has said that it saved it, and says now that it is still receiving it";
        return Judged::new(Class::Missing, Some(0), reason);
    }
    match saved_at < known_from {
        true => Judged::new(
            Class::Unknown,
            None,
            "it may have had it: its history of that time has expired or was deleted",
        ),
        false => Judged::new(
            Class::Missing,
            None,
            "it has said that it saved it, and has never heard of it",
        ),
    }
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
