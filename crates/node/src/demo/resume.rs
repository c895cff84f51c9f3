//! What was resumed, and from where: read out of the timelines that the producers keep.

use serde::Serialize;

use super::cluster;
use super::node::Node;
use crate::api::model::Transfer;
use crate::cli::human;

use consign_core::limits::SMALL_FILE_BYTES_MAX;

/// Timelines that are read; a long run has more than anybody wants to see.
const TIMELINES_MAX: usize = 200;

/// A try of a large file after the first one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Resumed {
    /// The transfer.
    pub(super) id: String,
    /// Its name.
    pub(super) name: String,
    /// Its length in bytes.
    pub(super) size: u64,
    /// Which try.
    pub(super) attempt: u32,
    /// Its chain, with the byte from which each member still needed data.
    pub(super) chain: Vec<Member>,
}

/// One member of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Member {
    /// The consumer.
    pub(super) node: String,
    /// The first byte that it did not hold.
    pub(super) from: u64,
}

impl Resumed {
    /// Bytes that did not have to be sent again.
    pub(super) fn spared_bytes(&self) -> u64 {
        self.chain.iter().map(|member| member.from).sum()
    }

    /// In words.
    pub(super) fn told(&self) -> String {
        let members = self.chain.iter().map(|member| match member.from {
            0 => format!("{} begins", member.node),
            from if from >= self.size => format!("{} has it all", member.node),
            from => format!("{} continues from {}", member.node, human::bytes(from)),
        });
        let members: Vec<_> = members.collect();
        format!(
            "{} ({}): attempt {}, {}",
            self.name,
            human::bytes(self.size),
            self.attempt,
            members.join(", ")
        )
    }
}

/// Every later try of the large files among these transfers of a producer.
pub(super) async fn of(node: &Node, transfers: &[Transfer]) -> Vec<Resumed> {
    let again = transfers.iter();
    let again = again.filter(|t| t.attempt > 1 && t.size > SMALL_FILE_BYTES_MAX);
    let mut resumed = Vec::new();
    for transfer in again.take(TIMELINES_MAX) {
        // A timeline is for telling only: what cannot be read is not told.
        let events = cluster::timeline(node, &transfer.id).await;
        let events = events.unwrap_or_default().into_iter();
        let attempts = events.filter(|event| event.kind == "attempt");
        let attempts = attempts.filter_map(|event| read_attempt(&event.text));
        let later = attempts.filter(|(attempt, _)| *attempt > 1);
        resumed.extend(later.map(|(attempt, chain)| Resumed {
            id: transfer.id.clone(),
            name: transfer.name.clone(),
            size: transfer.size,
            attempt,
            chain,
        }));
    }
    resumed
}

/// Reads `attempt 2 along store-1 from byte 1048576 → store-2: why`.
fn read_attempt(text: &str) -> Option<(u32, Vec<Member>)> {
    let (attempt, chain) = text.strip_prefix("attempt ")?.split_once(" along ")?;
    let chain = chain.split_once(": ").map_or(chain, |(chain, _)| chain);
    let chain: Option<Vec<_>> = chain.split(" → ").map(read_member).collect();
    Some((attempt.parse().ok()?, chain?))
}

fn read_member(text: &str) -> Option<Member> {
    let (node, from) = match text.split_once(" from byte ") {
        Some((node, from)) => (node, from.parse().ok()?),
        None => (text, 0),
    };
    Some(Member {
        node: node.to_owned(),
        from,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(node: &str, from: u64) -> Member {
        Member {
            node: node.to_owned(),
            from,
        }
    }

    #[test]
    fn attempts_are_read_as_the_catalogue_writes_them() {
        let text = "attempt 2 along store-1 from byte 1048576 → store-2: store-1 was lost";
        let chain = vec![member("store-1", 1 << 20), member("store-2", 0)];
        assert_eq!(read_attempt(text), Some((2, chain)));
        let alone = Some((3, vec![member("store-2", 0)]));
        assert_eq!(read_attempt("attempt 3 along store-2"), alone);
        assert_eq!(read_attempt("something else"), None);
    }

    #[test]
    fn a_resumption_is_told_with_its_offsets() {
        let resumed = Resumed {
            id: "prod-1.0000000000000001.7".to_owned(),
            name: "archive.bin".to_owned(),
            size: 256 << 20,
            attempt: 3,
            chain: vec![
                member("cons-1", 256 << 20),
                member("cons-2", 96 << 20),
                member("cons-3", 0),
            ],
        };
        let told = "archive.bin (256 MiB): attempt 3, cons-1 has it all, \
                    cons-2 continues from 96.0 MiB, cons-3 begins";
        assert_eq!(resumed.told(), told);
        assert_eq!(resumed.spared_bytes(), 352 << 20);
    }
}
