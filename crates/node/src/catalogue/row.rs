//! The states of rows: as numbers in the database, as words everywhere else.

use std::fmt;
use std::str::FromStr;

/// A text that is no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not a state; hint: use one of {known}")]
pub(crate) struct BadState {
    given: String,
    known: String,
}

macro_rules! states {
    ($(#[$doc:meta])* $type:ident { $($(#[$variant_doc:meta])* $variant:ident = $number:literal $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) enum $type {
            $($(#[$variant_doc])* $variant = $number,)*
        }

        impl $type {
            /// Every state, in order.
            pub(crate) const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The state as people and the API spell it.
            pub(crate) fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }

            /// Reads a state from the database; an unknown number is a corrupt row.
            pub(super) fn from_column(index: usize, number: i64) -> rusqlite::Result<Self> {
                match number {
                    $($number => Ok(Self::$variant),)*
                    _ => Err(rusqlite::Error::IntegralValueOutOfRange(index, number)),
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $type {
            type Err = BadState;

            fn from_str(text: &str) -> Result<Self, BadState> {
                let state = Self::ALL.iter().find(|state| state.as_str() == text);
                state.copied().ok_or_else(|| BadState {
                    given: text.to_owned(),
                    known: [$($word),*].join(", "),
                })
            }
        }
    };
}

states! {
    /// Where a transfer of this producer stands.
    ///
    /// ```text
    /// submitted ──▶ placed ──▶ done
    ///    │  ▲        │  ▲
    ///    ▼  │        ▼  │ retried
    ///   failed ◀──────── failed        anything but done ──▶ cancelled
    /// ```
    TransferState {
        /// It will be delivered; nobody was chosen yet.
        Submitted = 0 "submitted",
        /// Its consumers are chosen.
        Placed = 1 "placed",
        /// Every consumer has it.
        Done = 2 "done",
        /// A person must act.
        Failed = 3 "failed",
        /// A person gave it up.
        Cancelled = 4 "cancelled",
    }
}

states! {
    /// Where one consumer of a transfer stands: the rungs of the log.
    LegState {
        /// It has not answered for good.
        Owed = 0 "owed",
        /// It holds the file, synced.
        Saved = 1 "saved",
        /// It will never publish it.
        Abandoned = 2 "abandoned",
        /// It refused for good.
        Refused = 3 "refused",
        /// It is to be told that the transfer was placed elsewhere.
        Abandoning = 4 "abandoning",
    }
}

states! {
    /// Where a file stands that this node receives. It only ever moves down this list.
    DeliveryState {
        /// Its producer opened it.
        Receiving = 0 "receiving",
        /// Every byte is here.
        Received = 1 "received",
        /// Synced, and certain to be published.
        Saved = 2 "saved",
        /// It is in the inbox, or the application has taken it.
        Published = 3 "published",
        /// Closed without a file.
        Abandoned = 4 "abandoned",
    }
}

/// A state of either role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileState {
    /// Of a file that this node produces.
    Produced(TransferState),
    /// Of a file that it receives.
    Received(DeliveryState),
}

impl fmt::Display for FileState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Produced(state) => state.fmt(f),
            Self::Received(state) => state.fmt(f),
        }
    }
}

impl FromStr for FileState {
    type Err = BadState;

    fn from_str(text: &str) -> Result<Self, BadState> {
        let produced = text.parse().map(Self::Produced);
        produced.or_else(|of_producers: BadState| {
            let received = text.parse().map(Self::Received);
            received.map_err(|of_consumers: BadState| BadState {
                known: format!("{}, {}", of_producers.known, of_consumers.known),
                ..of_consumers
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_state_is_refused_with_the_known_ones() {
        assert_eq!("failed".parse(), Ok(TransferState::Failed));
        let received = FileState::Received(DeliveryState::Published);
        assert_eq!("published".parse(), Ok(received));
        let error = "broken".parse::<FileState>().unwrap_err().to_string();
        assert!(
            error.ends_with(
                "hint: use one of submitted, placed, done, failed, cancelled, receiving, received, \
                 saved, published, abandoned"
            ),
            "{error}"
        );
    }
}
