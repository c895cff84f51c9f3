//! What can be wrong with a config. Each message names the file, the line and the key, and ends
//! with something to do. Nothing changes when a config is refused: an agent that runs keeps the
//! one it has.

use std::fmt;
use std::io;
use std::path::PathBuf;

use consign_core::ids::{BadName, FeedName, NodeName};
use consign_core::name::{BadPattern, BadTemplate};
use consign_core::view::BadView;
use thiserror::Error;

use super::owner::BadOwner;

/// A place in a config file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The file, as it was named.
    pub(crate) file: String,
    /// The line, counted from 1, where it is known.
    pub(crate) line: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.file),
            None => f.write_str(&self.file),
        }
    }
}

/// Why a config is refused.
#[derive(Debug, Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the config {}: {source}; hint: name another with --config", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is not TOML.
    #[error("{place}: {what}; hint: {hint}")]
    Syntax {
        /// Where.
        place: Place,
        /// What the parser says.
        what: String,
        /// What to do.
        hint: &'static str,
    },
    /// No version has this key.
    #[error("{place}: unknown key {key}; hint: {guess}")]
    Unknown {
        /// Where.
        place: Place,
        /// The key.
        key: String,
        /// The known one of the same table that is spelled like it, else all of them.
        guess: String,
    },
    /// This version does not have this key.
    #[error("{place}: {key} is not implemented yet in this version; hint: remove it")]
    Later {
        /// Where.
        place: Place,
        /// The key.
        key: String,
    },
    /// This version does not have this value.
    #[error(
        "{place}: {key} = {value:?} is not implemented yet in this version; hint: remove it, or write {now:?}"
    )]
    LaterValue {
        /// Where.
        place: Place,
        /// The key.
        key: String,
        /// Its value.
        value: String,
        /// The only value of this version.
        now: &'static str,
    },
    /// A key that must be there is not.
    #[error("{place}: {key} is missing; hint: it has no default, write it")]
    Missing {
        /// Where its table is.
        place: Place,
        /// The key.
        key: String,
    },
    /// A value cannot be read as what its key takes.
    #[error("{place}: {key}: {what}")]
    Type {
        /// Where.
        place: Place,
        /// The key.
        key: String,
        /// What was expected, and a hint.
        what: String,
    },
    /// A value can be read but not used.
    #[error("{place}: {key}: {problem}")]
    Value {
        /// Where.
        place: Place,
        /// The key.
        key: String,
        /// What is wrong with it.
        problem: Box<Problem>,
    },
}

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum Problem {
    /// A name of a node or a feed.
    #[error(transparent)]
    Name(#[from] BadName),
    /// A template of a key or a layout.
    #[error(transparent)]
    Template(#[from] BadTemplate),
    /// A pattern over producers.
    #[error(transparent)]
    Pattern(#[from] BadPattern),
    /// A member, or all of them together.
    #[error(transparent)]
    View(#[from] BadView),
    /// An owner of published files.
    #[error(transparent)]
    Owner(#[from] BadOwner),
    /// A pattern over watched files.
    #[error("{pattern:?} is no pattern of files: {why}; hint: such as \"**/*.jpg\"")]
    Glob {
        /// The pattern.
        pattern: String,
        /// What the matcher says.
        why: String,
    },
    /// A member is forgotten before its files were placed elsewhere.
    #[error(
        "a member is replaced first and forgotten when it does not come back; hint: make it longer than membership.replace_after"
    )]
    ForgottenTooSoon,
    /// A list that matches nothing at all.
    #[error("the list is empty; hint: name something, or remove the key for everything")]
    EmptyList,
    /// A value that this key never takes.
    #[error("{value} is not known; hint: write {now:?}")]
    Only {
        /// The value.
        value: String,
        /// The only value of this version.
        now: &'static str,
    },
    /// No `host:port`.
    #[error("{value:?} is no address; hint: write host:port, such as 10.0.0.5:7420 or [::1]:7420")]
    HostPort {
        /// The value.
        value: String,
    },
    /// Nobody can connect to this address.
    #[error(
        "nobody can connect to {addr}; hint: set listen.advertise to what other nodes connect to"
    )]
    NotReachable {
        /// The address.
        addr: String,
    },
    /// It belongs to another kind of membership.
    #[error("it is for membership.kind = {kind:?}; hint: set that kind, or remove this")]
    OtherKind {
        /// The kind that has this key.
        kind: &'static str,
    },
    /// No way to reach etcd.
    #[error("{value:?} is no endpoint of etcd; hint: write http://host:port or https://host:port")]
    Endpoint {
        /// The value.
        value: String,
    },
    /// This program was built without etcd.
    #[cfg_attr(feature = "etcd", allow(dead_code))]
    #[error(
        "this consign was built without etcd; hint: build it with the feature etcd, or use another kind"
    )]
    NoEtcd,
    /// No name for keys of etcd.
    #[error(
        "{value:?} is no prefix; hint: begin it with a slash and end it without, such as \"/consign/prod\""
    )]
    Prefix {
        /// The value.
        value: String,
    },
    /// Two members cannot both answer there.
    #[error("{addr} is the address of {other} already; hint: give each member its own")]
    SameAddress {
        /// The address.
        addr: String,
        /// The member that is listed with it first.
        other: NodeName,
    },
    /// The address goes beyond this machine, and nothing would be encrypted.
    #[error(
        "{addr} goes beyond this machine, and [tls] names no keys; hint: `consign keys init` makes the cluster's authority, once, and `consign keys issue {node}` this node's bundle, to be named as tls.bundle; or set tls.plaintext = true to send files unencrypted and to take them from anybody who connects"
    )]
    Exposed {
        /// The address.
        addr: String,
        /// This node.
        node: NodeName,
    },
    /// Two keys of which only one can be meant.
    #[error("it cannot be set together with {other}; hint: remove one of the two")]
    Instead {
        /// The other one.
        other: &'static str,
    },
    /// Anyone on the network could ask over HTTP; plaintext between nodes does not change that.
    #[error(
        "{addr} is not a loopback address, and this version serves HTTP only there; hint: use 127.0.0.1:{port} and a proxy or a tunnel"
    )]
    HttpExposed {
        /// The address.
        addr: String,
        /// Its port.
        port: u16,
    },
    /// A path that depends on where the agent was started.
    #[error("{path:?} is a relative path; hint: write it from '/' on")]
    Relative {
        /// The path.
        path: String,
    },
    /// A path that climbs.
    #[error("{path:?} has a '..' in it; hint: write where it leads")]
    Climbs {
        /// The path.
        path: String,
    },
    /// Two directories of which one is in the other, or that are the same.
    #[error(
        "{path:?} and {other_key} {other:?} lie in one another; hint: use directories apart, or files would be taken for others"
    )]
    Overlap {
        /// The path.
        path: PathBuf,
        /// The other one's key.
        other_key: String,
        /// The other one.
        other: PathBuf,
    },
    /// A feed that is configured twice.
    #[error("feed {feed} is there already, in {other_key}; hint: one table for each feed")]
    DuplicateFeed {
        /// The feed.
        feed: FeedName,
        /// The first table's key.
        other_key: String,
    },
    /// A key that means nothing without another.
    #[error("it means nothing without {needs}; hint: set that too, or remove this")]
    Without {
        /// What is not there.
        needs: &'static str,
    },
    /// Nowhere to archive to.
    #[error(
        "there is nowhere to archive to; hint: set archive_dir, or watch, whose .consign/archive is the default"
    )]
    NoArchive,
    /// A time that would keep the agent busy doing nothing else.
    #[error("it is too short; hint: use at least {min}")]
    TooShort {
        /// The least.
        min: &'static str,
    },
    /// No permission bits.
    #[error("{value:?} are no permissions; hint: write them in octal, from \"0000\" to \"0777\"")]
    Mode {
        /// The value.
        value: String,
    },
    /// Different weights for different feeds.
    #[error(
        "the weight is {weight} here and {other} in {other_key}; hint: a node has one weight in this version, write the same"
    )]
    Weights {
        /// This weight.
        weight: u32,
        /// The other.
        other: u32,
        /// The other's key.
        other_key: String,
    },
    /// The list of members says of this node what it does not say of itself.
    #[error(
        "{node} is this node, and what is listed differs from its own {own_key}; hint: make them equal, other nodes believe the list"
    )]
    OwnEntry {
        /// This node.
        node: NodeName,
        /// Where it says otherwise.
        own_key: &'static str,
    },
}
