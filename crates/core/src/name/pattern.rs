//! Patterns over names of nodes: a name in which `*` stands for anything.

use std::fmt;

use thiserror::Error;

use crate::ids::NodeName;
use crate::limits::NODE_NAME_BYTES_MAX;

/// A pattern that can match no node's name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadPattern {
    /// It is empty.
    #[error("pattern is empty; hint: write \"*\" for every node")]
    Empty,
    /// It is longer than any node's name.
    #[error(
        "pattern {pattern:?} is longer than {NODE_NAME_BYTES_MAX} bytes; hint: no node's name is as long"
    )]
    TooLong {
        /// The pattern.
        pattern: String,
    },
    /// It holds a character that no node's name has.
    #[error(
        "pattern {pattern:?} holds {bad:?}; hint: use the letters of a node's name, and '*' for any run of them"
    )]
    Character {
        /// The pattern.
        pattern: String,
        /// The first such character.
        bad: char,
    },
}

/// A name of a node, or of many: each `*` stands for any run of characters, also none.
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Accepts a pattern from outside.
    ///
    /// # Errors
    /// [`BadPattern`] when it could match no node's name: most likely a slip.
    pub fn new(pattern: &str) -> Result<Self, BadPattern> {
        if pattern.is_empty() {
            return Err(BadPattern::Empty);
        }
        if pattern.len() > NODE_NAME_BYTES_MAX {
            return Err(BadPattern::TooLong {
                pattern: pattern.to_owned(),
            });
        }
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '*');
        match pattern.chars().find(|&c| !known(c)) {
            Some(bad) => Err(BadPattern::Character {
                pattern: pattern.to_owned(),
                bad,
            }),
            None => Ok(Self(pattern.to_owned())),
        }
    }

    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it covers this node.
    #[must_use]
    pub fn matches(&self, node: &NodeName) -> bool {
        let Some((head, rest)) = self.0.split_once('*') else {
            return self.0 == node.as_str();
        };
        let Some(name) = node.as_str().strip_prefix(head) else {
            return false;
        };
        let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
        name.strip_suffix(tail)
            .is_some_and(|name| holds_in_order(name, middle))
    }
}

/// Whether the parts of `middle` between its stars are in `name`, one behind the other. Taking
/// each as early as possible leaves the most room for the next, so this never misses one.
fn holds_in_order(mut name: &str, middle: &str) -> bool {
    middle.split('*').all(|part| match name.find(part) {
        Some(at) => {
            name = &name[at + part.len()..];
            true
        }
        None => false,
    })
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, node: &str) -> bool {
        Pattern::new(pattern)
            .unwrap()
            .matches(&NodeName::new(node).unwrap())
    }

    /// What `*` means, written down plainly and slowly.
    fn reference(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => (0..=name.len()).any(|n| reference(rest, &name[n..])),
            ([p, pattern @ ..], [n, name @ ..]) => p == n && reference(pattern, name),
            _ => false,
        }
    }

    #[test]
    fn a_star_stands_for_any_run() {
        for (pattern, node) in [
            ("*", "a"),
            ("cam-*", "cam-7"),
            ("cam-*", "cam-"),
            ("*-7", "cam-7"),
            ("c*-*7", "cam-77"),
        ] {
            assert!(matches(pattern, node), "{pattern} must cover {node}");
        }
        for (pattern, node) in [
            ("cam", "cam-7"),
            ("cam-*", "xcam-7"),
            ("a*a", "a"),
            ("a*b*a", "aa"),
            ("*b*", "a"),
        ] {
            assert!(!matches(pattern, node), "{pattern} must not cover {node}");
        }
    }

    #[test]
    fn patterns_that_match_nothing_are_refused() {
        let long = "*".repeat(65);
        for bad in ["", "cam?", "cam-[0-9]", "a b", "ä*", &long] {
            let text = Pattern::new(bad).unwrap_err().to_string();
            assert!(text.contains("; hint: "), "{text}");
        }
    }

    proptest! {
        #[test]
        fn matches_what_the_reference_matches(pattern in "[ab*]{1,8}", node in "[ab]{1,10}") {
            let expected = reference(pattern.as_bytes(), node.as_bytes());
            prop_assert_eq!(matches(&pattern, &node), expected);
        }
    }
}
