//! Streams of large files from this node's spool to the first consumer of their chains, and the
//! digests of these files.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use consign_core::ids::{Attempt, TransferKey};
use consign_core::limits::WATERMARK_EVERY_BYTES;
use consign_core::producer::{Event, StreamFault, StreamOrder, StreamTarget};
use consign_core::tree::CHUNK_HASH_BYTES;
use tokio::task::AbortHandle;

use crate::net::bounds::{STOPPED_HASHES_BYTES, STOPPED_SOURCES_MAX};
use crate::net::tasks::contained;

use super::chunks::{ChunkFault, Chunks as _};
use super::engine::Engine;
use super::links::Links;
use super::outflow::{OutflowFault, Target, outflow};
use super::source::Source;

/// See the module.
#[derive(Debug)]
pub(super) struct Streams {
    engine: Arc<Engine>,
    links: Arc<Links>,
    spool: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Numbers runs, to tell one that ended from its successor, and old ones from young.
    last_run: u64,
    streams: HashMap<TransferKey, Stream>,
}

#[derive(Debug)]
struct Stream {
    run: u64,
    /// While it runs.
    task: Option<AbortHandle>,
    /// Once it is open.
    source: Option<Arc<Source>>,
}

impl Streams {
    pub(super) fn new(engine: &Arc<Engine>, links: &Arc<Links>, spool: PathBuf) -> Self {
        Self {
            engine: Arc::clone(engine),
            links: Arc::clone(links),
            spool,
            state: Mutex::default(),
        }
    }

    /// Streams a file; ends what was streamed of it before.
    pub(super) fn start(self: &Arc<Self>, order: StreamOrder) {
        let key = order.key;
        let mut state = self.lock();
        state.last_run += 1;
        let run = state.last_run;
        let old = state.streams.remove(&key);
        if let Some(task) = old.as_ref().and_then(|old| old.task.as_ref()) {
            task.abort();
        }
        let source = old.and_then(|old| old.source);
        let streams = Arc::clone(self);
        let opened = source.clone();
        // The task cannot look itself up before this lock is given up.
        let task = self.engine.shared.tasks.spawn(async move {
            streams.run(order, opened, run).await;
        });
        state.streams.insert(key, Stream { run, task, source });
    }

    /// Stops streaming a file; what is known of its hashes is kept for the next attempt.
    pub(super) fn stop(&self, key: TransferKey) {
        let mut state = self.lock();
        if let Some(stream) = state.streams.get_mut(&key)
            && let Some(task) = stream.task.take()
        {
            task.abort();
        }
        state.forget_oldest();
    }

    /// Forgets a file: its transfer is over.
    pub(super) fn forget(&self, key: TransferKey) {
        if let Some(task) = self.lock().streams.remove(&key).and_then(|old| old.task) {
            task.abort();
        }
    }

    async fn run(&self, order: StreamOrder, source: Option<Arc<Source>>, run: u64) {
        let (key, attempt) = (order.key, order.attempt);
        let outcome = contained(self.stream(order, source, run)).await;
        let fault = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(fault)) => Some(fault),
            Err(panicked) => Some(StreamFault::Link(panicked.to_string())),
        };
        self.ended(key, run, matches!(fault, Some(StreamFault::Source(_))));
        if let Some(fault) = fault {
            self.tell_failed(key, attempt, fault).await;
        }
    }

    async fn stream(
        &self,
        order: StreamOrder,
        source: Option<Arc<Source>>,
        run: u64,
    ) -> Result<(), StreamFault> {
        let key = order.key;
        let to = order.to.clone();
        let logged = (order.hashes.len() / CHUNK_HASH_BYTES) as u64;
        let source = match source {
            Some(source) => source,
            None => self.open(order, run).await?,
        };
        // What an earlier attempt reported when nobody listened any more is reported again.
        source.set_reported(logged);
        let end = to.as_ref().map_or(u64::MAX, |to| to.from);
        tokio::try_join!(
            async {
                match to {
                    Some(to) => self.send(&source, to).await,
                    None => Ok(()),
                }
            },
            async { Ok(source.hash_below(end).await?) },
            async { Ok(self.report(key, &source).await?) },
        )
        .map(|_| ())
        .map_err(|fault| match fault {
            OutflowFault::Link(reason) => StreamFault::Link(reason),
            OutflowFault::File(ChunkFault(reason)) => StreamFault::Source(reason),
        })
    }

    async fn open(&self, order: StreamOrder, run: u64) -> Result<Arc<Source>, StreamFault> {
        let (engine, spool, key) = (Arc::clone(&self.engine), self.spool.clone(), order.key);
        let open = move || Source::open(&engine, &spool, &order);
        let opened = self.engine.workers.run(open).await;
        let opened = opened.map_err(|panicked| StreamFault::Link(panicked.to_string()))?;
        let source = opened.map_err(|ChunkFault(reason)| StreamFault::Source(reason))?;
        let source = Arc::new(source);
        if let Some(stream) = self.lock().streams.get_mut(&key).filter(|s| s.run == run) {
            stream.source = Some(Arc::clone(&source));
        }
        Ok(source)
    }

    async fn send(&self, source: &Arc<Source>, to: StreamTarget) -> Result<(), OutflowFault> {
        let me = &self.engine.shared.me;
        let target = Target {
            node: to.node,
            addr: to.addr,
            producer: me.node.clone(),
            incarnation: me.incarnation,
            leg: to.leg,
            from: to.from,
        };
        outflow(&self.links, source, target).await
    }

    /// Tells of hashes at distances, and of the digest at the end.
    async fn report(&self, key: TransferKey, source: &Arc<Source>) -> Result<(), ChunkFault> {
        let shape = source.shape();
        let distance = (WATERMARK_EVERY_BYTES / shape.chunk_bytes).max(1);
        let mut hashed = source.hashed();
        loop {
            let done = *hashed.borrow_and_update() == shape.chunks();
            let unreported = source.unreported(if done { 1 } else { distance });
            if let Some((first_chunk, hashes)) = unreported {
                let end = first_chunk + (hashes.len() / CHUNK_HASH_BYTES) as u64;
                let event = Event::Hashed {
                    key,
                    first_chunk,
                    hashes,
                };
                self.engine.shared.tell_producer(event).await;
                // Only now: had the stream been stopped meanwhile, the next would tell of them.
                source.set_reported(end);
            }
            if done {
                break;
            }
            // Cannot fail: the sender is in the source.
            let _ = hashed.changed().await;
        }
        let whole = Arc::clone(source);
        let digest = self.engine.workers.run(move || whole.digest()).await;
        let digest = digest.map_err(|panicked| ChunkFault(panicked.to_string()))?;
        if let Some(digest) = digest {
            let event = Event::DigestKnown { key, digest };
            self.engine.shared.tell_producer(event).await;
        }
        Ok(())
    }

    fn ended(&self, key: TransferKey, run: u64, forget: bool) {
        let mut state = self.lock();
        if let Some(stream) = state.streams.get_mut(&key).filter(|s| s.run == run) {
            stream.task = None;
            if forget {
                state.streams.remove(&key);
            }
        }
        state.forget_oldest();
    }

    async fn tell_failed(&self, key: TransferKey, attempt: Attempt, fault: StreamFault) {
        let event = Event::StreamFailed {
            key,
            attempt,
            fault,
        };
        self.engine.shared.tell_producer(event).await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Keeps what stopped streams left behind within its bounds. What is forgotten is hashed again
    /// from the last report on, if it is ever streamed again.
    fn forget_oldest(&mut self) {
        loop {
            let stopped = self
                .streams
                .iter()
                .filter(|(_, stream)| stream.task.is_none());
            let (count, bytes, oldest) =
                stopped.fold((0, 0, None), |(count, bytes, oldest), (key, stream)| {
                    let more = stream
                        .source
                        .as_ref()
                        .map_or(0, |source| source.hashes_len());
                    let older = oldest.min(Some((stream.run, *key)));
                    (count + 1, bytes + more, older.or(Some((stream.run, *key))))
                });
            if count <= STOPPED_SOURCES_MAX && bytes <= STOPPED_HASHES_BYTES {
                return;
            }
            if let Some((_, key)) = oldest {
                self.streams.remove(&key);
            }
        }
    }
}
