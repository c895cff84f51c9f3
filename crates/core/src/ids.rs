//! Names and numbers that identify things: nodes, feeds, transfers, slots, attempts.
//!
//! Every identifier is a newtype, so that a slot can never be passed where a sequence number is
//! meant. All of them are plain data: cheap to copy or to clone, ordered, and printable.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use crate::limits;

/// Why a name from outside (a config file, a peer, a command line) is not acceptable.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadName {
    /// The name is empty.
    #[error("{what} is empty; hint: give it 1 to {max} characters")]
    Empty {
        /// What was being named.
        what: &'static str,
        /// Longest accepted length in bytes.
        max: usize,
    },
    /// The name is longer than its limit.
    #[error("{what} {name:?} is {len} bytes long; hint: use at most {max}")]
    TooLong {
        /// What was being named.
        what: &'static str,
        /// The offending name.
        name: String,
        /// Its length in bytes.
        len: usize,
        /// Longest accepted length in bytes.
        max: usize,
    },
    /// The name holds a character that it may not.
    #[error(
        "{what} {name:?} holds {bad:?}; hint: use letters, digits, '-', '_' and '.', starting with a letter or digit"
    )]
    Character {
        /// What was being named.
        what: &'static str,
        /// The offending name.
        name: String,
        /// The first offending character.
        bad: char,
    },
}

fn check_label(what: &'static str, name: &str, max: usize) -> Result<(), BadName> {
    if name.is_empty() {
        return Err(BadName::Empty { what, max });
    }
    if name.len() > max {
        return Err(BadName::TooLong {
            what,
            name: name.to_owned(),
            len: name.len(),
            max,
        });
    }
    let bad = name.char_indices().find(|&(at, c)| {
        let always = c.is_ascii_alphanumeric();
        let inside = at > 0 && matches!(c, '-' | '_' | '.');
        !(always || inside)
    });
    match bad {
        Some((_, bad)) => Err(BadName::Character {
            what,
            name: name.to_owned(),
            bad,
        }),
        None => Ok(()),
    }
}

macro_rules! label {
    ($(#[$doc:meta])* $type:ident, $what:literal, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            /// Accepts a name from outside.
            ///
            /// # Errors
            /// [`BadName`] when it is empty, too long, or holds anything but ASCII letters,
            /// digits, `-`, `_` and `.` (the last three not in front).
            pub fn new(name: &str) -> Result<Self, BadName> {
                check_label($what, name, $max)?;
                Ok(Self(name.into()))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $type {
            type Err = BadName;
            fn from_str(name: &str) -> Result<Self, BadName> {
                Self::new(name)
            }
        }
    };
}

label!(
    /// The name of a node, unique in its cluster: 1 to 64 bytes of `[A-Za-z0-9._-]`.
    NodeName,
    "node name",
    limits::NODE_NAME_BYTES_MAX
);
label!(
    /// The name of a feed: 1 to 64 bytes of `[A-Za-z0-9._-]`.
    FeedName,
    "feed name",
    limits::FEED_NAME_BYTES_MAX
);

macro_rules! number {
    ($(#[$doc:meta])* $type:ident, $int:ty) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $type(pub $int);

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// A node's boot counter. It orders and fences: of two connections of one node, the one with
    /// the higher incarnation is the later life of that node. 0 means "never seen".
    Incarnation,
    u64
);
number!(
    /// Drawn at random at every start of an agent, so that no identifier is ever used twice, even
    /// if a node's disk is restored from an old image. It only names and never orders.
    Start,
    u64
);
number!(
    /// Counts a producer's transfers within one [`Start`], from 1.
    Sequence,
    u64
);
number!(
    /// Counts the tries of one transfer, from 1; every change of chain or placement raises it.
    Attempt,
    u32
);
number!(
    /// A dense number drawn per (producer, start, consumer) by each placement, from 1.
    Slot,
    u64
);

/// A fence: of two messages about one transfer, the one with the smaller fence changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Fence {
    /// The producer's life that speaks.
    pub incarnation: Incarnation,
    /// Its try of this transfer.
    pub attempt: Attempt,
}

/// A transfer within its producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransferKey {
    /// The start of the agent under which the transfer was submitted.
    pub start: Start,
    /// Its number within that start.
    pub seq: Sequence,
}

/// A transfer, named for the whole cluster and for all time. Printed as
/// `producer.start.sequence`, the start in 16 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransferId {
    /// The node that submitted it.
    pub producer: NodeName,
    /// Its name within that node.
    pub key: TransferKey,
}

impl fmt::Display for TransferKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}.{}", self.start.0, self.seq.0)
    }
}

impl fmt::Display for TransferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.producer, self.key)
    }
}

/// A text that does not name a transfer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{0:?} is not a transfer id; hint: copy one from `consign transfers`, it looks like cam-7.00c0ffee00c0ffee.42"
)]
pub struct BadTransferId(pub String);

impl FromStr for TransferId {
    type Err = BadTransferId;

    fn from_str(text: &str) -> Result<Self, BadTransferId> {
        let bad = || BadTransferId(text.to_owned());
        let mut parts = text.rsplitn(3, '.');
        let (seq, start, producer) = (parts.next(), parts.next(), parts.next());
        let (Some(seq), Some(start), Some(producer)) = (seq, start, producer) else {
            return Err(bad());
        };
        if start.len() != 16 {
            return Err(bad());
        }
        Ok(Self {
            producer: NodeName::new(producer).map_err(|_| bad())?,
            key: TransferKey {
                start: Start(u64::from_str_radix(start, 16).map_err(|_| bad())?),
                seq: Sequence(seq.parse().map_err(|_| bad())?),
            },
        })
    }
}

/// One slot of one producer, as a consumer sees it: what it deduplicates by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId {
    /// The node that produces.
    pub producer: NodeName,
    /// The start under which the slot was drawn.
    pub start: Start,
    /// The slot.
    pub slot: Slot,
}

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:016x}/{}", self.producer, self.start.0, self.slot.0)
    }
}

/// A BLAKE3 digest of a whole file: what `b3sum` prints.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Reads a digest from its 32 bytes, or `None` when there are more or fewer.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Milliseconds since the Unix epoch, as the node's clock had it: for people to read and for
/// delays, never for correctness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Millis(pub u64);

impl Millis {
    /// This time and `more` milliseconds.
    #[must_use]
    pub fn plus(self, more: u64) -> Self {
        Self(self.0.saturating_add(more))
    }

    /// How many milliseconds lie between `earlier` and this; 0 when it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transfer_ids_print_and_parse() {
        let id = TransferId {
            producer: NodeName::new("cam.hall-7").unwrap(),
            key: TransferKey {
                start: Start(0xc0ffee),
                seq: Sequence(42),
            },
        };
        assert_eq!(id.to_string(), "cam.hall-7.0000000000c0ffee.42");
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in [
            "",
            "a",
            "a.b",
            "a.12.3",
            "a.000000000000000g.3",
            ".0000000000c0ffee.1",
        ] {
            assert!(bad.parse::<TransferId>().is_err(), "{bad} must not parse");
        }
    }

    #[test]
    fn names_that_could_climb_or_hide_are_refused() {
        for bad in ["", ".", "..", ".x", "-x", "a/b", "a b", "ä", "a\0"] {
            assert!(NodeName::new(bad).is_err(), "{bad:?} must be refused");
        }
        assert!(NodeName::new(&"a".repeat(64)).is_ok());
        assert!(NodeName::new(&"a".repeat(65)).is_err());
    }
}
