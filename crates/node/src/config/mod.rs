//! The config: one TOML file, read whole and checked before anything starts.
//!
//! What comes out of here is typed and holds together: names are names, templates and patterns are
//! parsed, paths are absolute and apart from one another. Unknown keys are errors that name the
//! nearest known one, and keys that this version lacks are refused by name, never ignored.
//!
//! Durations are a whole number and `ms`, `s`, `m`, `h`, `d` or `w`; sizes are a whole number of
//! bytes, or one with `B`, `KB`, `MB`, `GB`, `TB`, `KiB`, `MiB`, `GiB` or `TiB`.
//!
//! | key | default | meaning |
//! |---|---|---|
//! | `node.name` | | this node's name, unique in the cluster |
//! | `node.zone` | none | its failure domain |
//! | `node.data_dir` | | where its log, spool and catalogue are |
//! | `node.history` | `"30d"` | how long finished transfers are listed, or `"never"` to forget none |
//! | `listen.peer` | | `host:port` for other nodes; port 0 lets the system choose |
//! | `listen.advertise` | `listen.peer` | what others connect to; needed when that is a wildcard |
//! | `listen.http` | none | `host:port` for dashboard, metrics and API |
//! | `tls.bundle` | none | this node's certificate, its key and the authority's certificate, in one file |
//! | `tls.ca`, `tls.cert`, `tls.key` | none | the same in three, as an organisation's own authority gives them |
//! | `tls.revoked` | none | a revocation list, beside the one that other nodes pass on |
//! | `tls.authority` | none | the directory of the cluster's authority: machines with a token join at this node |
//! | `tls.plaintext` | `false` | nothing is encrypted; needed when there are no keys and any address is not loopback |
//! | `membership.kind` | `"static"` | where the members are learned from: `"static"`, `"gossip"` or `"etcd"` |
//! | `membership.seeds` | `[]` | gossip: `host:port` of nodes to ask first |
//! | `membership.endpoints` | | etcd: its servers, `http://host:port` or `https://host:port` |
//! | `membership.prefix` | `"/consign"` | etcd: what the keys of this cluster begin with |
//! | `membership.user`, `.password_file` | none | etcd: who this node is, and the file with the password |
//! | `membership.ca`, `.cert`, `.key` | none | etcd: PEM files for TLS; `ca` is needed for https |
//! | `membership.nodes` | `[]` | static: `name`, `addr`, `zone`, `weight` (100), `feeds` of each node; this one may be left out |
//! | `membership.replace_after` | `"10m"` | how long a consumer may be unreachable before its files are placed elsewhere, or `"never"` |
//! | `membership.forget_after` | `"never"` | how long a member may be away before it is forgotten as if a person had said so |
//! | `produce.feed` | | |
//! | `produce.watch` | none | directory whose files are taken |
//! | `produce.include` | everything | patterns over the names under it: `*` stays in one directory, `**` does not |
//! | `produce.settle` | `"2s"` | how long a file must not have changed, unless it was renamed in or closed |
//! | `produce.scan_every` | `"5s"` | how often the directory is read again |
//! | `produce.after` | `"keep"` | what becomes of a delivered file: `"delete"`, `"archive"`, `"keep"` |
//! | `produce.archive_dir` | `.consign/archive` in `watch` | where it is archived, on the same filesystem |
//! | `produce.replicas` | 1 | consumers of each file, or `"all"` |
//! | `produce.key` | `"{name}"` | what is hashed to choose them |
//! | `produce.ack` | `"saved"` | |
//! | `produce.priority` | 0 | larger goes first |
//! | `produce.compression` | `"none"` | |
//! | `produce.expire_after` | `"never"` | |
//! | `produce.max_queue` | `"500GiB"` | files beyond that are refused |
//! | `produce.preserve` | `["mtime", "mode"]` | what consumers set on their copies |
//! | `produce.replace_after` | `membership.replace_after` | for this feed alone |
//! | `consume.feed` | | |
//! | `consume.inbox` | | directory where its files appear |
//! | `consume.layout` | `"{name}"` | their paths under it |
//! | `consume.on_conflict` | `"rename"` | another file is there already: `"rename"` or `"reject"` |
//! | `consume.weight` | 100 | share of the keys; the same for all feeds of a node |
//! | `consume.min_free` | `"1GiB"` | what is left free on the inbox's filesystem |
//! | `consume.owner` | the agent's | `user:group` of published files |
//! | `consume.mode` | the producer's | their permissions in octal |
//! | `consume.from` | everybody | patterns over the producers that may send |
//!
//! Deliberately absent: whether directories exist and what their filesystems can do. That is asked
//! at start, and may change while the agent runs.

mod check;
mod error;
mod outline;
mod owner;
mod raw;
mod schema;
mod show;
#[cfg(test)]
mod tests;
mod units;

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use consign_core::ids::NodeName;
use consign_core::name::{Pattern, Template};
use consign_core::spec::{After, ConsumePolicy, ProducePolicy};
use consign_core::view::Member;
use globset::GlobSet;

use crate::identity::KeyFiles;

pub(crate) use check::paths::overlap_here;
pub(crate) use error::ConfigError;
use error::Problem;

/// Everything that a node is told, checked.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// This node.
    pub(crate) node: Node,
    /// Where it listens.
    pub(crate) listen: Listen,
    /// How its connections to other nodes are protected.
    pub(crate) tls: Tls,
    /// The other nodes.
    pub(crate) membership: Membership,
    /// What it produces, each feed once.
    pub(crate) produce: Vec<ProduceConfig>,
    /// What it consumes, each feed once.
    pub(crate) consume: Vec<ConsumeConfig>,
}

/// This node.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// Its name.
    pub(crate) name: NodeName,
    /// Its failure domain.
    pub(crate) zone: Option<String>,
    /// Where its log, spool and catalogue are; absolute.
    pub(crate) data_dir: PathBuf,
    /// How long finished transfers stay in the catalogue; `None` is for ever.
    pub(crate) history: Option<Duration>,
}

/// Where a node listens.
#[derive(Debug, Clone)]
pub(crate) struct Listen {
    /// For other nodes. Port 0 lets the system choose.
    pub(crate) peer: HostPort,
    /// What other nodes connect to. Port 0 stands for the one that the system chose.
    pub(crate) advertise: HostPort,
    /// For dashboard, metrics and API.
    pub(crate) http: Option<HostPort>,
}

/// How connections between nodes are protected. Without keys and without `plaintext`, every address is
/// loopback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tls {
    /// Whether it was said aloud that nothing is to be encrypted.
    pub(crate) plaintext: bool,
    /// This node's keys.
    pub(crate) keys: Option<KeyFiles>,
    /// A revocation list.
    pub(crate) revoked: Option<PathBuf>,
    /// The directory of the cluster's authority, where newcomers are let in.
    pub(crate) authority: Option<PathBuf>,
}

/// Who the nodes are, or where that is to be learned.
#[derive(Debug, Clone)]
pub(crate) struct Membership {
    /// Where from.
    pub(crate) source: Source,
    /// All that are known from the configuration, this one included, sorted by name and fit for a
    /// view. Unless the source is the list itself, that is this one alone.
    pub(crate) nodes: Vec<Member>,
    /// This node as it describes itself to others.
    pub(crate) own: Member,
    /// How long a consumer may be unreachable before its files are placed elsewhere; `None` waits
    /// for ever.
    pub(crate) replace_after: Option<Duration>,
    /// How long a member may be away before it is forgotten; `None` leaves that to a person.
    pub(crate) forget_after: Option<Duration>,
}

/// Where a node learns who the members are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// From the list in the configuration.
    Static,
    /// From each other.
    Gossip {
        /// Where to ask first; none for the first node of a cluster, which waits to be asked.
        seeds: Vec<HostPort>,
    },
    /// From etcd.
    Etcd(EtcdConfig),
}

impl Source {
    /// What the configuration calls it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Gossip { .. } => "gossip",
            Self::Etcd(_) => "etcd",
        }
    }
}

/// How to reach etcd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EtcdConfig {
    /// Its servers, as `http://host:port` or `https://host:port`; at least one.
    pub(crate) endpoints: Vec<String>,
    /// What all keys of this cluster begin with, without a slash at its end.
    pub(crate) prefix: String,
    /// Who this node is to etcd, and where that user's password is.
    pub(crate) login: Option<(String, PathBuf)>,
    /// The authority that etcd's certificate is checked against; there is one for `https`.
    pub(crate) ca: Option<PathBuf>,
    /// The certificate and the key that this node shows to etcd.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
}

/// One feed that this node produces.
#[derive(Debug, Clone)]
pub(crate) struct ProduceConfig {
    /// What the core needs to know.
    pub(crate) policy: ProducePolicy,
    /// The directory whose files are taken.
    pub(crate) watch: Option<Watch>,
    /// What becomes of a delivered file.
    pub(crate) after: After,
    /// Where it is archived; there is one exactly when it is.
    pub(crate) archive_dir: Option<PathBuf>,
    /// What is hashed to choose consumers.
    pub(crate) key: Template,
    /// Bytes that may be under way or waiting; more are refused.
    pub(crate) max_queue_bytes: u64,
    /// What consumers set on their copies.
    pub(crate) preserve: Preserve,
}

/// A directory whose files are taken.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    /// The directory; absolute.
    pub(crate) dir: PathBuf,
    /// Which of its files.
    pub(crate) include: Include,
    /// How long a file must not have changed, unless it was renamed in or closed after writing.
    pub(crate) settle: Duration,
    /// How often it is read again.
    pub(crate) scan_every: Duration,
}

/// Patterns over names of files; no patterns cover everything.
#[derive(Debug, Clone)]
pub(crate) struct Include {
    patterns: Vec<String>,
    set: GlobSet,
}

impl Include {
    /// Whether a file of this name, relative to the watched directory, is to be taken.
    #[cfg(test)]
    pub(crate) fn covers(&self, name: &str) -> bool {
        self.patterns.is_empty() || self.set.is_match(name)
    }

    /// The patterns, or one that covers everything.
    pub(crate) fn set(&self) -> GlobSet {
        if !self.patterns.is_empty() {
            return self.set.clone();
        }
        let everything = globset::Glob::new("**").expect("it is a pattern");
        let mut set = GlobSet::builder();
        set.add(everything);
        set.build().expect("it is one pattern")
    }
}

/// What consumers set on their copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Preserve {
    /// The modification time.
    pub(crate) mtime: bool,
    /// The permission bits.
    pub(crate) mode: bool,
}

/// One feed that this node consumes.
#[derive(Debug, Clone)]
pub(crate) struct ConsumeConfig {
    /// What the core needs to know. Its layout and patterns are those parsed here.
    pub(crate) policy: ConsumePolicy,
    /// The files' paths under the inbox.
    pub(crate) layout: Template,
    /// Producers that may send; empty means all.
    pub(crate) from: Vec<Pattern>,
    /// Its share of the keys.
    pub(crate) weight: u32,
}

/// A host, by name or by number, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostPort {
    /// Without brackets.
    pub(crate) host: String,
    /// The port.
    pub(crate) port: u16,
}

impl HostPort {
    /// Reads `host:port`; an IPv6 address stands in brackets.
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        let bad = || Problem::HostPort {
            value: text.to_owned(),
        };
        let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let is_host = match bare {
            Some(bare) => bare.parse::<std::net::Ipv6Addr>().is_ok(),
            None => is_host_name(host),
        };
        let port = port.parse().ok().filter(|_| is_host).ok_or_else(bad)?;
        Ok(Self {
            host: bare.unwrap_or(host).to_owned(),
            port,
        })
    }

    /// Whether only this machine can connect there. A name, except `localhost`, may lead anywhere.
    pub(crate) fn is_loopback(&self) -> bool {
        let ip = self.host.parse::<IpAddr>();
        ip.map_or(self.host == "localhost", |ip| ip.is_loopback())
    }

    /// Whether it stands for all addresses of this machine, so that nobody can connect to it.
    pub(crate) fn is_wildcard(&self) -> bool {
        self.host
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.is_unspecified())
    }
}

fn is_host_name(host: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=253).contains(&host.len()) && host.chars().all(known)
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl Config {
    /// Reads and checks a config file.
    ///
    /// # Errors
    /// [`ConfigError`] when it cannot be read, or anything in it cannot be meant.
    pub(crate) fn load(path: &Path) -> Result<Self, ConfigError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, &path.display().to_string()),
            Err(source) => Err(ConfigError::Read {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// Checks a config; `origin` is what messages call its file.
    ///
    /// # Errors
    /// [`ConfigError`] when anything in it cannot be meant.
    pub(crate) fn parse(text: &str, origin: &str) -> Result<Self, ConfigError> {
        let outline = outline::Outline::parse(text, origin)?;
        let file = toml::from_str(text).map_err(|bad| outline.refuse_type(&bad))?;
        check::check(file, &outline)
    }
}
