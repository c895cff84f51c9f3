//! Reading letters of strangers, within bounds that the crate does not have: a letter of 64 KiB may
//! inflate to 2,000 times that, and what it tells of is kept for an hour.
//!
//! So a letter is weighed before it is read. What all of them may add to what is known is one number of
//! bytes, the [`Room`], which is found anew at each look at what is known.
//!
//! ```text
//! magic(2) version(1) type(1) · Syn:    digest cluster
//!                             · SynAck: digest delta
//!                             · Ack:    delta
//! digest: count(2), then for each node its id and three numbers of 8 bytes
//! delta:  blocks of 0 (the end) | 1 length(2) zstd | 2 length(2) bytes
//! ```

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chitchat::{ChitchatId, ChitchatMessage, Deserializable, NodeState};

use super::super::bounds::{GOSSIP_BYTES_MAX, INFLATED_BYTES_MAX};

/// The largest block, inflated, in bytes.
const BLOCK_BYTES_MAX: usize = u16::MAX as usize;
/// What the crate keeps of a node beside its name and values, in bytes, as an upper bound; and of a
/// key.
const NODE_BYTES: usize = 512;
const KEY_BYTES: usize = 128;
/// Bytes that a byte of a letter, inflated, may become at most when it is kept: a node without a name
/// takes 34, and a key without a name and a value 14.
const GROWS: usize = NODE_BYTES.div_ceil(34);
const _: () = assert!(GROWS >= KEY_BYTES.div_ceil(14));

/// What may still be added to what is known, in bytes.
#[derive(Debug, Clone)]
pub(super) struct Room(Arc<AtomicUsize>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(AtomicUsize::new(GOSSIP_BYTES_MAX)))
    }
}

impl Room {
    /// Finds it anew, from all that is known.
    pub(super) fn measure<'a>(&self, known: impl Iterator<Item = (&'a ChitchatId, &'a NodeState)>) {
        let held: usize = known.map(|(id, state)| bytes_of(id, state)).sum();
        self.0
            .store(GOSSIP_BYTES_MAX.saturating_sub(held), Ordering::Relaxed);
    }

    /// Whether there is none to speak of, so that nothing new is taken in.
    pub(super) fn is_full(&self) -> bool {
        self.0.load(Ordering::Relaxed) < INFLATED_BYTES_MAX
    }

    /// Reads a letter, if it is one and there is room for what it may add.
    pub(super) fn read(&self, bytes: &[u8]) -> Option<ChitchatMessage> {
        let may_add = weigh(bytes)?;
        let take = |room: usize| room.checked_sub(may_add);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .ok()?;
        // The crate's reader may panic on what is no letter; nothing of it is shared by then.
        let read = catch_unwind(AssertUnwindSafe(|| {
            let mut rest = bytes;
            let message = ChitchatMessage::deserialize(&mut rest).ok()?;
            rest.is_empty().then_some(message)
        }));
        read.ok().flatten()
    }
}

fn bytes_of(id: &ChitchatId, state: &NodeState) -> usize {
    let values = state.key_values_including_deleted();
    let values = values.map(|(key, value)| KEY_BYTES + key.len() + value.value.len());
    NODE_BYTES + id.node_id.len() + values.sum::<usize>()
}

/// The most that a letter can add to what is known, in bytes; `None` when it is no letter, or inflates
/// to more than is taken.
fn weigh(bytes: &[u8]) -> Option<usize> {
    let (head, mut rest) = bytes.split_at_checked(4)?;
    let before = rest.len();
    let (has_digest, has_delta) = match head[3] {
        0 => (true, false),
        1 => (true, true),
        2 => (false, true),
        3 => (false, false),
        _ => return None,
    };
    if has_digest {
        skip_digest(&mut rest)?;
    }
    let digest = before - rest.len();
    let delta = match has_delta {
        true => inflated(rest)?,
        false => 0,
    };
    Some((digest + delta) * GROWS)
}

fn skip_digest(rest: &mut &[u8]) -> Option<()> {
    let nodes = u16::deserialize(rest).ok()?;
    for _ in 0..nodes {
        ChitchatId::deserialize(rest).ok()?;
        (_, *rest) = rest.split_at_checked(3 * 8)?;
    }
    Some(())
}

/// The length of a delta, inflated.
fn inflated(mut rest: &[u8]) -> Option<usize> {
    let mut block = vec![0; BLOCK_BYTES_MAX];
    let mut all = 0;
    loop {
        let kind = u8::deserialize(&mut rest).ok()?;
        if kind == 0 {
            return Some(all);
        }
        let length = usize::from(u16::deserialize(&mut rest).ok()?);
        let (packed, behind) = rest.split_at_checked(length)?;
        rest = behind;
        all += match kind {
            1 => zstd::bulk::decompress_to_buffer(packed, &mut block[..]).ok()?,
            2 => length,
            _ => return None,
        };
        if all > INFLATED_BYTES_MAX {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use chitchat::Serializable;
    use proptest::prelude::*;

    use super::*;

    const HEAD: [u8; 4] = [0x53, 0xb0, 0, 2];

    /// A letter with this delta, in so many blocks of the same.
    fn ack(block: &[u8], blocks: usize) -> Vec<u8> {
        let packed = zstd::bulk::compress(block, 3).unwrap();
        let mut letter = HEAD.to_vec();
        for _ in 0..blocks {
            letter.push(1);
            letter.extend(u16::try_from(packed.len()).unwrap().to_le_bytes());
            letter.extend(&packed);
        }
        letter.push(0);
        letter
    }

    /// A delta that sets the greatest version of nobody, again and again.
    fn nothing(bytes: usize) -> Vec<u8> {
        [2, 0, 0, 0, 0, 0, 0, 0, 0].repeat(bytes / 9)
    }

    #[test]
    fn a_letter_that_would_fill_the_memory_is_not_read() {
        let room = Room::default();
        let bomb = ack(&nothing(65_000), 1_000);
        assert!(bomb.len() < 64 << 10, "{}", bomb.len());
        assert_eq!(weigh(&bomb), None);
        assert!(room.read(&bomb).is_none());
        let many = ack(&nothing(16_000), 20);
        assert_eq!(weigh(&many), Some(20 * (16_000 / 9 * 9) * GROWS));
    }

    #[test]
    fn a_crowd_that_is_made_up_fills_the_room_and_no_more() {
        let room = Room::default();
        let digest = |letter: u64| {
            let mut bytes = vec![0x53, 0xb0, 0, 0];
            500u16.serialize(&mut bytes);
            for node in 0..500 {
                let at = "[fd00::1]:1".parse().unwrap();
                ChitchatId::new(format!("n{node}"), letter, at).serialize(&mut bytes);
                bytes.extend([0; 24]);
            }
            "consign-1".to_owned().serialize(&mut bytes);
            bytes
        };
        let read = (0..10_000).filter(|at| room.read(&digest(*at)).is_some());
        let nodes = 500 * read.count();
        assert!(nodes * NODE_BYTES <= GOSSIP_BYTES_MAX, "{nodes}");
        assert!(nodes > 10_000, "{nodes}: an honest crowd has room");
        assert!(room.is_full());
        // What was forgotten makes room again.
        room.measure(std::iter::empty());
        assert!(room.read(&digest(0)).is_some());
    }

    #[test]
    fn what_the_crate_writes_is_read() {
        let room = Room::default();
        for letter in [vec![0x53, 0xb0, 0, 3], [&HEAD[..], &[0]].concat()] {
            let read = room.read(&letter).expect("it is a letter");
            assert_eq!(read.serialize_to_vec(), letter);
        }
    }

    proptest! {
        #[test]
        fn no_letter_of_a_stranger_brings_the_node_down(
            kind in 0u8..5,
            bytes in prop::collection::vec(any::<u8>(), 0..300)
        ) {
            let room = Room::default();
            let headed = [&[0x53, 0xb0, 0, kind][..], &bytes].concat();
            for letter in [&bytes, &headed] {
                // Whatever is read is what was written, and nothing else.
                if let Some(read) = room.read(letter) {
                    let mut rest = letter.as_slice();
                    prop_assert_eq!(Some(read), ChitchatMessage::deserialize(&mut rest).ok());
                }
            }
        }
    }
}
