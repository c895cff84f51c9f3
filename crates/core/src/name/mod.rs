//! Names of files, the templates that make them, and patterns over names of nodes.
//!
//! A [`FileName`] is safe to join to an inbox as it is: that is checked once, where it comes from
//! outside, and carried in the type. Whoever makes a name from parts ([`Template`],
//! [`conflict_name`]) goes through the same check.
//!
//! Deliberately absent: anything that asks a filesystem. That a path stays beneath its inbox in
//! spite of links that somebody put there is the disk's business.

mod pattern;
mod template;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use crate::ids::TransferId;
use crate::limits::{NAME_BYTES_MAX, NAME_COMPONENT_BYTES_MAX, NAME_COMPONENTS_MAX};

pub use pattern::{BadPattern, Pattern};
pub use template::{BadTemplate, Template, TemplateKind, TemplateValues};

/// What every name of our own in somebody else's directory begins with, and no file's may.
pub const RESERVED_PREFIX: &str = ".consign";

/// Longest extension that is kept as one when a name gets an addition, in bytes. What is longer
/// is no extension, but a name with a dot in it.
const EXTENSION_BYTES_MAX: usize = 64;

/// Bytes of an unacceptable name that its error quotes: it may come from anybody.
const QUOTED_BYTES_MAX: usize = 80;

/// Why a file's name is not acceptable. Nothing changed; the same name will never be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadFileName {
    /// The name is empty.
    #[error("file name is empty; hint: give the file a name")]
    Empty,
    /// The whole name is too long.
    #[error("file name {name:?} is {len} bytes long; hint: use at most {NAME_BYTES_MAX}")]
    TooLong {
        /// Its beginning.
        name: String,
        /// Its length in bytes.
        len: usize,
    },
    /// It has too many components.
    #[error(
        "file name {name:?} is {depth} directories deep; hint: use at most {NAME_COMPONENTS_MAX} components"
    )]
    TooDeep {
        /// Its beginning.
        name: String,
        /// How many components it has.
        depth: usize,
    },
    /// It begins or ends with `/`, or has two of them in a row.
    #[error(
        "file name {name:?} has an empty component; hint: no '/' in front, at the end, or doubled"
    )]
    EmptyComponent {
        /// Its beginning.
        name: String,
    },
    /// A component is `.` or `..`.
    #[error(
        "file name {name:?} has a component {component:?}; hint: name the file relative to its feed, without '.' and '..'"
    )]
    Dots {
        /// Its beginning.
        name: String,
        /// The component.
        component: String,
    },
    /// A component is too long for a filesystem.
    #[error(
        "a component of file name {name:?} is {len} bytes long; hint: use at most {NAME_COMPONENT_BYTES_MAX}"
    )]
    LongComponent {
        /// Its beginning.
        name: String,
        /// The component's length in bytes.
        len: usize,
    },
    /// It holds a control character.
    #[error("file name {name:?} holds the control character {bad:?}; hint: rename the file")]
    Control {
        /// Its beginning.
        name: String,
        /// The first such character.
        bad: char,
    },
    /// A component begins with the prefix that is ours.
    #[error(
        "a component of file name {name:?} begins with {RESERVED_PREFIX:?}; hint: rename the file, such names are consign's own"
    )]
    Reserved {
        /// Its beginning.
        name: String,
    },
}

/// A file's relative name: 1 to 64 components of 1 to 255 bytes, joined by `/`, 2048 bytes at most.
/// No component is `.` or `..` or begins with [`RESERVED_PREFIX`], and none holds a control
/// character. Backslashes are ordinary characters, as they are to the kernel.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName(Arc<str>);

impl FileName {
    /// Accepts a name from outside.
    ///
    /// # Errors
    /// [`BadFileName`] when it is not of the form above.
    pub fn new(name: &str) -> Result<Self, BadFileName> {
        check(name)?;
        Ok(Self(name.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its components, at least one.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }

    /// Its directory without a trailing `/`; empty when it has none.
    #[must_use]
    pub fn dir(&self) -> &str {
        self.0.rsplit_once('/').map_or("", |(dir, _)| dir)
    }

    /// Its last component.
    #[must_use]
    pub fn base(&self) -> &str {
        self.0.rsplit_once('/').map_or(&*self.0, |(_, base)| base)
    }

    /// Its last component without the last extension. A leading dot begins none.
    #[must_use]
    pub fn stem(&self) -> &str {
        split_extension(self.base()).0
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl FromStr for FileName {
    type Err = BadFileName;
    fn from_str(name: &str) -> Result<Self, BadFileName> {
        Self::new(name)
    }
}

fn check(name: &str) -> Result<(), BadFileName> {
    let quoted = || quoted(name);
    if name.is_empty() {
        return Err(BadFileName::Empty);
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(BadFileName::TooLong {
            name: quoted(),
            len: name.len(),
        });
    }
    let depth = name.split('/').count();
    if depth > NAME_COMPONENTS_MAX {
        return Err(BadFileName::TooDeep {
            name: quoted(),
            depth,
        });
    }
    if let Some(bad) = name.chars().find(|c| c.is_control()) {
        return Err(BadFileName::Control {
            name: quoted(),
            bad,
        });
    }
    name.split('/').try_for_each(|component| match component {
        "" => Err(BadFileName::EmptyComponent { name: quoted() }),
        "." | ".." => Err(BadFileName::Dots {
            name: quoted(),
            component: component.to_owned(),
        }),
        long if long.len() > NAME_COMPONENT_BYTES_MAX => Err(BadFileName::LongComponent {
            name: quoted(),
            len: long.len(),
        }),
        ours if ours.starts_with(RESERVED_PREFIX) => Err(BadFileName::Reserved { name: quoted() }),
        _ => Ok(()),
    })
}

fn quoted(name: &str) -> String {
    let shown = truncated(name, QUOTED_BYTES_MAX);
    let more = if shown.len() < name.len() { "…" } else { "" };
    format!("{shown}{more}")
}

/// The name under which a file is published when its own is taken by another: the transfer's id
/// goes in front of the extension, and the stem is cut so that everything fits.
///
/// It depends on nothing but its arguments, so recovery finds the same; and since an id is never
/// used twice, no two transfers get the same one. When the directory is so long that no addition
/// fits behind it, the file goes to the nearest directory above it where one does.
#[must_use]
pub fn conflict_name(name: &FileName, id: &TransferId) -> FileName {
    let (stem, extension) = split_extension(name.base());
    let (stem, extension) = match extension.len() {
        ..=EXTENSION_BYTES_MAX => (stem, extension),
        _ => (name.base(), ""),
    };
    let tail = format!(".{id}{extension}");
    let room = NAME_COMPONENT_BYTES_MAX - tail.len();
    let base = format!("{}{tail}", truncated(stem, room));

    let mut dir = name.dir();
    while !dir.is_empty() && dir.len() + 1 + base.len() > NAME_BYTES_MAX {
        dir = dir.rsplit_once('/').map_or("", |(above, _)| above);
    }
    let path = if dir.is_empty() {
        base
    } else {
        format!("{dir}/{base}")
    };
    FileName::new(&path).expect("a clean name with an id in it is clean")
}

/// Splits a component before its last dot, unless that is its first character; the extension keeps
/// its dot.
fn split_extension(base: &str) -> (&str, &str) {
    match base.rfind('.') {
        Some(at) if at > 0 => base.split_at(at),
        _ => (base, ""),
    }
}

/// The longest beginning of `text` that has at most `bytes` bytes and ends between characters.
fn truncated(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{NodeName, Sequence, Start, TransferKey};
    use proptest::prelude::*;

    fn id(producer: &str, seq: u64) -> TransferId {
        TransferId {
            producer: NodeName::new(producer).unwrap(),
            key: TransferKey {
                start: Start(0xc0ffee),
                seq: Sequence(seq),
            },
        }
    }

    #[test]
    fn names_that_could_climb_hide_or_break_a_line_are_refused() {
        use BadFileName as Bad;
        let kind = |name: &str| FileName::new(name).unwrap_err();
        assert!(matches!(kind(""), Bad::Empty));
        for bad in ["/", "/etc/passwd", "a/", "a//b"] {
            assert!(matches!(kind(bad), Bad::EmptyComponent { .. }), "{bad}");
        }
        for bad in [".", "..", "../a", "a/../b", "a/.", "./a"] {
            assert!(matches!(kind(bad), Bad::Dots { .. }), "{bad}");
        }
        for bad in ["a\0", "a\nb", "\u{7f}", "a/\u{85}"] {
            assert!(matches!(kind(bad), Bad::Control { .. }), "{bad:?}");
        }
        for bad in [".consign", ".consign/x", "a/.consign-7", ".consignment"] {
            assert!(matches!(kind(bad), Bad::Reserved { .. }), "{bad}");
        }
    }

    #[test]
    fn names_are_as_long_as_filesystems_take_and_no_longer() {
        use BadFileName as Bad;
        let long = "x".repeat(255);
        assert!(FileName::new(&long).is_ok());
        let kind = |name: String| FileName::new(&name).unwrap_err();
        assert!(matches!(
            kind(format!("a/{long}y")),
            Bad::LongComponent { len: 256, .. }
        ));
        assert!(FileName::new(&["d"; 64].join("/")).is_ok());
        assert!(matches!(
            kind(["d"; 65].join("/")),
            Bad::TooDeep { depth: 65, .. }
        ));
        let full = [long.as_str(); 8].join("/");
        assert_eq!(full.len(), 2047);
        assert!(FileName::new(&full).is_ok());
        assert!(matches!(
            kind(format!("{full}/y")),
            Bad::TooLong { len: 2049, .. }
        ));
    }

    #[test]
    fn ordinary_and_odd_names_are_accepted() {
        for good in [
            "a",
            "a/b.jpg",
            ".bashrc",
            "...",
            "a b",
            "ä/日本",
            "back\\slash",
            "-rf",
            "~",
        ] {
            assert_eq!(FileName::new(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn every_refusal_says_what_to_do_and_quotes_little() {
        let long = "x".repeat(5000);
        for bad in [
            "",
            "/",
            "..",
            "\n",
            ".consign",
            &long,
            &long[..300],
            &"d/".repeat(70),
        ] {
            let text = FileName::new(bad).unwrap_err().to_string();
            assert!(text.contains("; hint: ") && text.len() < 300, "{text}");
        }
    }

    #[test]
    fn parts_of_a_name() {
        let parts = |name: &str| {
            let name = FileName::new(name).unwrap();
            [name.dir(), name.base(), name.stem()].map(str::to_owned)
        };
        assert_eq!(parts("a/b/c.tar.gz"), ["a/b", "c.tar.gz", "c.tar"]);
        assert_eq!(parts("c"), ["", "c", "c"]);
        assert_eq!(parts("a.d/.bashrc"), ["a.d", ".bashrc", ".bashrc"]);
        assert_eq!(parts("c."), ["", "c.", "c"]);
    }

    #[test]
    fn conflict_names_keep_directory_and_extension() {
        let renamed = |name: &str| conflict_name(&FileName::new(name).unwrap(), &id("cam-7", 42));
        assert_eq!(
            renamed("a/b.jpg").as_str(),
            "a/b.cam-7.0000000000c0ffee.42.jpg"
        );
        assert_eq!(renamed("b").as_str(), "b.cam-7.0000000000c0ffee.42");
        assert_eq!(renamed(".rc").as_str(), ".rc.cam-7.0000000000c0ffee.42");
        let long = format!("a.{}", "x".repeat(100));
        assert_eq!(
            renamed(&long).as_str(),
            format!("{long}.cam-7.0000000000c0ffee.42")
        );
    }

    #[test]
    fn conflict_names_fit_where_the_directory_leaves_no_room() {
        let name = FileName::new(&format!("{}/b.jpg", vec!["d".repeat(254); 8].join("/"))).unwrap();
        assert_eq!(name.as_str().len(), 2045);
        let renamed = conflict_name(&name, &id("cam-7", 42));
        assert_eq!(renamed.base(), "b.cam-7.0000000000c0ffee.42.jpg");
        assert_eq!(renamed.dir(), vec!["d".repeat(254); 7].join("/"));
    }

    proptest! {
        #[test]
        fn conflict_names_are_clean_and_differ_between_transfers(
            name in "([a-zäöü日.]{1,80}/){0,6}[a-zäöü日.]{1,80}",
            producer in "[a-z]{1,64}",
            (one, other) in (any::<u64>(), any::<u64>()),
        ) {
            prop_assume!(one != other);
            let Ok(name) = FileName::new(&name) else { return Ok(()) };
            let renamed = conflict_name(&name, &id(&producer, one));
            prop_assert_eq!(&renamed, &conflict_name(&name, &id(&producer, one)));
            prop_assert_ne!(&renamed, &conflict_name(&name, &id(&producer, other)));
            prop_assert!(renamed.base().contains(&id(&producer, one).to_string()));
        }
    }
}
