//! The proof: what every producer says it delivered, what every inbox holds, and what became of
//! every source.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;

use super::cluster::{self, Cluster};
use super::compare::{self, Broken, Fault, Files};
use super::inbox;
use super::node::{Node, Role};
use super::resume::{self, Resumed};
use super::source::{Source, Way};
use crate::api::model::{Status, Transfer};

/// How long the last renames and deletions may take after everything is saved.
const SETTLE_DEADLINE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What was found at one consumer.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Row {
    /// The consumer.
    pub(super) node: String,
    /// Copies that were placed there.
    pub(super) files: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    /// Those that are there and right.
    pub(super) verified: u64,
    /// Their bytes.
    pub(super) verified_bytes: u64,
}

/// Everything that was found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) rows: Vec<Row>,
    pub(super) broken: Vec<Broken>,
    pub(super) resumed: Vec<Resumed>,
}

/// Waits until nothing is on its way into an inbox or out of a spool. When that does not happen,
/// what is left is found by [`verify`].
pub(super) async fn settle(cluster: &Cluster) {
    let deadline = Instant::now() + SETTLE_DEADLINE;
    while Instant::now() < deadline {
        let told = cluster.refresh().await;
        let all = told.len() == cluster.nodes.len();
        if all && told.values().all(is_settled) && left_at_producers(cluster).is_empty() {
            return;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn is_settled(status: &Status) -> bool {
    let ended = |state: &str| matches!(state, "published" | "abandoned");
    let mut deliveries = status.deliveries.iter();
    deliveries.all(|count| ended(&count.state) || count.files == 0)
}

/// Files that lie in spools and watched directories.
fn left_at_producers(cluster: &Cluster) -> Vec<(String, PathBuf, &'static str)> {
    let mut left = Vec::new();
    for node in cluster.producers() {
        let places = [
            (node.watched(), "was not taken away after it was delivered"),
            (node.spool(), "was left in the spool"),
        ];
        for (dir, why) in places {
            let files = files_under(&dir).unwrap_or_default();
            left.extend(files.into_iter().map(|path| (node.name.clone(), path, why)));
        }
    }
    left
}

fn files_under(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => files.extend(files_under(&entry.path())?),
            false => files.push(entry.path()),
        }
    }
    Ok(files)
}

/// Compares everything with everything.
///
/// # Errors
/// When a producer does not answer.
pub(super) async fn verify(
    cluster: &Cluster,
    sources: &[Source],
    replicas: u16,
) -> anyhow::Result<Findings> {
    let mut findings = Findings::default();
    let mut known = BTreeMap::new();
    for (at, node) in cluster.producers().into_iter().enumerate() {
        let transfers = cluster::transfers(node).await;
        let transfers = transfers.map_err(|failure| anyhow::anyhow!(failure.text));
        let transfers =
            transfers.with_context(|| format!("cannot ask {} what it did", node.name))?;
        findings.resumed.extend(resume::of(node, &transfers).await);
        for transfer in transfers {
            let key = (at, transfer.feed.clone(), transfer.name.clone());
            known.entry(key).or_insert_with(Vec::new).push(transfer);
        }
    }
    let expected = expect(cluster, sources, known, replicas, &mut findings.broken);
    let read: Vec<_> = cluster
        .of(Role::Consumer)
        .map(|node| {
            (
                node.name.clone(),
                Way::ALL.map(|way| (way, node.inbox(way))),
            )
        })
        .collect();
    let (rows, broken) =
        tokio::task::spawn_blocking(move || read_inboxes(&read, &expected)).await?;
    findings.rows = rows;
    findings.broken.extend(broken);
    let sources = sources.to_vec();
    let changed = tokio::task::spawn_blocking(move || changed_sources(&sources)).await?;
    findings.broken.extend(changed);
    for (place, path, why) in left_at_producers(cluster) {
        let why = why.to_owned();
        findings.broken.push(Broken {
            place,
            file: path.display().to_string(),
            what: Fault::Source { why },
        });
    }
    Ok(findings)
}

/// What must be in each inbox.
type Expected = BTreeMap<(String, Way), Files>;

/// Works out from the producers' own words what must be where, and takes them at their words: each
/// source has one transfer, which is done, has the source's digest and as many consumers as it
/// should.
fn expect(
    cluster: &Cluster,
    sources: &[Source],
    mut known: BTreeMap<(usize, String, String), Vec<Transfer>>,
    replicas: u16,
    broken: &mut Vec<Broken>,
) -> Expected {
    let producers: Vec<&Node> = cluster.producers();
    let mut expected = Expected::new();
    for source in sources {
        let feed = source.way.feed();
        let key = (source.producer, feed.to_owned(), source.name.clone());
        let transfers = known.remove(&key).unwrap_or_default();
        for why in faults_of(source, &transfers, replicas) {
            broken.push(Broken {
                place: format!("{}, feed {feed}", producers[source.producer].name),
                file: source.name.clone(),
                what: Fault::Transfer { why },
            });
        }
        for node in transfers.iter().flat_map(holders) {
            let files = expected.entry((node.to_owned(), source.way));
            files.or_default().insert(source.name.clone(), source.print);
        }
    }
    for ((at, feed, name), _) in known {
        let why = "was delivered, and nobody sent it".to_owned();
        broken.push(Broken {
            place: format!("{}, feed {feed}", producers[at].name),
            file: name,
            what: Fault::Transfer { why },
        });
    }
    expected
}

/// The consumers that have the file for good.
fn holders(transfer: &Transfer) -> impl Iterator<Item = &str> {
    let consumers = transfer.consumers.iter();
    let saved = consumers.filter(|consumer| consumer.state == "saved");
    saved.map(|consumer| consumer.node.as_str())
}

/// What is wrong with the transfers of one source.
fn faults_of(source: &Source, transfers: &[Transfer], replicas: u16) -> Vec<String> {
    let [transfer] = transfers else {
        return vec![format!("has {} transfers", transfers.len())];
    };
    if transfer.state != "done" {
        let error = transfer.error.as_deref();
        let error = error.map_or_else(String::new, |error| format!(": {error}"));
        return vec![format!("is {}, not done{error}", transfer.state)];
    }
    let mut faults = Vec::new();
    let consumers: BTreeSet<_> = holders(transfer).collect();
    if consumers.len() != usize::from(replicas) {
        faults.push(format!(
            "is done on {} consumers, not {replicas}",
            consumers.len()
        ));
    }
    let digest = source.print.digest.to_hex();
    // An empty file may have no digest worth keeping; every other one has.
    if transfer
        .digest
        .as_deref()
        .is_some_and(|told| told != digest.as_str())
    {
        faults.push("is done with another digest than its source has".to_owned());
    }
    faults
}

type Inboxes = Vec<(String, [(Way, PathBuf); 2])>;

fn read_inboxes(inboxes: &Inboxes, expected: &Expected) -> (Vec<Row>, Vec<Broken>) {
    let none = Files::new();
    let mut broken = Vec::new();
    let mut rows = Vec::new();
    for (node, inboxes) in inboxes {
        let mut row = Row {
            node: node.clone(),
            files: 0,
            bytes: 0,
            verified: 0,
            verified_bytes: 0,
        };
        for (way, path) in inboxes {
            let files = expected.get(&(node.clone(), *way)).unwrap_or(&none);
            let place = format!("{node}, feed {}", way.feed());
            let compared = compare::compare(&place, files, &inbox::read(path));
            row.files += files.len() as u64;
            row.bytes += files.values().map(|print| print.size).sum::<u64>();
            row.verified += compared.verified;
            row.verified_bytes += compared.verified_bytes;
            broken.extend(compared.broken);
        }
        rows.push(row);
    }
    (rows, broken)
}

/// Sent sources are kept, and must be as they were.
fn changed_sources(sources: &[Source]) -> Vec<Broken> {
    let mut broken = Vec::new();
    for source in sources.iter().filter(|source| source.way == Way::Sent) {
        let why = match inbox::print(&source.path) {
            Ok(print) if print == source.print => continue,
            Ok(_) => "was to be kept, and is not what it was".to_owned(),
            Err(error) => format!("was to be kept, and cannot be read: {error}"),
        };
        broken.push(Broken {
            place: "source".to_owned(),
            file: source.path.display().to_string(),
            what: Fault::Source { why },
        });
    }
    broken
}
