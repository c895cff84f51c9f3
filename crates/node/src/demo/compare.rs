//! What must be in an inbox against what is there. Nothing in here reads a file or asks an agent,
//! so that a test can show that it notices what it is for.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// What one copy of a file is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Print {
    /// Length in bytes.
    pub(super) size: u64,
    /// BLAKE3 of all bytes.
    pub(super) digest: blake3::Hash,
    /// Modification time in nanoseconds since the Unix epoch.
    pub(super) mtime_ns: i128,
    /// Permission bits.
    pub(super) mode: u32,
}

/// Files of one inbox, by their paths under it.
pub(super) type Files = BTreeMap<String, Print>;

/// One inbox as it was found.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    /// Its regular files, those in staging excepted.
    pub(super) files: Files,
    /// What is in staging beside the marker.
    pub(super) staged: Vec<String>,
    /// What is neither a regular file nor a directory, or cannot be read, and why.
    pub(super) odd: Vec<(String, String)>,
}

/// One thing that is not as it was promised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Broken {
    /// Where: a node, or a node's feed.
    pub(super) place: String,
    /// The file.
    pub(super) file: String,
    /// What is wrong with it.
    pub(super) what: Fault,
}

/// In what way it is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Fault {
    /// It is not there.
    Missing,
    /// It is there, and nobody placed it there.
    Extra,
    /// It is there a second time under this name.
    Doubled {
        /// The name under which it belongs there.
        of: String,
    },
    /// Its bytes are others than those of the source.
    Changed {
        /// The source's length.
        size: u64,
        /// The copy's length.
        found: u64,
    },
    /// Its modification time is another than the source's.
    Mtime,
    /// Its permissions are others than the source's, in octal.
    Mode {
        /// The source's.
        mode: String,
        /// The copy's.
        found: String,
    },
    /// It was left in staging.
    LeftInStaging,
    /// It cannot be compared.
    Odd {
        /// Why.
        why: String,
    },
    /// Its transfer did not come as far as it should.
    Transfer {
        /// What it says of itself.
        why: String,
    },
    /// Its source is not as it should be after delivery.
    Source {
        /// What is wrong.
        why: String,
    },
    /// An agent did not do what it should.
    Agent {
        /// What.
        why: String,
    },
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?} ", self.place, self.file)?;
        match &self.what {
            Fault::Missing => write!(f, "is missing"),
            Fault::Extra => write!(f, "was not placed here"),
            Fault::Doubled { of } => write!(f, "is a second copy of {of:?}"),
            Fault::Changed { size, found } if size == found => {
                write!(f, "has other bytes than its source")
            }
            Fault::Changed { size, found } => {
                write!(f, "has {found} bytes, and its source {size}")
            }
            Fault::Mtime => write!(f, "lost its modification time"),
            Fault::Mode { mode, found } => {
                write!(f, "has permissions {found}, and its source {mode}")
            }
            Fault::LeftInStaging => write!(f, "was left in staging"),
            Fault::Odd { why }
            | Fault::Transfer { why }
            | Fault::Source { why }
            | Fault::Agent { why } => f.write_str(why),
        }
    }
}

/// What an inbox showed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Compared {
    /// Copies that are exactly right.
    pub(super) verified: u64,
    /// Their bytes.
    pub(super) verified_bytes: u64,
    /// Everything else.
    pub(super) broken: Vec<Broken>,
}

/// Compares one inbox, called `place`, with what was promised for it.
pub(super) fn compare(place: &str, expected: &Files, found: &Found) -> Compared {
    let mut compared = Compared::default();
    let broken = |file: &str, what: Fault| Broken {
        place: place.to_owned(),
        file: file.to_owned(),
        what,
    };
    for (name, print) in expected {
        match found.files.get(name).map(|copy| differs(print, copy)) {
            Some(None) => {
                compared.verified += 1;
                compared.verified_bytes += print.size;
            }
            Some(Some(what)) => compared.broken.push(broken(name, what)),
            None => compared.broken.push(broken(name, Fault::Missing)),
        }
    }
    let unplaced = found.files.iter();
    for (name, print) in unplaced.filter(|(name, _)| !expected.contains_key(*name)) {
        let same = |other: &&String| expected[*other].digest == print.digest;
        // An empty file has many equals, and is a copy of none of them.
        let of = expected.keys().find(same).filter(|_| print.size > 0);
        let what = match of {
            Some(of) => Fault::Doubled { of: of.clone() },
            None => Fault::Extra,
        };
        compared.broken.push(broken(name, what));
    }
    let staged = found.staged.iter();
    compared
        .broken
        .extend(staged.map(|name| broken(name, Fault::LeftInStaging)));
    for (name, why) in &found.odd {
        let why = why.clone();
        compared.broken.push(broken(name, Fault::Odd { why }));
    }
    compared
}

/// How a copy differs from its source, the worst first.
fn differs(source: &Print, copy: &Print) -> Option<Fault> {
    if (source.size, source.digest) != (copy.size, copy.digest) {
        return Some(Fault::Changed {
            size: source.size,
            found: copy.size,
        });
    }
    if source.mtime_ns != copy.mtime_ns {
        return Some(Fault::Mtime);
    }
    (source.mode != copy.mode).then(|| Fault::Mode {
        mode: format!("{:04o}", source.mode),
        found: format!("{:04o}", copy.mode),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(bytes: &str) -> Print {
        Print {
            size: bytes.len() as u64,
            digest: blake3::hash(bytes.as_bytes()),
            mtime_ns: 1,
            mode: 0o644,
        }
    }

    fn files(all: &[(&str, &str)]) -> Files {
        let all = all.iter();
        all.map(|(name, bytes)| ((*name).to_owned(), print(bytes)))
            .collect()
    }

    fn found(all: &[(&str, &str)]) -> Found {
        Found {
            files: files(all),
            ..Found::default()
        }
    }

    fn faults(expected: &[(&str, &str)], found: &Found) -> Vec<(String, Fault)> {
        let compared = compare("cons-1", &files(expected), found);
        let broken = compared.broken.into_iter();
        broken.map(|broken| (broken.file, broken.what)).collect()
    }

    const TWO: &[(&str, &str)] = &[("a", "one"), ("d/b", "two")];

    #[test]
    fn an_inbox_that_is_right_is_verified() {
        let compared = compare("cons-1", &files(TWO), &found(TWO));
        let right = Compared {
            verified: 2,
            verified_bytes: 6,
            broken: Vec::new(),
        };
        assert_eq!(compared, right);
    }

    #[test]
    fn a_missing_file_is_noticed() {
        let here = found(&TWO[..1]);
        assert_eq!(faults(TWO, &here), [("d/b".to_owned(), Fault::Missing)]);
        assert_eq!(compare("cons-1", &files(TWO), &here).verified, 1);
    }

    #[test]
    fn an_extra_file_is_noticed() {
        let here = found(&[TWO[0], TWO[1], ("c", "three")]);
        assert_eq!(faults(TWO, &here), [("c".to_owned(), Fault::Extra)]);
    }

    #[test]
    fn a_changed_file_is_noticed_even_if_its_length_is_the_same() {
        let here = found(&[("a", "onE"), ("d/b", "tw")]);
        let changed = |size, found| Fault::Changed { size, found };
        assert_eq!(
            faults(TWO, &here),
            [
                ("a".to_owned(), changed(3, 3)),
                ("d/b".to_owned(), changed(3, 2))
            ]
        );
    }

    #[test]
    fn a_file_that_is_there_twice_is_noticed() {
        let here = found(&[TWO[0], TWO[1], ("a.prod-1.7", "one")]);
        let doubled = Fault::Doubled { of: "a".to_owned() };
        assert_eq!(faults(TWO, &here), [("a.prod-1.7".to_owned(), doubled)]);
    }

    #[test]
    fn two_empty_files_are_not_taken_for_one_another() {
        let here = found(&[("a", ""), ("b", "")]);
        let extra = faults(&[("a", "")], &here);
        assert_eq!(extra, [("b".to_owned(), Fault::Extra)]);
    }

    #[test]
    fn leftovers_and_oddities_are_noticed() {
        let mut here = found(TWO);
        here.staged.push("x".to_owned());
        here.odd.push(("y".to_owned(), "is a fifo".to_owned()));
        let why = "is a fifo".to_owned();
        assert_eq!(
            faults(TWO, &here),
            [
                ("x".to_owned(), Fault::LeftInStaging),
                ("y".to_owned(), Fault::Odd { why })
            ]
        );
    }

    #[test]
    fn lost_times_and_permissions_are_noticed() {
        let mut here = found(TWO);
        here.files.get_mut("a").unwrap().mtime_ns = 2;
        here.files.get_mut("d/b").unwrap().mode = 0o600;
        let faults = faults(TWO, &here);
        assert_eq!(faults[0], ("a".to_owned(), Fault::Mtime));
        assert!(matches!(faults[1].1, Fault::Mode { .. }), "{faults:?}");
    }
}
