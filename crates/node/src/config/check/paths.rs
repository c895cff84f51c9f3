//! Directories: each absolute, and none in another.
//!
//! Compared as they are written. That two paths lead to one directory by way of a link is only
//! known where the directories are opened.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use super::super::error::{ConfigError, Problem};
use super::super::outline::Outline;
use super::super::{ConsumeConfig, Node, ProduceConfig};

/// Accepts a path that means the same wherever the agent was started.
pub(super) fn absolute(
    text: &str,
    key: &str,
    outline: &Outline<'_>,
) -> Result<PathBuf, ConfigError> {
    let path = Path::new(text);
    if !path.is_absolute() {
        return Err(outline.refuse(
            key,
            Problem::Relative {
                path: text.to_owned(),
            },
        ));
    }
    if path
        .components()
        .any(|component| component == Component::ParentDir)
    {
        return Err(outline.refuse(
            key,
            Problem::Climbs {
                path: text.to_owned(),
            },
        ));
    }
    // Without doubled and trailing separators, and without '.'.
    Ok(path.components().collect())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Watch,
    Archive,
    Other,
}

struct Claimed<'a> {
    key: String,
    path: &'a Path,
    role: Role,
}

impl<'a> Claimed<'a> {
    fn new(key: String, path: &'a Path, role: Role) -> Self {
        Self { key, path, role }
    }
}

/// Refuses directories in one another: the files of one would be taken for those of the other.
pub(super) fn apart(
    node: &Node,
    produce: &[ProduceConfig],
    consume: &[ConsumeConfig],
    outline: &Outline<'_>,
) -> Result<(), ConfigError> {
    let mut claimed = vec![Claimed::new(
        "node.data_dir".to_owned(),
        &node.data_dir,
        Role::Other,
    )];
    for (count, table) in (1..).zip(produce) {
        let key = |name| format!("produce[{count}].{name}");
        let watch = table.watch.iter().map(|watch| watch.dir.as_path());
        claimed.extend(watch.map(|dir| Claimed::new(key("watch"), dir, Role::Watch)));
        let archive = table.archive_dir.iter();
        claimed.extend(archive.map(|dir| Claimed::new(key("archive_dir"), dir, Role::Archive)));
    }
    for (count, table) in (1..).zip(consume) {
        let inbox = Path::new(&table.policy.inbox);
        claimed.push(Claimed::new(
            format!("consume[{count}].inbox"),
            inbox,
            Role::Other,
        ));
    }
    for (at, one) in claimed.iter().enumerate() {
        if let Some(other) = claimed[..at].iter().find(|other| collide(one, other)) {
            let problem = Problem::Overlap {
                path: one.path.to_owned(),
                other_key: other.key.clone(),
                other: other.path.to_owned(),
            };
            return Err(outline.refuse(&one.key, problem));
        }
    }
    Ok(())
}

fn collide(one: &Claimed<'_>, other: &Claimed<'_>) -> bool {
    if !one.path.starts_with(other.path) && !other.path.starts_with(one.path) {
        return false;
    }
    match (one.role, other.role) {
        // Nothing is ever read back from an archive, so several feeds may share one.
        (Role::Archive, Role::Archive) => false,
        (Role::Archive, Role::Watch) => !is_left_alone(one.path, other.path),
        (Role::Watch, Role::Archive) => !is_left_alone(other.path, one.path),
        (Role::Watch, Role::Watch) | (Role::Other, _) | (_, Role::Other) => true,
    }
}

/// Whether a watcher of `watch` never looks into `dir`, because it is hidden there.
fn is_left_alone(dir: &Path, watch: &Path) -> bool {
    let is_hidden = |name: &OsStr| name.as_bytes().starts_with(b".");
    dir.strip_prefix(watch)
        .is_ok_and(|below| below.iter().any(is_hidden))
}
