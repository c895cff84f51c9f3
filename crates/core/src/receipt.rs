//! What a consumer's receipt signs: a BLAKE3 tree over the files of a batch, and the statement that
//! holds its root. Signing each of 30,000 files a second is not possible; signing each batch is, and
//! the path from one file to the root proves that file alone.
//!
//! ```text
//!            root ──▶ statement (cluster, consumer, incarnation, time, count, root) ──▶ signature
//!           ╱    ╲
//!       parent    leaf       an odd one goes up as it is
//!      ╱      ╲
//!   leaf      leaf           transfer, feed, name, length, digest
//! ```
//! Leaves and parents are hashed under keys of their own, so that neither passes for the other; every
//! field of variable length has its length in front, so that no two files have one encoding.
//!
//! Deliberately absent: signatures, certificates and clusters, which the node knows.

use crate::ids::{Digest, TransferId};

/// A hash of this tree: a leaf, a parent or the root.
pub type Hash = [u8; 32];

/// Bytes of one [`type@Hash`].
pub const HASH_BYTES: usize = 32;

/// The key of leaves. A change of what is hashed needs another one.
const LEAF: &str = "consign 2026-11 receipt v1 leaf";
/// The key of parents.
const PARENT: &str = "consign 2026-11 receipt v1 parent";
/// What a statement begins with, so that nothing else that a node signs passes for one.
const STATEMENT: &[u8] = b"consign receipt statement v1\0";

/// One file as its consumer has saved it, hashed.
#[must_use]
pub fn leaf(id: &TransferId, feed: &str, name: &str, size: u64, digest: &Digest) -> Hash {
    let mut hasher = blake3::Hasher::new_derive_key(LEAF);
    for text in [id.producer.as_str(), feed, name] {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    for number in [id.key.start.0, id.key.seq.0, size] {
        hasher.update(&number.to_le_bytes());
    }
    hasher.update(&digest.0);
    *hasher.finalize().as_bytes()
}

/// The root of a batch; `None` of an empty one.
#[must_use]
pub fn root(leaves: &[Hash]) -> Option<Hash> {
    let mut level = leaves.to_vec();
    while level.len() > 1 {
        level = above(&level);
    }
    level.first().copied()
}

/// The siblings that lead from the leaf at `index` to the root, from below; `None` when there is no
/// such leaf.
#[must_use]
pub fn path(leaves: &[Hash], index: usize) -> Option<Vec<Hash>> {
    leaves.get(index)?;
    let (mut level, mut at) = (leaves.to_vec(), index);
    let mut path = Vec::new();
    while level.len() > 1 {
        path.extend(level.get(at ^ 1));
        level = above(&level);
        at /= 2;
    }
    Some(path)
}

/// The root to which a path leads from a leaf that is at `index` of `count`; `None` when a path of
/// that length does not begin there.
#[must_use]
pub fn root_of(leaf: Hash, index: u64, count: u64, path: &[Hash]) -> Option<Hash> {
    if index >= count {
        return None;
    }
    let (mut node, mut at, mut width) = (leaf, index, count);
    let mut path = path.iter();
    while width > 1 {
        if at ^ 1 < width {
            let sibling = path.next()?;
            node = match at % 2 {
                0 => parent(&node, sibling),
                _ => parent(sibling, &node),
            };
        }
        at /= 2;
        width = width.div_ceil(2);
    }
    path.next().is_none().then_some(node)
}

/// What is signed of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement<'a> {
    /// SHA-256 of the public key of the authority by which the consumer is known; zeros where there
    /// is none.
    pub cluster: Hash,
    /// The consumer's name.
    pub consumer: &'a str,
    /// Its incarnation.
    pub incarnation: u64,
    /// When it had saved the batch, by its clock, in ms since the Unix epoch.
    pub at: u64,
    /// Files in the batch.
    pub count: u64,
    /// The root of their tree.
    pub root: Hash,
}

impl Statement<'_> {
    /// The bytes under the signature.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = STATEMENT.to_vec();
        bytes.extend_from_slice(&self.cluster);
        bytes.extend_from_slice(&(self.consumer.len() as u64).to_le_bytes());
        bytes.extend_from_slice(self.consumer.as_bytes());
        for number in [self.incarnation, self.at, self.count] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&self.root);
        bytes
    }
}

fn parent(left: &Hash, right: &Hash) -> Hash {
    let mut hasher = blake3::Hasher::new_derive_key(PARENT);
    hasher.update(left);
    hasher.update(right);
    *hasher.finalize().as_bytes()
}

/// The next level of a tree.
fn above(level: &[Hash]) -> Vec<Hash> {
    let pairs = level.chunks(2);
    pairs
        .map(|pair| match pair {
            [left, right] => parent(left, right),
            _ => pair[0],
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(text: &str) -> TransferId {
        text.parse().expect("a test's id is one")
    }

    fn hex(hash: Hash) -> String {
        Digest(hash).to_string()
    }

    fn leaves(count: u8) -> Vec<Hash> {
        (0..count).map(|at| [at; HASH_BYTES]).collect()
    }

    /// Receipts outlive every version: what was signed once must be computed so for ever.
    #[test]
    fn a_receipt_of_this_version_can_be_checked_by_every_later_one() {
        let one = leaf(
            &id("cam-7.00c0ffee00c0ffee.42"),
            "images",
            "a/b.raw",
            3,
            &Digest([7; 32]),
        );
        let statement = Statement {
            cluster: [1; HASH_BYTES],
            consumer: "store-1",
            incarnation: 2,
            at: 3,
            count: 4,
            root: [5; HASH_BYTES],
        };
        let signed = *blake3::hash(&statement.to_bytes()).as_bytes();
        let roots = [1, 2, 3, 5, 8].map(|count| hex(root(&leaves(count)).unwrap()));
        assert_eq!(
            [hex(one), hex(signed)]
                .into_iter()
                .chain(roots)
                .collect::<Vec<_>>(),
            GOLDEN
        );
    }

    const GOLDEN: [&str; 7] = [
        "3a1f191d6dad70f04c573033bb5311133dfdd43a33264bc1a823dc52f9049fd0",
        "b4aa6c769a6c30fd6e26abac600b9b6e06c3cdebdd70c11cd7c02558b63f3bb9",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "79538b2e780b2fe505c912e3238891e0f8d2aef409bdfdf1686a1eca68b070c9",
        "5301bde03b8e62da5443e8a20c64b032a385b8f1967b738b62ecee8d5168642e",
        "d1353f627a9d61343e7485e696e8b7877a9b8795dd2fb86709b7960d03191d27",
        "71b983ef22793ce6885277050e63feb715db5fd9496c00253f961594ee4c1bc6",
    ];

    #[test]
    fn a_changed_field_changes_the_leaf() {
        let (a, b) = (
            id("cam-7.00c0ffee00c0ffee.42"),
            id("cam-7.00c0ffee00c0ffee.43"),
        );
        let digest = Digest([7; 32]);
        let all = [
            leaf(&a, "f", "n", 3, &digest),
            leaf(&b, "f", "n", 3, &digest),
            leaf(&id("cam-8.00c0ffee00c0ffee.42"), "f", "n", 3, &digest),
            leaf(&id("cam-7.00c0ffee00c0ffef.42"), "f", "n", 3, &digest),
            leaf(&a, "fn", "", 3, &digest),
            leaf(&a, "", "fn", 3, &digest),
            leaf(&a, "f", "m", 3, &digest),
            leaf(&a, "f", "n", 4, &digest),
            leaf(&a, "f", "n", 3, &Digest([8; 32])),
        ];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }

    #[test]
    fn an_empty_batch_proves_nothing() {
        assert_eq!(root(&[]), None);
        assert_eq!(path(&[], 0), None);
        assert_eq!(root_of([0; HASH_BYTES], 0, 0, &[]), None);
    }

    proptest! {
        #[test]
        fn a_path_proves_its_leaf_and_no_other(count in 1_u8..70, index in 0_u8..70, other in 0_u8..70) {
            let leaves = leaves(count);
            let (at, elsewhere) = (usize::from(index % count), usize::from(other % count));
            let path = path(&leaves, at).unwrap();
            let whole = root(&leaves);
            let proves = |leaf: Hash, at: usize, count: u8, path: &[Hash]| {
                root_of(leaf, at as u64, u64::from(count), path) == whole
            };
            prop_assert!(proves(leaves[at], at, count, &path));
            prop_assert_eq!(proves(leaves[elsewhere], at, count, &path), elsewhere == at);
            prop_assert_eq!(proves(leaves[at], elsewhere, count, &path), elsewhere == at);
            let longer = [path.clone(), vec![[9; HASH_BYTES]]].concat();
            prop_assert!(!proves(leaves[at], at, count, &longer));
            if !path.is_empty() {
                prop_assert!(!proves(leaves[at], at, count, &path[1..]));
            }
        }

        #[test]
        fn any_place_is_answered(index: u64, count: u64, steps in 0_usize..70) {
            let _ = root_of([0; HASH_BYTES], index, count, &vec![[1; HASH_BYTES]; steps]);
        }
    }
}
