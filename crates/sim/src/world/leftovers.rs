//! What the records of an earlier life say of files that it was taking in.

use std::collections::{BTreeMap, BTreeSet};

use consign_core::ids::{Start, TransferKey};
use consign_core::log::Position;
use consign_core::record::Record;

/// Claims that were under way when the last life ended, by their names in the watched directory.
pub(super) fn claims_of(records: &[(Position, Record)]) -> BTreeMap<String, Option<TransferKey>> {
    let mut claims = BTreeMap::new();
    let key = |start, seq| TransferKey {
        start: Start(start),
        seq: consign_core::ids::Sequence(seq),
    };
    for (_, record) in records {
        match record {
            Record::Claiming(claim) => {
                let name = claim.source.origin.rsplit('/').next().unwrap_or_default();
                claims.insert(name.to_owned(), Some(key(claim.start, claim.seq)));
            }
            Record::Unclaimed(claim) => {
                let ended = Some(key(claim.start, claim.seq));
                claims.retain(|_, key| *key != ended);
            }
            Record::Submitted(submitted) => {
                let ended = Some(key(submitted.start, submitted.seq));
                claims.retain(|_, key| *key != ended);
            }
            _ => {}
        }
    }
    claims
}

/// Names in the spool that records speak of.
pub(super) fn spooled_by(records: &[(Position, Record)]) -> BTreeSet<String> {
    let mut spooled: BTreeMap<(u64, u64), String> = BTreeMap::new();
    for (_, record) in records {
        match record {
            Record::Claiming(claim) => {
                spooled.insert((claim.start, claim.seq), claim.source.spool.clone());
            }
            Record::Submitted(submitted) => {
                let spool = submitted.source.spool.clone();
                spooled.insert((submitted.start, submitted.seq), spool);
            }
            Record::Unclaimed(claim) => drop(spooled.remove(&(claim.start, claim.seq))),
            Record::Released(list) => {
                for range in &list.seqs {
                    for seq in range.from..range.to {
                        spooled.remove(&(list.start, seq));
                    }
                }
            }
            _ => {}
        }
    }
    spooled.into_values().collect()
}
