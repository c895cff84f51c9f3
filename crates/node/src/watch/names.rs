//! Which entries of a watched directory are files to send, which are left alone, and which are a
//! problem.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use consign_core::limits::{NAME_BYTES_MAX, NAME_COMPONENTS_MAX};
use consign_core::spec::Stamp;
use globset::GlobSet;
#[cfg(test)]
use globset::{GlobBuilder, GlobSetBuilder};
use rustix::fs::{FileType, Stat};
#[cfg(test)]
use thiserror::Error;

use crate::outbox::stamp_of;

/// A pattern of `include` that is none.
#[cfg(test)]
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{pattern:?} is not a pattern: {why}; hint: \"**/*\" is every file, \"*.jpg\" those directly in the directory"
)]
pub(crate) struct BadPattern {
    /// The pattern.
    pub(crate) pattern: String,
    /// What is wrong with it.
    pub(crate) why: String,
}

/// What an entry is to a watcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Judged {
    /// A file to send, when it is ready.
    File {
        /// Its name relative to the watched directory.
        name: String,
        /// How it looks.
        stamp: Stamp,
    },
    /// A directory to look into.
    Dir,
    /// A temporary name, or one that is not included: none of our business.
    Ignored,
    /// Something that would be sent if it could be; for a person to see.
    Odd(String),
}

/// The patterns of `include`, for relative paths. A `*` does not cross directories, a `**` does.
///
/// # Errors
/// [`BadPattern`].
#[cfg(test)]
pub(crate) fn include_set(patterns: &[String]) -> Result<GlobSet, BadPattern> {
    let bad = |pattern: &str, error: globset::Error| BadPattern {
        pattern: pattern.to_owned(),
        why: error.kind().to_string(),
    };
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let glob = GlobBuilder::new(pattern)
            .literal_separator(true)
            .build()
            .map_err(|error| bad(pattern, error))?;
        set.add(glob);
    }
    set.build()
        .map_err(|error| bad(&patterns.join(", "), error))
}

/// Whether a name is one that programs give to what is not finished: a dotfile (which covers our
/// own `.consign`), `*.part`, `*.tmp`, `*~`.
pub(super) fn is_temporary(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name.starts_with(b".")
        || name.ends_with(b"~")
        || name.ends_with(b".part")
        || name.ends_with(b".tmp")
}

/// Whether a path is, or lies under, a temporary name.
pub(super) fn is_under_temporary(path: &Path) -> bool {
    path.components().any(|part| match part {
        Component::Normal(name) => is_temporary(name),
        _ => true,
    })
}

/// Judges what is at `path`, relative to the watched directory.
pub(super) fn judge(path: &Path, stat: &Stat, include: &GlobSet) -> Judged {
    if is_under_temporary(path) {
        return Judged::Ignored;
    }
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind == FileType::Directory {
        return match path.components().count() {
            ..NAME_COMPONENTS_MAX => Judged::Dir,
            _ => Judged::Odd(format!(
                "is deeper than {NAME_COMPONENTS_MAX} directories, what is in it is not sent; hint: move it up"
            )),
        };
    }
    if !include.is_match(path) {
        return Judged::Ignored;
    }
    match kind {
        FileType::RegularFile => judge_file(path, stat),
        FileType::Symlink => odd("is a symbolic link", "put the file itself here"),
        FileType::Fifo => odd(
            "is a named pipe",
            "remove it, or set `include` to patterns that leave it out",
        ),
        FileType::Socket => odd(
            "is a socket",
            "remove it, or set `include` to patterns that leave it out",
        ),
        _ => odd(
            "is a device",
            "remove it, or set `include` to patterns that leave it out",
        ),
    }
}

fn judge_file(path: &Path, stat: &Stat) -> Judged {
    let Some(name) = path.to_str() else {
        return odd("has a name that is not UTF-8", "rename it");
    };
    if name.len() > NAME_BYTES_MAX {
        return odd(
            &format!("has a path of {} bytes, over {NAME_BYTES_MAX}", name.len()),
            "move it up, or shorten its name",
        );
    }
    if name.chars().any(char::is_control) {
        return odd("has a control character in its name", "rename it");
    }
    Judged::File {
        name: name.to_owned(),
        stamp: stamp_of(stat),
    }
}

fn odd(what: &str, hint: &str) -> Judged {
    Judged::Odd(format!("{what} and is not sent; hint: {hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_names_are_left_alone_at_any_depth() {
        for path in [
            ".a",
            "a.part",
            "a.tmp",
            "a~",
            ".consign/x",
            "d.part/x",
            "x/.y/z",
        ] {
            assert!(is_under_temporary(Path::new(path)), "{path}");
        }
        for path in ["a", "a.parts", "x/tmp", "~a"] {
            assert!(!is_under_temporary(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn patterns_cross_directories_only_when_told_to() {
        let set = |pattern: &str| include_set(&[pattern.to_owned()]).unwrap();
        assert!(set("**/*").is_match("a") && set("**/*").is_match("a/b"));
        assert!(set("*.jpg").is_match("a.jpg") && !set("*.jpg").is_match("d/a.jpg"));
        assert!(set("**/*.{jpg,png}").is_match("d/a.png"));
        let error = include_set(&["a[".to_owned()]).unwrap_err();
        assert!(error.to_string().contains("hint:"));
    }
}
