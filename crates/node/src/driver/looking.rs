//! Looking at a file that was handed over: may it be taken, what is it called, and if it is small and
//! stays where it is, what is in it. Done by workers, away from the state machines.

use crate::hint;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use consign_core::ids::{Digest, NodeName};
use consign_core::limits;
use consign_core::name::{FileName, TemplateValues};
use consign_core::spec::{After, FileSpec, Source};

use crate::config::ProduceConfig;
use crate::driver::bounds::READ_PER_LOOK_JOB_BYTES;
use crate::outbox::{Content, Origin, Outbox, TakeError, TakeRequest, stamp_of};

use super::handle::SubmitRequest;
use super::now;
use super::refusal::Refusal;
use super::submissions::Found;

/// A file, looked at.
#[derive(Debug)]
pub(crate) struct Item {
    pub(super) spec: FileSpec,
    pub(super) source: Source,
    /// Of a small file that stays where it is; the others are claimed first.
    pub(super) small: Option<(Digest, Bytes)>,
}

/// What came of a job.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(super) items: Vec<(For, Result<Item, Refusal>)>,
    /// What it had no room for.
    pub(super) unseen: Vec<Unseen>,
}

/// A file that was handed over by its path and not looked at yet.
#[derive(Debug)]
pub(super) struct Unseen {
    pub(super) whom: For,
    pub(super) rules: Arc<Rules>,
    pub(super) request: SubmitRequest,
}

/// Whom a looked-at file is for.
#[derive(Debug)]
pub(super) enum For {
    Batch { batch: u64, at: usize },
    Watcher(Found),
}

/// What is needed of a feed to look at its files.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) me: NodeName,
    pub(super) feed: ProduceConfig,
}

/// Looks at files until what was read reaches its bound.
pub(super) fn look_at(outbox: &Outbox, job: Vec<Unseen>) -> Prepared {
    let (mut items, mut read_bytes) = (Vec::with_capacity(job.len()), 0);
    let mut job = job.into_iter();
    while read_bytes < READ_PER_LOOK_JOB_BYTES
        && let Some(Unseen {
            whom,
            rules,
            request,
        }) = job.next()
    {
        let mut item = prepare(outbox, &rules, request);
        if let Ok(item) = &mut item {
            let read = item.small.as_ref();
            read_bytes += read.map_or(0, |(_, bytes)| bytes.len() as u64);
            if let For::Watcher(found) = &whom {
                item.source.watched = true;
                // A file that changed since it was found ready is left until it rests again.
                item.source.stamp = Some(found.stamp);
            }
        }
        items.push((whom, item));
    }
    Prepared {
        items,
        unseen: job.collect(),
    }
}

/// Looks at a file that was handed over by its path, and reads it if it is small and stays.
fn prepare(outbox: &Outbox, rules: &Rules, request: SubmitRequest) -> Result<Item, Refusal> {
    let path = request.path;
    let stat = rustix::fs::lstat(&path).map_err(|errno| match errno {
        rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR => {
            Refusal::FileMissing { path: path.clone() }
        }
        errno => refused(&path, &errno.to_string(), "let the agent's user read it"),
    })?;
    let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
    if kind != rustix::fs::FileType::RegularFile {
        let what = match kind {
            rustix::fs::FileType::Directory => "it is a directory",
            rustix::fs::FileType::Symlink => "it is a symbolic link",
            _ => "it is not a regular file",
        };
        return Err(refused(&path, what, "hand over regular files"));
    }
    let name = match request.name {
        Some(name) => name,
        None => base_name(&path)?,
    };
    let stamp = stamp_of(&stat);
    let mut spec = describe(rules, &name, request.key, request.meta, stamp.size)?;
    let after = rules.feed.after;
    let mut source = Source {
        origin: path.to_string_lossy().into_owned(),
        after: after.into(),
        // After a power cut before anybody was answered, another file may be at this path, or what
        // is left of one that was never synced. Neither was handed over.
        stamp: Some(stamp),
        ..Source::default()
    };
    if after != After::Keep || stamp.size > limits::SMALL_FILE_BYTES_MAX {
        return Ok(Item {
            spec,
            source,
            small: None,
        });
    }
    let taken = take_small(outbox, &path)?;
    let Content::Small { bytes, digest } = taken.content else {
        return Err(refused(
            &path,
            "it is growing",
            "send it when it is complete",
        ));
    };
    spec.size = taken.size;
    spec.mtime_ns = rules.feed.preserve.mtime.then_some(taken.mtime_ns);
    spec.mode = rules.feed.preserve.mode.then_some(taken.mode);
    source.stamp = taken.source.stamp;
    Ok(Item {
        spec,
        source,
        small: Some((digest, bytes)),
    })
}

fn take_small(outbox: &Outbox, path: &Path) -> Result<crate::outbox::Taken, Refusal> {
    let request = TakeRequest {
        origin: Origin {
            path: path.to_owned(),
            beneath: None,
        },
        // A small file that stays never gets there; nothing else has this name.
        spool: "unclaimed".to_owned(),
        after: After::Keep,
        watched: false,
        expect: None,
    };
    let outcome = outbox.take_batch(std::slice::from_ref(&request));
    let taken = outcome.map_err(|error| Refusal::not_ready(&error.to_string()))?;
    let taken = taken
        .into_iter()
        .next()
        .expect("one outcome for each request");
    taken.map_err(|error| match error {
        TakeError::Vanished { path } => Refusal::FileMissing { path },
        error => refused(path, &error.to_string(), "correct that and send it again"),
    })
}

pub(super) fn describe(
    rules: &Rules,
    name: &str,
    key: Option<String>,
    meta: BTreeMap<String, String>,
    size: u64,
) -> Result<FileSpec, Refusal> {
    let invalid = |what: String| {
        let (what, hint) = hint::split_or(&what, "correct it and send the file again");
        Refusal::Invalid {
            what: what.to_owned(),
            hint: hint.to_owned(),
        }
    };
    let file_name = FileName::new(name).map_err(|bad| invalid(bad.to_string()))?;
    let meta_bytes: usize = meta
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    if meta.len() > limits::META_ENTRIES_MAX || meta_bytes > limits::META_BYTES_MAX {
        return Err(invalid(format!(
            "{} entries with {meta_bytes} bytes are too much metadata; hint: use at most {} entries and {} bytes",
            meta.len(),
            limits::META_ENTRIES_MAX,
            limits::META_BYTES_MAX
        )));
    }
    let values = TemplateValues {
        name: &file_name,
        feed: &rules.feed.policy.feed,
        producer: &rules.me,
        transfer: None,
        meta: &meta,
    };
    let key = key.unwrap_or_else(|| rules.feed.key.render(&values));
    if key.len() > limits::KEY_BYTES_MAX {
        return Err(invalid(format!(
            "the key has {} bytes; hint: use at most {}",
            key.len(),
            limits::KEY_BYTES_MAX
        )));
    }
    Ok(FileSpec {
        feed: rules.feed.policy.feed.to_string(),
        name: name.to_owned(),
        key,
        size,
        mtime_ns: None,
        mode: None,
        meta,
        submitted_at: now().0,
        priority: rules.feed.policy.priority,
    })
}

fn base_name(path: &Path) -> Result<String, Refusal> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| {
        refused(
            path,
            "it does not end in a name that is UTF-8",
            "give the path of a regular file, renamed if need be",
        )
    })?;
    Ok(name.to_owned())
}

fn refused(path: &Path, why: &str, otherwise: &str) -> Refusal {
    let (why, hint) = hint::split_or(why, otherwise);
    Refusal::FileRefused {
        path: path.to_owned(),
        why: why.to_owned(),
        hint: hint.to_owned(),
    }
}
