//! Makes complete staging files durable, so that they can be called `saved`.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use consign_core::consumer::{Event, InflowFault};
use consign_core::disk::{Attributes, Disk};
use consign_core::ids::SlotId;
use consign_core::planted::{Planted, planted};

use crate::net::shared::NetEvent;
use crate::net::tasks::contained;

use super::engine::Engine;
use super::staged::Staged;
use super::synced_file::{STAGING_DIR, SyncedFile, fault, sync_failed};

/// A staging file to be made durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SealOrder {
    /// Which.
    pub(crate) slot: SlotId,
    /// Name in the staging directory.
    pub(crate) staging: String,
    /// The path that it should get.
    pub(crate) path: String,
    /// What is set on it.
    pub(crate) attributes: Attributes,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Seals {
    engine: Arc<Engine>,
    dirs: Mutex<HashMap<usize, Arc<StagingDir>>>,
}

/// The staging directory of one inbox. One sync of it serves everybody who asked before it began.
#[derive(Debug)]
struct StagingDir {
    inbox: Arc<dyn Disk>,
    asked: AtomicU64,
    /// Up to which asker it is synced; or why it never will be again.
    done: tokio::sync::Mutex<Result<u64, String>>,
}

/// What a seal came to.
enum Sealing {
    Done(Result<bool, InflowFault>),
    /// A sync failed: this node must stop.
    Fatal(String),
}

impl Seals {
    pub(super) fn new(engine: &Arc<Engine>) -> Self {
        Self {
            engine: Arc::clone(engine),
            dirs: Mutex::default(),
        }
    }

    /// Seals a file, whose open handle is `staged` if it was received in this life.
    pub(super) fn start(
        self: &Arc<Self>,
        order: SealOrder,
        inbox: Arc<dyn Disk>,
        staged: Option<Arc<Staged>>,
    ) {
        let seals = Arc::clone(self);
        self.engine.shared.tasks.spawn(async move {
            let slot = order.slot.clone();
            let sealing = contained(seals.seal(order, inbox, staged)).await;
            let shared = &seals.engine.shared;
            let outcome = match sealing {
                Ok(Sealing::Done(outcome)) => outcome,
                Ok(Sealing::Fatal(reason)) => {
                    shared.tell(NetEvent::Fatal(reason.clone())).await;
                    Err(InflowFault::Disk(reason))
                }
                Err(panicked) => Err(InflowFault::Disk(panicked.to_string())),
            };
            shared.tell_consumer(Event::Sealed { slot, outcome }).await;
        });
    }

    /// A crash before the first sync loses bytes, and one before the second the file's name: the
    /// log knows of neither, and the file is received again from its watermark on.
    async fn seal(
        &self,
        order: SealOrder,
        inbox: Arc<dyn Disk>,
        staged: Option<Arc<Staged>>,
    ) -> Sealing {
        let (disk, path) = (Arc::clone(&inbox), order.path);
        let sync = move || sync_file(disk.as_ref(), &order.staging, &order.attributes, staged);
        match self.engine.syncers.run(sync).await {
            Ok(Sealing::Done(Ok(_))) => {}
            Ok(failed) => return failed,
            Err(panicked) => {
                return Sealing::Done(Err(InflowFault::Disk(panicked.to_string())));
            }
        }
        if let Err(reason) = self.dir(&inbox).sync(&self.engine).await {
            return Sealing::Fatal(reason);
        }
        let free = move || is_free(inbox.as_ref(), Path::new(&path));
        let free = self.engine.workers.run(free).await;
        Sealing::Done(free.unwrap_or_else(|panicked| Err(InflowFault::Disk(panicked.to_string()))))
    }

    fn dir(&self, inbox: &Arc<dyn Disk>) -> Arc<StagingDir> {
        // An inbox's address names it: it is kept here, so no other can come to lie there.
        let address = Arc::as_ptr(inbox).cast::<()>().addr();
        let mut dirs = self.dirs.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = dirs.entry(address).or_insert_with(|| {
            Arc::new(StagingDir {
                inbox: Arc::clone(inbox),
                asked: AtomicU64::new(0),
                done: tokio::sync::Mutex::new(Ok(0)),
            })
        });
        Arc::clone(dir)
    }
}

impl StagingDir {
    async fn sync(&self, engine: &Engine) -> Result<(), String> {
        let ours = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut done = self.done.lock().await;
        if *done.as_ref().map_err(Clone::clone)? >= ours {
            return Ok(());
        }
        let covers = self.asked.load(Ordering::SeqCst);
        let inbox = Arc::clone(&self.inbox);
        let sync = move || {
            let dir = Path::new(STAGING_DIR);
            inbox
                .sync_dir(dir)
                .map_err(|error| sync_failed(dir, &error))
        };
        let synced = engine.syncers.run(sync).await;
        *done = synced
            .unwrap_or_else(|panicked| Err(panicked.to_string()))
            .map(|()| covers);
        done.as_ref().map(|_| ()).map_err(Clone::clone)
    }
}

fn sync_file(
    inbox: &dyn Disk,
    staging: &str,
    attributes: &Attributes,
    staged: Option<Arc<Staged>>,
) -> Sealing {
    let named = match SyncedFile::open(inbox, staging) {
        Ok(named) => named,
        Err(fault) => return Sealing::Done(Err(fault)),
    };
    let file = staged.as_ref().map_or(&named, |staged| &staged.file);
    // `saved` is what recovery finds under the name: if somebody removed or replaced that, the bytes
    // behind the open handle must not be promised.
    let checked = named
        .must_be(file)
        .and_then(|()| file.set_attributes(attributes));
    if let Err(fault) = checked {
        return Sealing::Done(Err(fault));
    }
    if planted(Planted::SealNotSynced) {
        return Sealing::Done(Ok(true));
    }
    match file.sync() {
        Ok(()) => Sealing::Done(Ok(true)),
        Err(reason) => Sealing::Fatal(reason),
    }
}

/// Whether nothing is at `path`. A file where one of its directories should be is in the way, too.
fn is_free(inbox: &dyn Disk, path: &Path) -> Result<bool, InflowFault> {
    match inbox.stat(path) {
        Ok(found) => Ok(found.is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(false),
        Err(error) => Err(fault(path, "look at", &error)),
    }
}
