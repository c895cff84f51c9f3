//! Nodes for tests: a net, its directories, and a driver that admits every peer and keeps what
//! happens.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use consign_core::disk::{Attributes, Disk, Entry, EntryKind, File, OpenMode};
use consign_core::ids::{
    Attempt, Digest, Incarnation, NodeName, Sequence, Slot, SlotId, Start, TransferKey,
};
use consign_core::producer::{StreamOrder, StreamTarget};
use consign_core::spec::Source;
use consign_core::wire::Leg;
use consign_core::{consumer, producer};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::identity::Keyring;
use crate::net::{Asked, ForwardOrder, Identity, Net, NetConfig, NetEvent, SealOrder};

pub(super) const MIB: u64 = 1 << 20;
pub(super) const DEADLINE: Duration = Duration::from_secs(30);
/// The usual limit of a process.
const OPEN_FILES_MAX: usize = 1024;
pub(super) const START: Start = Start(0xfeed);

pub(super) fn name(text: &str) -> NodeName {
    NodeName::new(text).unwrap()
}

/// Waits for `what`, not for ever.
pub(super) async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(DEADLINE, what).await.expect("it takes too long")
}

/// A node under test.
pub(super) struct Node {
    pub(super) net: Arc<Net>,
    pub(super) name: NodeName,
    pub(super) addr: String,
    pub(super) inbox: Arc<TestDisk>,
    pub(super) dir: tempfile::TempDir,
    events: mpsc::UnboundedReceiver<NetEvent>,
    /// What audits ask of it.
    pub(super) audited: mpsc::Receiver<Asked>,
}

impl Node {
    pub(super) async fn start(node: &str) -> Self {
        Self::start_as(node, 1, true).await
    }

    /// A node in some life; whether it admits producers by itself.
    pub(super) async fn start_as(node: &str, incarnation: u64, admits: bool) -> Self {
        Self::start_with(node, incarnation, admits, OPEN_FILES_MAX, None).await
    }

    /// A node that may have so many files open.
    pub(super) async fn start_with_files(node: &str, open_files_max: usize) -> Self {
        Self::start_with(node, 1, true, open_files_max, None).await
    }

    /// A node with keys.
    pub(super) async fn start_secured(node: &str, keyring: &Arc<Keyring>) -> Self {
        let keyring = Some(Arc::clone(keyring));
        Self::start_with(node, 1, true, OPEN_FILES_MAX, keyring).await
    }

    async fn start_with(
        node: &str,
        incarnation: u64,
        admits: bool,
        open_files_max: usize,
        keyring: Option<Arc<Keyring>>,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for sub in ["spool", "inbox", "inbox/.consign"] {
            fs::create_dir(dir.path().join(sub)).unwrap();
        }
        let (audits, audited) = mpsc::channel(1);
        let config = NetConfig {
            me: Identity {
                node: name(node),
                incarnation: Incarnation(incarnation),
                start: START,
                lives: Vec::new(),
                reconciled: Incarnation(0),
            },
            keyring,
            listen: "127.0.0.1:0".into(),
            seen: Vec::new(),
            set_apart: false,
            spool: dir.path().join("spool"),
            audits,
            open_files_max,
        };
        let (sender, mut told) = mpsc::channel(256);
        let net = Arc::new(Net::start(config, sender).await.unwrap());
        let (keep, events) = mpsc::unbounded_channel();
        let weak = Arc::downgrade(&net);
        tokio::spawn(async move {
            while let Some(event) = told.recv().await {
                if let NetEvent::Consumer(consumer::Event::PeerUp { node, session, .. }) = &event
                    && admits
                    && let Some(net) = weak.upgrade()
                {
                    net.admit(node, *session);
                }
                let _ = keep.send(event);
            }
        });
        Self {
            addr: net.local_addr().to_string(),
            net,
            name: name(node),
            inbox: Arc::new(TestDisk::new(dir.path().join("inbox"))),
            dir,
            events,
            audited,
        }
    }

    /// The first event from here on that `pick` wants.
    pub(super) async fn event<T>(&mut self, mut pick: impl FnMut(NetEvent) -> Option<T>) -> T {
        let found = timeout(DEADLINE, async {
            loop {
                let event = self.events.recv().await.expect("the net is gone");
                if let Some(found) = pick(event) {
                    return found;
                }
            }
        });
        found
            .await
            .unwrap_or_else(|_| panic!("{} waits in vain", self.name))
    }

    pub(super) async fn heard<T>(
        &mut self,
        mut pick: impl FnMut(consumer::Event) -> Option<T>,
    ) -> T {
        self.event(|event| match event {
            NetEvent::Consumer(event) => pick(event),
            _ => None,
        })
        .await
    }

    pub(super) async fn produced<T>(
        &mut self,
        mut pick: impl FnMut(producer::Event) -> Option<T>,
    ) -> T {
        self.event(|event| match event {
            NetEvent::Producer(event) => pick(event),
            _ => None,
        })
        .await
    }

    pub(super) fn open(&self, order: consumer::InflowOrder) {
        self.net.open_inflow(order, Arc::clone(&self.inbox) as _);
    }

    /// Opens a transfer, and answers from where on it is wanted.
    pub(super) async fn ready(&mut self, order: consumer::InflowOrder) -> u64 {
        let wanted = order.attempt;
        self.open(order);
        self.heard(|event| match event {
            consumer::Event::InflowReady { attempt, from, .. } if attempt == wanted => Some(from),
            _ => None,
        })
        .await
    }

    pub(super) async fn complete(&mut self) -> Digest {
        self.heard(|event| match event {
            consumer::Event::InflowComplete { digest, .. } => Some(digest),
            _ => None,
        })
        .await
    }

    /// Seals the staging file of the one transfer.
    pub(super) async fn seal(&mut self) -> Result<bool, consumer::InflowFault> {
        let order = SealOrder {
            slot: slot(),
            staging: "staged".into(),
            path: "x".into(),
            attributes: Attributes::default(),
        };
        self.net.seal(order, Arc::clone(&self.inbox) as _);
        self.heard(|event| match event {
            consumer::Event::Sealed { outcome, .. } => Some(outcome),
            _ => None,
        })
        .await
    }

    pub(super) async fn lost(&mut self) -> String {
        self.heard(|event| match event {
            consumer::Event::ForwardLost { reason, .. } => Some(reason),
            _ => None,
        })
        .await
    }

    pub(super) async fn stream_failed(&mut self) -> producer::StreamFault {
        self.produced(|event| match event {
            producer::Event::StreamFailed { fault, .. } => Some(fault),
            _ => None,
        })
        .await
    }

    pub(super) async fn digest_known(&mut self) -> Digest {
        self.produced(|event| match event {
            producer::Event::DigestKnown { digest, .. } => Some(digest),
            _ => None,
        })
        .await
    }

    /// Puts a file into the spool, and answers its digest.
    pub(super) fn spool(&self, size: u64) -> Digest {
        let mut file = fs::File::create(self.dir.path().join("spool/source")).unwrap();
        let mut source = blake3::Hasher::new().finalize_xof().take(size);
        let mut digest = blake3::Hasher::new();
        let mut bytes = vec![0; MIB as usize];
        while let len @ 1.. = source.read(&mut bytes).unwrap() {
            file.write_all(&bytes[..len]).unwrap();
            digest.update(&bytes[..len]);
        }
        Digest(*digest.finalize().as_bytes())
    }

    pub(super) fn staged(&self) -> Vec<u8> {
        fs::read(self.dir.path().join("inbox/.consign/staged")).unwrap()
    }

    pub(super) fn forward(&self, to: &Self, attempt: u32, from: u64) {
        self.forward_to(&to.name, &to.addr, attempt, from);
    }

    pub(super) fn forward_to(&self, to: &NodeName, addr: &str, attempt: u32, from: u64) {
        self.net.forward(ForwardOrder {
            slot: slot(),
            attempt: Attempt(attempt),
            to: to.clone(),
            addr: addr.into(),
            from,
            to_leg: leg(attempt),
        });
    }
}

/// The one slot of the one transfer of most tests; every consumer has the same.
pub(super) fn slot() -> SlotId {
    SlotId {
        producer: name("cam"),
        start: START,
        slot: Slot(3),
    }
}

pub(super) fn leg(attempt: u32) -> Leg {
    Leg {
        start: START.0,
        seq: 9,
        slot_start: START.0,
        slot: 3,
        attempt,
    }
}

pub(super) fn key() -> TransferKey {
    TransferKey {
        start: START,
        seq: Sequence(9),
    }
}

pub(super) fn inflow(attempt: u32, size: u64) -> consumer::InflowOrder {
    consumer::InflowOrder {
        slot: slot(),
        incarnation: Incarnation(1),
        attempt: Attempt(attempt),
        feed: "images".parse().unwrap(),
        staging: "staged".into(),
        size,
        chunk_bytes: MIB,
        synced: 0,
        hashes: Vec::new(),
    }
}

pub(super) fn stream(attempt: u32, size: u64, to: Option<StreamTarget>) -> StreamOrder {
    StreamOrder {
        key: key(),
        source: Source {
            spool: "source".into(),
            ..Source::default()
        },
        size,
        chunk_bytes: MIB,
        hashes: Vec::new(),
        to,
        attempt: Attempt(attempt),
    }
}

pub(super) fn target(node: &NodeName, addr: &str, attempt: u32, from: u64) -> Option<StreamTarget> {
    Some(StreamTarget {
        node: node.clone(),
        addr: addr.into(),
        leg: leg(attempt),
        from,
    })
}

/// A directory as a disk, which can be made to fail.
#[derive(Debug)]
pub(super) struct TestDisk {
    root: PathBuf,
    pub(super) faults: Arc<Faults>,
}

#[derive(Debug)]
pub(super) struct Faults {
    /// Writes that end beyond fail for want of space.
    pub(super) full_at: AtomicU64,
    pub(super) sync_fails: AtomicBool,
    /// The next write panics.
    pub(super) write_panics: AtomicBool,
    pub(super) syncs: AtomicU64,
    pub(super) dir_syncs: AtomicU64,
    stuck: Mutex<bool>,
    freed: Condvar,
}

impl Faults {
    /// From now on writes wait, or no longer.
    pub(super) fn set_stuck(&self, stuck: bool) {
        *self.stuck.lock().unwrap() = stuck;
        self.freed.notify_all();
    }

    fn wait_until_freed(&self) {
        let stuck = self.stuck.lock().unwrap();
        drop(self.freed.wait_while(stuck, |stuck| *stuck).unwrap());
    }
}

impl TestDisk {
    fn new(root: PathBuf) -> Self {
        Self {
            root,
            faults: Arc::new(Faults {
                full_at: AtomicU64::new(u64::MAX),
                sync_fails: AtomicBool::new(false),
                write_panics: AtomicBool::new(false),
                syncs: AtomicU64::new(0),
                dir_syncs: AtomicU64::new(0),
                stuck: Mutex::new(false),
                freed: Condvar::new(),
            }),
        }
    }
}

impl Disk for TestDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(mode != OpenMode::Read);
        options.create_new(mode == OpenMode::CreateNew);
        Ok(Arc::new(TestFile {
            file: options.open(self.root.join(path))?,
            faults: Arc::clone(&self.faults),
        }))
    }

    fn list(&self, _dir: &Path) -> io::Result<Vec<Entry>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Entry>> {
        match fs::symlink_metadata(self.root.join(path)) {
            Ok(metadata) => Ok(Some(Entry {
                name: path.to_string_lossy().into_owned(),
                kind: EntryKind::File,
                len: metadata.len(),
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn create_dir(&self, path: &Path) -> io::Result<bool> {
        fs::create_dir(self.root.join(path)).map(|()| true)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(self.root.join(from), self.root.join(to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(self.root.join(path))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.faults.dir_syncs.fetch_add(1, Ordering::SeqCst);
        fs::File::open(self.root.join(dir))?.sync_all()
    }

    fn sync_fs(&self, path: &Path) -> io::Result<()> {
        self.sync_dir(path)
    }
}

#[derive(Debug)]
struct TestFile {
    file: fs::File,
    faults: Arc<Faults>,
}

impl File for TestFile {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.faults.wait_until_freed();
        let panics = self.faults.write_panics.swap(false, Ordering::SeqCst);
        assert!(!panics, "as the test wished");
        if offset + buf.len() as u64 > self.faults.full_at.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write_all_at(buf, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.faults.syncs.fetch_add(1, Ordering::SeqCst);
        if self.faults.sync_fails.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk lost pages"));
        }
        // The disk itself is not under test, and would make the tests slow.
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.metadata().map(|metadata| metadata.len())
    }

    fn identity(&self) -> io::Result<u64> {
        use std::os::unix::fs::MetadataExt as _;
        self.file.metadata().map(|metadata| metadata.ino())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn write_behind(&self, _offset: u64, _len: u64) {}

    fn set_attributes(&self, attributes: &Attributes) -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        match attributes.mode {
            Some(mode) => self.file.set_permissions(fs::Permissions::from_mode(mode)),
            None => Ok(()),
        }
    }
}
