//! The kernel's events, as hints where to look. They may be late, doubled or missing: the scan is
//! the truth.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;

use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind, RenameMode};
use notify::{Config, ErrorKind, Event, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::Input;
use super::names::is_under_temporary;
use crate::watch::bounds::HINTS_MAX;

/// Somewhere to look.
#[derive(Debug)]
pub(super) struct Hint {
    /// Path relative to the watched directory.
    pub(super) path: PathBuf,
    /// Whether the file is whole: it was closed after writing, or renamed to this path.
    pub(super) whole: bool,
}

/// What the events' thread and the scanner share.
#[derive(Debug, Clone)]
pub(super) struct Flow {
    inputs: Sender<Input>,
    queued: Arc<AtomicUsize>,
    dropped: Arc<AtomicBool>,
    /// Whether such a message waits already, so that a stream of them takes no memory.
    overflow_said: Arc<AtomicBool>,
    degraded_said: Arc<AtomicBool>,
}

impl Flow {
    pub(super) fn new(inputs: Sender<Input>) -> Self {
        Self {
            inputs,
            queued: Arc::default(),
            dropped: Arc::default(),
            overflow_said: Arc::default(),
            degraded_said: Arc::default(),
        }
    }

    /// The scanner took a hint out of the queue.
    pub(super) fn arrived(&self) {
        self.queued.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether hints were dropped since this was last asked.
    pub(super) fn take_dropped(&self) -> bool {
        self.dropped.swap(false, Ordering::AcqRel)
    }

    fn hint(&self, hint: Hint) {
        if self.queued.fetch_add(1, Ordering::AcqRel) >= HINTS_MAX {
            self.queued.fetch_sub(1, Ordering::AcqRel);
            self.dropped.store(true, Ordering::Release);
            return;
        }
        self.send(Input::Hint(hint));
    }

    /// The scanner took the message that the kernel dropped events.
    pub(super) fn overflow_arrived(&self) {
        self.overflow_said.store(false, Ordering::Release);
    }

    /// The scanner took the message that not all is watched.
    pub(super) fn degraded_arrived(&self) {
        self.degraded_said.store(false, Ordering::Release);
    }

    fn overflow(&self) {
        if !self.overflow_said.swap(true, Ordering::AcqRel) {
            self.send(Input::Overflow);
        }
    }

    fn degraded(&self, error: &notify::Error) {
        if !self.degraded_said.swap(true, Ordering::AcqRel) {
            self.send(Input::Degraded(describe(error)));
        }
    }

    /// A scanner that has ended needs no input.
    fn send(&self, input: Input) {
        let _ = self.inputs.send(input);
    }
}

/// A subscription to the events under one directory; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Events {
    _watcher: RecommendedWatcher,
}

/// Subscribes to the events under `root`. With an error there may be events all the same, but not
/// all: it says why, in words for people.
pub(super) fn subscribe(root: &Path, flow: &Flow) -> (Option<Events>, Result<(), String>) {
    let prefix = root.to_owned();
    let flow = flow.clone();
    // Symbolic links lead out of the directory: what lies there is not ours to watch.
    let config = Config::default().with_follow_symlinks(false);
    let handler = move |event| handle(&prefix, &flow, event);
    let mut watcher = match RecommendedWatcher::new(handler, config) {
        Ok(watcher) => watcher,
        Err(error) => return (None, Err(describe(&error))),
    };
    let outcome = watcher
        .watch(root, RecursiveMode::Recursive)
        .map_err(|error| describe(&error));
    (Some(Events { _watcher: watcher }), outcome)
}

fn handle(root: &Path, flow: &Flow, event: notify::Result<Event>) {
    let event = match event {
        Ok(event) if event.need_rescan() => return flow.overflow(),
        Ok(event) => event,
        Err(error) => return flow.degraded(&error),
    };
    let Some(whole) = meaning(&event.kind) else {
        return;
    };
    for path in &event.paths {
        match path.strip_prefix(root) {
            Ok(path) if !path.as_os_str().is_empty() && !is_under_temporary(path) => {
                flow.hint(Hint {
                    path: path.to_owned(),
                    whole,
                });
            }
            Ok(_) | Err(_) => {}
        }
    }
}

/// Whether an event makes a file whole, or only shows it; `None` when it is of no interest.
fn meaning(kind: &EventKind) -> Option<bool> {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Some(true),
        EventKind::Create(
            CreateKind::File | CreateKind::Folder | CreateKind::Any | CreateKind::Other,
        ) => Some(false),
        EventKind::Access(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Any
        | EventKind::Other => None,
    }
}

fn describe(error: &notify::Error) -> String {
    match &error.kind {
        ErrorKind::MaxFilesWatch => "the system's limit of watched directories is reached, new files are found by scanning; hint: raise fs.inotify.max_user_watches".to_owned(),
        _ => format!(
            "not every directory can be watched ({error}), new files are found by scanning; hint: let the agent's user read them all, and see fs.inotify.max_user_instances"
        ),
    }
}
