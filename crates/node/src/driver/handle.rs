//! How the rest of the process speaks to the driver: commands with one reply each, and the last
//! published snapshot. Nothing else of the driver's state is reachable from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use consign_core::ids::{FeedName, NodeName, TransferId, TransferKey};
use consign_core::view::MemberState;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc, oneshot, watch};

use super::endings::Ended;
use super::refusal::Refusal;
use super::snapshot::Snapshot;
use crate::driver::bounds::{
    COMMANDS_WAITING_MAX, ENDINGS_LISTENERS_MAX, ENDINGS_WAITING_MAX, FILES_PER_SUBMIT_MAX,
};
use crate::timestamp::Timestamp;

/// A file to be taken from a path on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SubmitRequest {
    /// The feed.
    pub(crate) feed: FeedName,
    /// Where the file is; absolute.
    pub(crate) path: PathBuf,
    /// Its name in the feed; the path's base name when absent.
    pub(crate) name: Option<String>,
    /// Its key; made by the feed's template when absent.
    pub(crate) key: Option<String>,
    /// The user's own entries.
    pub(crate) meta: BTreeMap<String, String>,
}

/// A small file whose bytes come with the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SubmitBytes {
    /// The feed.
    pub(crate) feed: FeedName,
    /// Its name in the feed.
    pub(crate) name: String,
    /// Its key; made by the feed's template when absent.
    pub(crate) key: Option<String>,
    /// The user's own entries.
    pub(crate) meta: BTreeMap<String, String>,
    /// The file: at most [`consign_core::limits::SMALL_FILE_BYTES_MAX`] bytes.
    pub(crate) bytes: Bytes,
}

/// A file that is `submitted`: synced, and certain to be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// Its id.
    pub(crate) id: TransferId,
    /// Its name in the feed.
    pub(crate) name: String,
    /// The key that chooses its consumers.
    pub(crate) key: String,
    /// Its length in bytes.
    pub(crate) size: u64,
    /// When it was submitted.
    pub(crate) submitted_at: Timestamp,
}

/// Which failed transfers are to be tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failed {
    /// These.
    These(Vec<TransferId>),
    /// All there are.
    All,
}

/// What became of the transfers that a command named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// How many it was done to.
    pub(crate) files: u64,
    /// Those to which it was not, and why.
    pub(crate) refused: Vec<(TransferId, Refusal)>,
}

/// Where a key goes now, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Explanation {
    /// The feed.
    pub(crate) feed: String,
    /// The key.
    pub(crate) key: String,
    /// How many consumers the feed asks for: a number or `all`.
    pub(crate) replicas: String,
    /// Every member, the best score first.
    pub(crate) candidates: Vec<Candidate>,
    /// The chosen ones in the order in which they pass the bytes on.
    pub(crate) chain: Vec<String>,
    /// Whether there are too few members, so that the rest is owed to whoever comes.
    pub(crate) short: bool,
}

/// One member in an [`Explanation`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Candidate {
    /// The member.
    pub(crate) node: String,
    /// Its zone, where it has one.
    pub(crate) zone: Option<String>,
    /// Its share of the keys.
    pub(crate) weight: u32,
    /// Its score for this key; the highest go first.
    pub(crate) score: f64,
    /// Whether it gets the file.
    pub(crate) chosen: bool,
    /// Why, or why not.
    pub(crate) reason: String,
}

/// What the driver can be asked. A reply whose receiver is gone is dropped; what was asked is done
/// all the same.
#[derive(Debug)]
pub(crate) enum Command {
    /// Take files from paths; the replies are in the order of the requests.
    Submit {
        /// At most [`FILES_PER_SUBMIT_MAX`].
        files: Vec<SubmitRequest>,
        /// One result for each file, sent when the last one is synced or refused.
        reply: oneshot::Sender<Vec<Result<Accepted, Refusal>>>,
    },
    /// Take a small file's bytes.
    SubmitBytes {
        /// The file.
        file: SubmitBytes,
        /// Sent when it is synced or refused.
        reply: oneshot::Sender<Result<Accepted, Refusal>>,
    },
    /// Try failed transfers again.
    Retry {
        /// Which.
        which: Failed,
        /// Sent when it is logged.
        reply: oneshot::Sender<Outcome>,
    },
    /// Give up transfers that are not done.
    Cancel {
        /// Which.
        ids: Vec<TransferId>,
        /// Sent when it is logged.
        reply: oneshot::Sender<Outcome>,
    },
    /// A node is gone for good.
    Forget {
        /// The node.
        node: NodeName,
        /// Sent when that is logged.
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    /// Take this node out of service, or back in.
    Drain {
        /// Who is meant, which must be this node.
        node: NodeName,
        /// What it is from here on.
        state: MemberState,
        /// Sent when that is logged.
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    /// Say what no consumer may have before a node that is set apart may go on.
    ToReconcile {
        /// The transfers.
        reply: oneshot::Sender<Result<BTreeSet<TransferKey>, Refusal>>,
    },
    /// Go on although the data directory is an old copy.
    Reconcile {
        /// What consumers have of files that the ledger has placed nowhere.
        held: Vec<(TransferKey, NodeName)>,
        /// How many of them fail, since a later life delivered them; sent when that is logged.
        reply: oneshot::Sender<Result<u64, Refusal>>,
    },
    /// Say where a key goes now.
    Explain {
        /// The feed.
        feed: FeedName,
        /// The key.
        key: String,
        /// The answer.
        reply: oneshot::Sender<Result<Explanation, Refusal>>,
    },
}

/// Where listeners to endings begin.
#[derive(Debug)]
struct Listening {
    /// Not read: others begin from it. It ends with the driver, which has the only sender.
    endings: broadcast::Receiver<Arc<Ended>>,
    places: Arc<Semaphore>,
}

/// The way to the driver, for anyone in this process.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    commands: mpsc::Sender<Command>,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    endings: Arc<Listening>,
}

/// The driver's ends of a [`Handle`].
#[derive(Debug)]
pub(crate) struct DriverEnd {
    /// Commands in the order in which they were given.
    pub(crate) commands: mpsc::Receiver<Command>,
    /// Where the driver publishes what it is doing.
    pub(crate) snapshot: watch::Sender<Arc<Snapshot>>,
    /// Where it tells which transfers have ended.
    pub(crate) endings: broadcast::Sender<Arc<Ended>>,
}

/// A handle and its driver's ends, with the first snapshot.
pub(crate) fn channel(first: Snapshot) -> (Handle, DriverEnd) {
    let (commands, commands_end) = mpsc::channel(COMMANDS_WAITING_MAX);
    let (snapshot_end, snapshot) = watch::channel(Arc::new(first));
    let (endings_end, endings) = broadcast::channel(ENDINGS_WAITING_MAX);
    let end = DriverEnd {
        commands: commands_end,
        snapshot: snapshot_end,
        endings: endings_end,
    };
    let handle = Handle {
        commands,
        snapshot,
        endings: Arc::new(Listening {
            endings,
            places: Arc::new(Semaphore::new(ENDINGS_LISTENERS_MAX)),
        }),
    };
    (handle, end)
}

// Every method below may be cancelled at any await: a command that was handed over is carried out
// all the same, only its answer is lost.
impl Handle {
    /// The last published snapshot.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.borrow())
    }

    /// Which transfers end from now on, each as soon as that is synced; `None` when there are too many
    /// listeners. The place is to be kept as long as the receiver.
    pub(crate) fn endings(
        &self,
    ) -> Option<(broadcast::Receiver<Arc<Ended>>, OwnedSemaphorePermit)> {
        let place = Arc::clone(&self.endings.places).try_acquire_owned().ok()?;
        Some((self.endings.endings.resubscribe(), place))
    }

    /// Takes files from paths. When it returns, every accepted one is synced.
    ///
    /// # Errors
    /// [`Refusal::NotReady`] when the driver is gone; the files' own refusals are in the answer.
    pub(crate) async fn submit(
        &self,
        files: Vec<SubmitRequest>,
    ) -> Result<Vec<Result<Accepted, Refusal>>, Refusal> {
        assert!(
            files.len() <= FILES_PER_SUBMIT_MAX,
            "callers split their files"
        );
        self.ask(|reply| Command::Submit { files, reply }).await
    }

    /// Takes a small file's bytes. When it returns, they are synced.
    ///
    /// # Errors
    /// Why the file was refused.
    pub(crate) async fn submit_bytes(&self, file: SubmitBytes) -> Result<Accepted, Refusal> {
        self.ask(|reply| Command::SubmitBytes { file, reply })
            .await?
    }

    /// Tries failed transfers again.
    ///
    /// # Errors
    /// [`Refusal::NotReady`] when the driver is gone.
    pub(crate) async fn retry(&self, which: Failed) -> Result<Outcome, Refusal> {
        self.ask(|reply| Command::Retry { which, reply }).await
    }

    /// Gives transfers up.
    ///
    /// # Errors
    /// [`Refusal::NotReady`] when the driver is gone.
    pub(crate) async fn cancel(&self, ids: Vec<TransferId>) -> Result<Outcome, Refusal> {
        self.ask(|reply| Command::Cancel { ids, reply }).await
    }

    /// Declares a node gone for good.
    ///
    /// # Errors
    /// Why it was refused.
    pub(crate) async fn forget(&self, node: NodeName) -> Result<(), Refusal> {
        self.ask(|reply| Command::Forget { node, reply }).await?
    }

    /// Takes this node out of service, or back in.
    ///
    /// # Errors
    /// Why it was refused.
    pub(crate) async fn drain(&self, node: NodeName, state: MemberState) -> Result<(), Refusal> {
        let command = |reply| Command::Drain { node, state, reply };
        self.ask(command).await?
    }

    /// What no consumer may have before this node, which is set apart, may go on.
    ///
    /// # Errors
    /// Why it may not.
    pub(crate) async fn to_reconcile(&self) -> Result<BTreeSet<TransferKey>, Refusal> {
        self.ask(|reply| Command::ToReconcile { reply }).await?
    }

    /// Ends that this node is set apart, with its next start. How many files a later life of it has
    /// delivered.
    ///
    /// # Errors
    /// Why it was refused.
    pub(crate) async fn reconcile(
        &self,
        held: Vec<(TransferKey, NodeName)>,
    ) -> Result<u64, Refusal> {
        self.ask(|reply| Command::Reconcile { held, reply }).await?
    }

    /// Says where a key goes now.
    ///
    /// # Errors
    /// Why it cannot be said.
    pub(crate) async fn explain(
        &self,
        feed: FeedName,
        key: String,
    ) -> Result<Explanation, Refusal> {
        self.ask(|reply| Command::Explain { feed, key, reply })
            .await?
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        let sent = self.commands.send(command(reply)).await;
        sent.map_err(|_| self.gone())?;
        answer.await.map_err(|_| self.gone())
    }

    fn gone(&self) -> Refusal {
        let snapshot = self.snapshot();
        let known = snapshot.problems.first().filter(|_| !snapshot.ready);
        Refusal::stopping(known)
    }
}
