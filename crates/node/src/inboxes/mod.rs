//! The inboxes' disks: staging and publishing what the consumer decided, over the core's own code.
//!
//! Calls block. They run on the node's worker threads, one for each batch.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use consign_core::consumer::{Event, PublishOrder, StageOrder};
use consign_core::disk::{Attributes, Disk};
use consign_core::ids::{FeedName, SlotId};
use consign_core::publish::{self, PublishFile, PublishOutcome, SyncFailed};

use crate::config::ConsumeConfig;
use crate::filesystem::{self, FsError, Use};
use crate::log_writer::Payloads;
use crate::os_disk::OsDisk;

use claim::Claim;

mod claim;
mod marks;

pub(crate) use marks::{InboxMarks, Marker};

/// One feed's inbox.
#[derive(Debug, Clone)]
pub(crate) struct Inbox {
    pub(crate) path: PathBuf,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) marker: Marker,
    /// Keeps other agents out of its staging directory.
    _claim: Arc<Claim>,
}

/// The inboxes, by feed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inboxes {
    open: BTreeMap<FeedName, Inbox>,
    /// Those that are not the directories that their files were staged in.
    lost: BTreeMap<FeedName, PathBuf>,
    /// Inboxes in which somebody else had staged files, and where these are now.
    set_aside: Vec<(PathBuf, PathBuf)>,
}

/// Why an inbox cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InboxError {
    /// Its filesystem is not fit.
    #[error(transparent)]
    Filesystem(#[from] FsError),
    /// Its staging directory cannot be made.
    #[error(
        "the staging directory of inbox {path:?} cannot be made: {source}; hint: let this user write there"
    )]
    Staging {
        /// The inbox.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Its marker was cut or overwritten: whether its files were staged here cannot be told.
    #[error(
        "the marker of inbox {path:?} is not {} bytes; hint: restore {}/marker in it from a backup; if nothing is in {} yet, delete it",
        publish::MARKER_BYTES,
        publish::STAGING_DIR,
        publish::STAGING_DIR
    )]
    Marker {
        /// The inbox.
        path: PathBuf,
    },
    /// Another agent has it: each would remove what the other has staged there.
    #[error(
        "inbox {path:?} is in use by another agent; hint: give each agent an inbox of its own, or stop the other one"
    )]
    InUse {
        /// The inbox.
        path: PathBuf,
    },
    /// Two feeds have one directory: by a symbolic link, a mount or a copy.
    #[error(
        "inbox {:?} of feed {} is the same directory as inbox {:?} of feed {}, or a copy of it; hint: give each feed an inbox of its own",
        paths[1], feeds[1], paths[0], feeds[0]
    )]
    Shared {
        /// The feeds.
        feeds: [FeedName; 2],
        /// Their inboxes.
        paths: [PathBuf; 2],
    },
    /// Files cannot be given to their `owner`.
    #[error(
        "files in inbox {path:?} cannot be given to its `owner`: {source}; hint: run the agent as root or with CAP_CHOWN, or leave `owner` out"
    )]
    Owner {
        /// The inbox.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

/// The name in staging of the file that tries it out. One that a crash leaves is no record's, and
/// goes with the next start.
const OWNER_PROBE: &str = "owner-probe";

/// Finds out at the start, and not when a file is `saved` already, that files cannot be given away.
fn may_give(disk: &dyn Disk, owner: Option<(u32, u32)>) -> std::io::Result<()> {
    if owner.is_none() {
        return Ok(());
    }
    let attributes = Attributes {
        mtime_ns: Some(0),
        mode: Some(0o600),
        owner,
    };
    let given = publish::stage_small(disk, OWNER_PROBE, b"", &attributes);
    // It may not even be there.
    let _ = disk.remove(&Path::new(publish::STAGING_DIR).join(OWNER_PROBE));
    match given {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(error),
        // A full disk, say, tells nothing of rights, and must not keep the agent from starting.
        Ok(()) | Err(_) => Ok(()),
    }
}

impl Inboxes {
    /// Opens and checks them, with what the log knows of them and the feeds that have files in
    /// staging; also what is weaker there than promised. One that is lost is left as
    /// it is: nothing is made in a directory that a disk will be mounted over.
    ///
    /// # Errors
    /// [`InboxError`] for the first that cannot be used.
    pub(crate) fn open(
        consume: &[ConsumeConfig],
        marks: &InboxMarks,
        staged: &BTreeSet<FeedName>,
        fresh: impl Fn() -> Marker,
    ) -> Result<(Self, Vec<String>), InboxError> {
        let mut inboxes = Self::default();
        let mut degraded = Vec::new();
        for feed in consume {
            let (name, path) = (&feed.policy.feed, PathBuf::from(&feed.policy.inbox));
            let staging = |source| InboxError::Staging {
                path: path.clone(),
                source,
            };
            let found = marker_at(&path).map_err(|source| match source.kind() {
                ErrorKind::InvalidData => InboxError::Marker { path: path.clone() },
                _ => staging(source),
            })?;
            if let Some((other, there)) = inboxes.open.iter().find(|(_, i)| found == Some(i.marker))
            {
                return Err(InboxError::Shared {
                    feeds: [other.clone(), name.clone()],
                    paths: [there.path.clone(), path],
                });
            }
            if marks.is_lost(name, &path, found, staged) {
                inboxes.lost.insert(name.clone(), path);
                continue;
            }
            std::fs::create_dir_all(&path).map_err(staging)?;
            degraded.extend(filesystem::check(&path, Use::Inbox)?.degraded);
            let disk: Arc<dyn Disk> = Arc::new(OsDisk::beneath(&path).map_err(staging)?);
            disk.create_dir(Path::new(publish::STAGING_DIR))
                .map_err(staging)?;
            let mut claim = Claim::take(&path)?;
            if found.is_some_and(|found| !marks.has(found))
                && let Some(now_at) = claim.vacate(&*disk).map_err(staging)?
            {
                inboxes.set_aside.push((path.clone(), now_at));
                disk.create_dir(Path::new(publish::STAGING_DIR))
                    .map_err(staging)?;
                claim = Claim::take(&path)?;
            }
            // What is in the way of that is in the way of nothing else.
            let _ = filesystem::remove_left_over(&*disk, Path::new(publish::STAGING_DIR));
            let marker = publish::prepare(&*disk, fresh()).map_err(staging)?;
            may_give(&*disk, feed.policy.owner).map_err(|source| InboxError::Owner {
                path: path.clone(),
                source,
            })?;
            let _claim = Arc::new(claim);
            let inbox = Inbox {
                path,
                disk,
                marker,
                _claim,
            };
            inboxes.open.insert(name.clone(), inbox);
        }
        Ok((inboxes, degraded))
    }

    /// Feeds whose inbox is not the directory that their files were staged in, and its path.
    pub(crate) fn lost(&self) -> &BTreeMap<FeedName, PathBuf> {
        &self.lost
    }

    /// Inboxes in which another node, or this one with another data directory, had staged files, and
    /// where these are now.
    pub(crate) fn set_aside(&self) -> &[(PathBuf, PathBuf)] {
        &self.set_aside
    }

    pub(crate) fn get(&self, feed: &FeedName) -> Option<&Inbox> {
        self.open.get(feed)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&FeedName, &Inbox)> {
        self.open.iter()
    }

    /// Writes small files into staging and syncs them all.
    ///
    /// # Errors
    /// A sync that failed: the node must stop.
    pub(crate) fn stage(
        &self,
        orders: &[StageOrder],
        payloads: &Payloads,
    ) -> Result<Event, SyncFailed> {
        let mut staged: BTreeMap<&FeedName, Vec<&StageOrder>> = BTreeMap::new();
        let mut failed = Vec::new();
        for order in orders {
            match self.stage_one(order, payloads) {
                Ok(()) => staged.entry(&order.feed).or_default().push(order),
                Err(why) => failed.push((order.slot.clone(), why)),
            }
        }
        let mut files = Vec::new();
        for (feed, orders) in staged {
            let disk = &self.open[feed].disk;
            // A crash before this sync stages the files again, from the log.
            publish::sync_staged(&**disk)?;
            for order in orders {
                match publish::is_taken(&**disk, &order.path) {
                    Ok(taken) => files.push((order.slot.clone(), !taken)),
                    Err(error) => failed.push((order.slot.clone(), error.to_string())),
                }
            }
        }
        Ok(Event::Staged { files, failed })
    }

    fn stage_one(&self, order: &StageOrder, payloads: &Payloads) -> Result<(), String> {
        let inbox = self
            .get(&order.feed)
            .ok_or_else(|| not_consumed(&order.feed))?;
        // It stays `saved`, and a disk that comes back gives it back.
        let bytes = payloads.get(order.bytes_at).map_err(|error| {
            format!("it is saved, and cannot be read back from the intent log: {error}")
        })?;
        publish::stage_small(&*inbox.disk, &order.staging, &bytes, &order.attributes).map_err(
            |error| {
                format!(
                    "{:?}: {error}; hint: {}",
                    inbox.path,
                    remedy(&error, &inbox.path)
                )
            },
        )
    }

    /// Renames files into their inboxes and syncs the directories.
    ///
    /// # Errors
    /// A sync that failed: the node must stop.
    pub(crate) fn publish(&self, orders: &[PublishOrder]) -> Result<Event, SyncFailed> {
        let mut by_feed: BTreeMap<&FeedName, Vec<&PublishOrder>> = BTreeMap::new();
        for order in orders {
            by_feed.entry(&order.feed).or_default().push(order);
        }
        let (mut done, mut conflicts, mut failed) = (Vec::new(), Vec::new(), Vec::new());
        for (feed, orders) in by_feed {
            let Some(inbox) = self.get(feed) else {
                failed.extend(
                    orders
                        .iter()
                        .map(|order| (order.slot.clone(), not_consumed(feed))),
                );
                continue;
            };
            let files: Vec<_> = orders
                .iter()
                .map(|order| PublishFile {
                    staging: &order.staging,
                    path: &order.path,
                })
                .collect();
            let outcomes = publish::publish(&*inbox.disk, &files)?;
            for (order, outcome) in orders.iter().zip(outcomes) {
                let slot = order.slot.clone();
                match outcome {
                    PublishOutcome::Published => {
                        tell_of_conflict(order, inbox);
                        done.push(slot);
                    }
                    PublishOutcome::AlreadyGone => done.push(slot),
                    PublishOutcome::Conflict => conflicts.push(slot),
                    PublishOutcome::Failed(error) => {
                        let why = format!(
                            "{:?} cannot be published: {error}; hint: {}",
                            order.path,
                            remedy(&error, &inbox.path)
                        );
                        failed.push((slot, why));
                    }
                }
            }
        }
        Ok(Event::Published {
            done,
            conflicts,
            failed,
        })
    }

    /// Looks whether paths are free.
    pub(crate) fn look(&self, files: &[(SlotId, FeedName, String)]) -> Event {
        let free = |feed: &FeedName, path: &str| {
            let inbox = self.get(feed);
            // What cannot be looked at counts as taken: nothing is promised on a guess.
            inbox.is_some_and(|inbox| matches!(publish::is_taken(&*inbox.disk, path), Ok(false)))
        };
        Event::Looked(
            files
                .iter()
                .map(|(slot, feed, path)| (slot.clone(), free(feed, path)))
                .collect(),
        )
    }

    /// Removes a staging file; one that is not there is fine, one that stays is an orphan for the
    /// next start.
    pub(crate) fn discard(&self, feed: &FeedName, staging: &str) {
        if let Some(inbox) = self.get(feed) {
            let _ = inbox.disk.remove(&publish::staging_path(staging));
        }
    }

    /// Removes staging files that nothing in the log needs; how many there were.
    pub(crate) fn remove_orphans(&self, needed: &BTreeSet<String>) -> usize {
        let mut removed = 0;
        for inbox in self.open.values() {
            let Ok(entries) = inbox.disk.list(Path::new(publish::STAGING_DIR)) else {
                continue;
            };
            for entry in entries {
                let ours = entry.kind == consign_core::disk::EntryKind::File
                    && publish::is_staging_name(&entry.name);
                if ours
                    && !needed.contains(&entry.name)
                    && inbox
                        .disk
                        .remove(&publish::staging_path(&entry.name))
                        .is_ok()
                {
                    removed += 1;
                }
            }
        }
        removed
    }

    /// Free bytes under each inbox.
    pub(crate) fn space(&self) -> Vec<(FeedName, u64)> {
        self.iter()
            .filter_map(|(feed, inbox)| {
                Some((feed.clone(), filesystem::free_space(&inbox.path).ok()?))
            })
            .collect()
    }
}

/// What helps against an error of an inbox's disk. What is saved is tried again by itself.
fn remedy(error: &std::io::Error, inbox: &Path) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            format!("free some space on the filesystem of {inbox:?}")
        }
        ErrorKind::PermissionDenied => {
            format!("let the agent's user write every directory in {inbox:?}")
        }
        ErrorKind::ReadOnlyFilesystem => format!("mount the filesystem of {inbox:?} for writing"),
        ErrorKind::CrossesDevices => {
            format!("unmount what is mounted on a directory in {inbox:?}, or make it the inbox")
        }
        ErrorKind::InvalidFilename => {
            format!("shorten `layout`, the filesystem of {inbox:?} takes no name as long")
        }
        _ => format!("look at the state of the filesystem of {inbox:?}; it is tried again"),
    }
}

/// The marker in an inbox's staging directory; `None` when it, or the inbox, is not there.
/// `InvalidData` when it is no marker.
fn marker_at(inbox: &Path) -> std::io::Result<Option<Marker>> {
    match OsDisk::beneath(inbox) {
        Ok(disk) => publish::marker(&disk),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What has the path may be the application's, another transfer's, or what a disk has left of this very
/// file after it only said that it had synced it. So a person must be able to find both.
fn tell_of_conflict(order: &PublishOrder, inbox: &Inbox) {
    let Some(wished) = &order.instead_of else {
        return;
    };
    tracing::warn!(
        transfer = %order.id,
        feed = %order.feed,
        path = ?inbox.path.join(&order.path),
        instead_of = ?inbox.path.join(wished),
        "published under another name than its feed gives it now; \
         hint: where something is under that one too, compare the two, and remove what is not wanted",
    );
}

fn not_consumed(feed: &FeedName) -> String {
    format!(
        "feed {feed} is not consumed here any more; hint: add [[consume]] feed = {feed:?} again, its files wait"
    )
}
