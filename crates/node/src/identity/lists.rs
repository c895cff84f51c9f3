//! The revocation lists in force: of each authority that is believed, the newest.
//!
//! Each authority counts its own lists, and takes back its own certificates alone. So an authority that
//! is new is heard from its first list on, and one that is on its way out voids nothing of the new one.
//!
//! As text they stand behind one another, and one alone is what a node has written that knew only one.

use std::collections::BTreeMap;

use super::peer::Peer;
use super::revoked::{BadList, FIRST_LINE, Revoked};
use super::token::Fingerprint;
use super::trust::Trust;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Lists(BTreeMap<Fingerprint, Revoked>);

impl Lists {
    /// Reads lists. Also says why one of them is not believed, if one is not; the others are there all
    /// the same.
    pub(super) fn read(bytes: &[u8], trust: &Trust) -> (Self, Option<BadList>) {
        let (mut lists, mut bad) = (Self::default(), None);
        for text in apart(bytes) {
            match Revoked::read(text, trust.authorities()) {
                Ok(list) => drop(lists.take(list)),
                Err(why) => bad = Some(why),
            }
        }
        (lists, bad)
    }

    /// Takes a list over if it is newer than what there is of its authority. Says whether it was.
    pub(super) fn take(&mut self, list: Revoked) -> bool {
        let Some(authority) = list.authority() else {
            return false;
        };
        let is_newer = list.number() > self.number(authority);
        if is_newer {
            self.0.insert(authority, list);
        }
        is_newer
    }

    /// Without those of authorities that are not believed any more.
    pub(super) fn retain_believed(&mut self, trust: &Trust) {
        self.0.retain(|authority, _| trust.believes(*authority));
    }

    /// Those with a higher number, whoever's they are.
    pub(crate) fn above(&self, number: u64) -> impl Iterator<Item = &Revoked> {
        self.0.values().filter(move |list| list.number() > number)
    }

    /// Those that are newer than what `others` has of the same authority.
    pub(super) fn newer_than(&self, others: &Self) -> impl Iterator<Item = &Revoked> {
        let newer = |(authority, list): &(&Fingerprint, &Revoked)| {
            list.number() > others.number(**authority)
        };
        self.0.iter().filter(newer).map(|(_, list)| list)
    }

    /// Those that make a certificate void if their authority has issued it.
    pub(super) fn covering(&self, peer: &Peer) -> impl Iterator<Item = (&Revoked, u64)> {
        let lists = self.0.values();
        lists.filter_map(|list| Some((list, list.covers(peer)?)))
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The number of an authority's; 0 when there is none.
    pub(super) fn number(&self, of: Fingerprint) -> u64 {
        self.0.get(&of).map_or(0, Revoked::number)
    }

    /// All of them, as they are written.
    pub(super) fn text(&self) -> String {
        self.0.values().map(Revoked::text).collect()
    }
}

impl FromIterator<Revoked> for Lists {
    fn from_iter<I: IntoIterator<Item = Revoked>>(all: I) -> Self {
        let mut lists = Self::default();
        for list in all {
            lists.take(list);
        }
        lists
    }
}

/// The texts of lists that stand behind one another. No line of an entry is like the first line of a
/// list: it has two words.
fn apart(bytes: &[u8]) -> Vec<&[u8]> {
    let first = FIRST_LINE.as_bytes();
    let mut begins = vec![0];
    let mut at = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        if at > 0 && line.strip_suffix(b"\n") == Some(first) {
            begins.push(at);
        }
        at += line.len();
    }
    let ends = begins.iter().skip(1).copied().chain([bytes.len()]);
    let texts = begins.iter().zip(ends);
    texts
        .filter_map(|(from, to)| bytes.get(*from..to))
        .collect()
}
