//! The config as it is written: types are right, and nothing else is checked. Values that this
//! version only has one of are checked before, and not read.

use std::fmt;

use consign_core::limits::REPLICAS_MAX;
use consign_core::spec::Replicas;
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

use super::units::{Deadline, Interval, Size};

#[derive(Debug, Deserialize)]
pub(super) struct File {
    pub(super) node: Node,
    pub(super) listen: Listen,
    #[serde(default)]
    pub(super) tls: Tls,
    #[serde(default)]
    pub(super) membership: Membership,
    #[serde(default)]
    pub(super) produce: Vec<Produce>,
    #[serde(default)]
    pub(super) consume: Vec<Consume>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) zone: Option<String>,
    pub(super) data_dir: String,
    pub(super) history: Option<Deadline>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Listen {
    pub(super) peer: String,
    pub(super) advertise: Option<String>,
    pub(super) http: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Tls {
    #[serde(default)]
    pub(super) plaintext: bool,
    pub(super) bundle: Option<String>,
    pub(super) ca: Option<String>,
    pub(super) cert: Option<String>,
    pub(super) key: Option<String>,
    pub(super) revoked: Option<String>,
    pub(super) authority: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Membership {
    #[serde(default)]
    pub(super) kind: MembershipKind,
    #[serde(default)]
    pub(super) nodes: Vec<Member>,
    pub(super) seeds: Option<Vec<String>>,
    pub(super) endpoints: Option<Vec<String>>,
    pub(super) prefix: Option<String>,
    pub(super) user: Option<String>,
    pub(super) password_file: Option<String>,
    pub(super) ca: Option<String>,
    pub(super) cert: Option<String>,
    pub(super) key: Option<String>,
    pub(super) replace_after: Option<Deadline>,
    pub(super) forget_after: Option<Deadline>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum MembershipKind {
    #[default]
    Static,
    Gossip,
    Etcd,
}

#[derive(Debug, Deserialize)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) addr: String,
    pub(super) zone: Option<String>,
    pub(super) weight: Option<u32>,
    #[serde(default)]
    pub(super) feeds: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Produce {
    pub(super) feed: String,
    pub(super) watch: Option<String>,
    pub(super) include: Option<Vec<String>>,
    pub(super) settle: Option<Interval>,
    pub(super) scan_every: Option<Interval>,
    pub(super) after: Option<After>,
    pub(super) archive_dir: Option<String>,
    pub(super) replicas: Option<Copies>,
    pub(super) key: Option<String>,
    pub(super) priority: Option<i32>,
    pub(super) max_queue: Option<Size>,
    pub(super) preserve: Option<Vec<Attribute>>,
    pub(super) replace_after: Option<Deadline>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Consume {
    pub(super) feed: String,
    pub(super) inbox: String,
    pub(super) layout: Option<String>,
    pub(super) on_conflict: Option<OnConflict>,
    pub(super) weight: Option<u32>,
    pub(super) min_free: Option<Size>,
    pub(super) owner: Option<String>,
    pub(super) mode: Option<String>,
    pub(super) from: Option<Vec<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum After {
    Delete,
    Archive,
    Keep,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Attribute {
    Mtime,
    Mode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum OnConflict {
    Rename,
    Reject,
}

/// A number of consumers, or `"all"`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Copies(pub(super) Replicas);

impl<'de> Deserialize<'de> for Copies {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CopiesVisitor).map(Self)
    }
}

struct CopiesVisitor;

impl Visitor<'_> for CopiesVisitor {
    type Value = Replicas;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a number from 1 to {REPLICAS_MAX}, or \"all\"")
    }

    fn visit_i64<E: de::Error>(self, count: i64) -> Result<Replicas, E> {
        match usize::try_from(count) {
            Ok(count @ 1..=REPLICAS_MAX) => Ok(Replicas::Count(count)),
            _ => Err(E::invalid_value(de::Unexpected::Signed(count), &self)),
        }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Replicas, E> {
        match text {
            "all" => Ok(Replicas::All),
            other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
        }
    }
}
