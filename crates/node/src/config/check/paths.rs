//! Directories: each absolute, and none in another.
//!
//! Compared as they are written when the config is read, which may be on another machine; and by where
//! they lead when an agent starts, since a link or a mount may lead from one into another.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use super::super::error::{ConfigError, Problem};
use super::super::outline::Outline;
use super::super::{Config, ConsumeConfig, Node, ProduceConfig};

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
    path: Cow<'a, Path>,
    role: Role,
}

impl<'a> Claimed<'a> {
    fn new(key: String, path: &'a Path, role: Role) -> Self {
        let path = Cow::Borrowed(path);
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
    let claimed = claimed(node, produce, consume);
    match collision(&claimed) {
        None => Ok(()),
        Some((one, other)) => {
            let problem = Problem::Overlap {
                path: one.path.to_path_buf(),
                other_key: other.key.clone(),
                other: other.path.to_path_buf(),
            };
            Err(outline.refuse(&one.key, problem))
        }
    }
}

/// What is wrong with the directories of a config on this machine, by where they really are: two of
/// them are one, or one is in another.
pub(crate) fn overlap_here(config: &Config) -> Option<String> {
    let mut claimed = claimed(&config.node, &config.produce, &config.consume);
    for one in &mut claimed {
        one.path = Cow::Owned(really(&one.path));
    }
    let (one, other) = collision(&claimed).or_else(|| one_twice(&claimed))?;
    Some(format!(
        "{} and {} lead to directories in one another, {:?} and {:?}, and files of one would be taken for those of the other; hint: choose directories apart, through links and mounts too",
        other.key, one.key, other.path, one.path
    ))
}

/// Where a path leads; what is not there yet will be made there.
fn really(path: &Path) -> PathBuf {
    for there in path.ancestors() {
        if let Ok(real) = there.canonicalize() {
            let missing = path.strip_prefix(there).expect("it is an ancestor");
            return real.join(missing).components().collect();
        }
    }
    path.to_owned()
}

/// Two directories that are one under two paths: it is mounted twice.
fn one_twice<'c, 'a>(claimed: &'c [Claimed<'a>]) -> Option<(&'c Claimed<'a>, &'c Claimed<'a>)> {
    let inode = |one: &Claimed<'_>| one.path.metadata().ok().map(|m| (m.dev(), m.ino()));
    let mut seen: BTreeMap<(u64, u64), &Claimed<'_>> = BTreeMap::new();
    for one in claimed {
        let Some(inode) = inode(one) else { continue };
        match seen.insert(inode, one) {
            Some(other) if (one.role, other.role) != (Role::Archive, Role::Archive) => {
                return Some((one, other));
            }
            _ => {}
        }
    }
    None
}

fn collision<'c, 'a>(claimed: &'c [Claimed<'a>]) -> Option<(&'c Claimed<'a>, &'c Claimed<'a>)> {
    claimed.iter().enumerate().find_map(|(at, one)| {
        let other = claimed[..at].iter().find(|other| collide(one, other))?;
        Some((one, other))
    })
}

fn claimed<'a>(
    node: &'a Node,
    produce: &'a [ProduceConfig],
    consume: &'a [ConsumeConfig],
) -> Vec<Claimed<'a>> {
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
    claimed
}

fn collide(one: &Claimed<'_>, other: &Claimed<'_>) -> bool {
    if !one.path.starts_with(&other.path) && !other.path.starts_with(&one.path) {
        return false;
    }
    match (one.role, other.role) {
        // Nothing is ever read back from an archive, so several feeds may share one.
        (Role::Archive, Role::Archive) => false,
        (Role::Archive, Role::Watch) => !is_left_alone(&one.path, &other.path),
        (Role::Watch, Role::Archive) => !is_left_alone(&other.path, &one.path),
        (Role::Watch, Role::Watch) | (Role::Other, _) | (_, Role::Other) => true,
    }
}

/// Whether a watcher of `watch` never looks into `dir`, because it is hidden there.
fn is_left_alone(dir: &Path, watch: &Path) -> bool {
    let is_hidden = |name: &OsStr| name.as_bytes().starts_with(b".");
    dir.strip_prefix(watch)
        .is_ok_and(|below| below.iter().any(is_hidden))
}
