//! What an audit says: findings as they are found, a sum for each node, and a summary at the end.

use consign_core::audit::{Class, Judged};
use consign_core::ids::TransferKey;
use consign_core::wire::{AuditCopy, AuditEntry, AuditState};
use serde::{Deserialize, Serialize};

use crate::catalogue::LedgerRow;
use crate::timestamp::Timestamp;

/// One line of an audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Line {
    /// How far it is, now and then.
    Progress(Progress),
    /// A file that is not simply there.
    Finding(Finding),
    /// One consumer is through.
    Consumer(Sum),
    /// This node's own copies of one producer's files are through.
    Own(Sum),
    /// Whether a node that was set apart may go on, where that was asked for.
    Reconciled(Outcome),
    /// Everything is.
    Summary(Summary),
}

/// How far an audit is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// The node whose copies are looked at.
    pub(crate) node: String,
    /// Files of it that are through.
    pub(crate) files: u64,
    /// Bytes of it that were hashed.
    pub(crate) read_bytes: u64,
}

/// A file that is not simply there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Finding {
    /// `missing`, `extra`, `different`, `rotten` or `unknown`.
    pub(crate) class: String,
    /// The node that has it, or should.
    pub(crate) node: String,
    /// The transfer.
    pub(crate) id: String,
    /// Its feed.
    pub(crate) feed: String,
    /// Its name.
    pub(crate) name: String,
    /// Its length in bytes.
    pub(crate) size: u64,
    /// Its path under the inbox there, where it has one.
    pub(crate) path: Option<String>,
    /// Why.
    pub(crate) reason: String,
    /// What to do.
    pub(crate) hint: String,
}

/// Files by what an audit says of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Those that are or should be there: all below but `extra`, and `unknown` that are not placed there.
    pub(crate) files: u64,
    /// There, as both say.
    pub(crate) ok: u64,
    /// On their way.
    pub(crate) owed: u64,
    /// Not there, although the consumer has said that it saved them.
    pub(crate) missing: u64,
    /// There, although they are not placed there.
    pub(crate) extra: u64,
    /// Other files.
    pub(crate) different: u64,
    /// Damaged by the disk.
    pub(crate) rotten: u64,
    /// Nobody can tell any more.
    pub(crate) unknown: u64,
    /// Of those there: saved, and not in the inbox yet.
    pub(crate) unpublished: u64,
    /// Of those there: hashed again, and intact.
    pub(crate) intact: u64,
    /// Of those there: taken by the application.
    pub(crate) taken: u64,
    /// Of those there: changed by the application.
    pub(crate) changed: u64,
    /// Of those there: they were to be hashed, and could not be read.
    pub(crate) unread: u64,
    /// Bytes that were hashed.
    pub(crate) read_bytes: u64,
}

/// How one node stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sum {
    /// The consumer; of own copies, their producer.
    pub(crate) node: String,
    /// Whether it has answered everything.
    pub(crate) reached: bool,
    /// Whether it is no member any more, so that it is not expected to answer.
    pub(crate) gone: bool,
    /// Why it has not answered; ends in a hint.
    pub(crate) error: Option<String>,
    /// Its files.
    #[serde(flatten)]
    pub(crate) counts: Counts,
    /// What it saved earlier it may not know any more; absent when it knows everything.
    pub(crate) history_from: Option<Timestamp>,
}

/// What became of the wish to go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Files that a later life of this node has delivered, and that fail here now.
    pub(crate) delivered: u64,
    /// Why it is still set apart; ends in a hint.
    pub(crate) error: Option<String>,
}

impl Outcome {
    /// It stays set apart.
    pub(super) fn failed(why: String) -> Self {
        Self {
            delivered: 0,
            error: Some(why),
        }
    }
}

/// All nodes together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Totals {
    /// Consumers that were to be asked.
    pub(crate) consumers: u64,
    /// Of them, those that have files and did not answer.
    pub(crate) not_reached: u64,
    /// Producers whose files this node has received.
    pub(crate) producers: u64,
    /// Their files.
    #[serde(flatten)]
    pub(crate) counts: Counts,
}

/// The last line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// The node that was asked.
    pub(crate) node: String,
    /// Whether nothing is missing, different or rotten, and everybody was reached.
    pub(crate) sound: bool,
    /// Whether published copies were hashed again.
    pub(crate) read: bool,
    /// All together.
    #[serde(flatten)]
    pub(crate) totals: Totals,
    /// What this node did earlier it may not know any more; absent when it knows everything.
    pub(crate) history_from: Option<Timestamp>,
    /// How long it took, in ms.
    pub(crate) took_ms: u64,
}

impl Counts {
    /// Counts what was said of one file.
    pub(super) fn count(&mut self, judged: &Judged, said: &[AuditEntry]) {
        let counted = match judged.class {
            Class::Ok => &mut self.ok,
            Class::Owed => &mut self.owed,
            Class::Missing => &mut self.missing,
            Class::Extra => &mut self.extra,
            Class::Different => &mut self.different,
            Class::Rotten => &mut self.rotten,
            Class::Unknown => &mut self.unknown,
        };
        *counted += 1;
        if let (Class::Ok, Some(entry)) = (judged.class, judged.entry.and_then(|at| said.get(at))) {
            self.count_copy(entry);
        }
    }

    /// Counts what became of a good copy.
    pub(super) fn count_copy(&mut self, entry: &AuditEntry) {
        if AuditState::try_from(entry.state) == Ok(AuditState::Saved) {
            self.unpublished += 1;
        }
        match AuditCopy::try_from(entry.copy) {
            Ok(AuditCopy::Intact) => self.intact += 1,
            Ok(AuditCopy::Taken) => self.taken += 1,
            Ok(AuditCopy::Changed) => self.changed += 1,
            Ok(AuditCopy::Unread) => self.unread += 1,
            Ok(AuditCopy::NotLooked | AuditCopy::Rotten) | Err(_) => {}
        }
    }

    fn add(&mut self, other: &Self) {
        for (mine, theirs) in [
            (&mut self.files, other.files),
            (&mut self.ok, other.ok),
            (&mut self.owed, other.owed),
            (&mut self.missing, other.missing),
            (&mut self.extra, other.extra),
            (&mut self.different, other.different),
            (&mut self.rotten, other.rotten),
            (&mut self.unknown, other.unknown),
            (&mut self.unpublished, other.unpublished),
            (&mut self.intact, other.intact),
            (&mut self.taken, other.taken),
            (&mut self.changed, other.changed),
            (&mut self.unread, other.unread),
            (&mut self.read_bytes, other.read_bytes),
        ] {
            *mine = mine.saturating_add(theirs);
        }
    }
}

impl Totals {
    /// Adds a consumer.
    pub(super) fn add_consumer(&mut self, sum: &Sum) {
        self.consumers += 1;
        self.not_reached += u64::from(sum.is_missed());
        self.counts.add(&sum.counts);
    }

    /// Adds this node's own copies of one producer's files.
    pub(super) fn add_own(&mut self, sum: &Sum) {
        self.producers += 1;
        self.not_reached += u64::from(sum.is_missed());
        self.counts.add(&sum.counts);
    }

    /// Whether nothing is missing, different or rotten, and everybody was reached.
    pub(super) fn is_sound(&self) -> bool {
        let counts = &self.counts;
        counts.missing == 0 && counts.different == 0 && counts.rotten == 0 && self.not_reached == 0
    }
}

impl Sum {
    pub(super) fn new(node: &str) -> Self {
        Self {
            node: node.to_owned(),
            ..Self::default()
        }
    }

    /// Whether it should have answered, and has not. One that was given nothing cannot lack anything.
    pub(crate) fn is_missed(&self) -> bool {
        !self.reached && !self.gone && self.counts.files > 0
    }
}

impl Finding {
    /// What was judged of a file; `None` when that is nothing to tell.
    pub(super) fn new(
        judged: &Judged,
        producer: &str,
        node: &str,
        key: TransferKey,
        row: Option<&LedgerRow>,
        said: &[AuditEntry],
    ) -> Option<Self> {
        let class = name_of(judged.class)?;
        let id = format!("{producer}.{key}");
        let entry = judged.entry.and_then(|at| said.get(at)).or(said.first());
        let (feed, name, size) = match (row, entry) {
            (Some(row), _) => (row.feed.clone(), row.name.clone(), row.size),
            (None, Some(entry)) => (entry.feed.clone(), entry.name.clone(), entry.size),
            (None, None) => return None,
        };
        Some(Self {
            class: class.to_owned(),
            node: node.to_owned(),
            hint: hint_of(judged.class, &id, node),
            id,
            feed,
            name,
            size,
            path: entry
                .map(|entry| entry.path.clone())
                .filter(|path| !path.is_empty()),
            reason: judged.reason.clone(),
        })
    }
}

fn name_of(class: Class) -> Option<&'static str> {
    match class {
        Class::Ok | Class::Owed => None,
        Class::Missing => Some("missing"),
        Class::Extra => Some("extra"),
        Class::Different => Some("different"),
        Class::Rotten => Some("rotten"),
        Class::Unknown => Some("unknown"),
    }
}

fn hint_of(class: Class, id: &str, node: &str) -> String {
    match class {
        Class::Ok | Class::Owed => String::new(),
        Class::Missing => format!(
            "`consign show {id}` at its producer says where its source is and who else has it: send it again from there, \
             and find out what {node} has lost"
        ),
        Class::Extra => format!("nothing to do; remove it at {node} if it is in the way"),
        Class::Different => format!(
            "do not use that copy; `consign show {id}` at its producer says who else has the file: send it again from \
             there, and look at the disk and memory of {node}"
        ),
        Class::Rotten => format!(
            "the disk of {node} damages data: replace it; `consign show {id}` at its \
             producer says who else has the file"
        ),
        Class::Unknown => {
            "nothing to do; a longer `history` lets audits look further back".to_owned()
        }
    }
}
