//! Where the members are learned from.

use consign_core::ids::NodeName;

use std::path::PathBuf;

use super::super::error::{ConfigError, Problem};
use super::super::outline::Outline;
use super::super::raw::{self, MembershipKind};
use super::super::{EtcdConfig, HostPort, Source};
use super::paths::absolute;
use super::{address, numbered};

/// What the keys of a cluster begin with when it says nothing of that.
const PREFIX_DEFAULT: &str = "/consign";

/// Checks the keys of the kind that was chosen, and that there are none of another.
pub(super) fn check(
    raw: raw::Membership,
    has_nodes: bool,
    outline: &Outline<'_>,
) -> Result<Source, ConfigError> {
    refuse_others(&raw, has_nodes, outline)?;
    match raw.kind {
        MembershipKind::Static => Ok(Source::Static),
        MembershipKind::Gossip => {
            let seeds = numbered("membership.seeds", raw.seeds.unwrap_or_default());
            let seeds = seeds.map(|(key, text)| {
                let addr = address(&text, "membership.seeds", outline)?;
                match addr.is_wildcard() || addr.port == 0 {
                    true => Err(outline.refuse(&key, Problem::NotReachable { addr: text })),
                    false => Ok(addr),
                }
            });
            let seeds = seeds.collect::<Result<_, _>>()?;
            Ok(Source::Gossip { seeds })
        }
        MembershipKind::Etcd => etcd(raw, outline).map(Source::Etcd),
    }
}

/// Refuses keys of another kind: whoever wrote them means something that would not happen.
fn refuse_others(
    raw: &raw::Membership,
    has_nodes: bool,
    outline: &Outline<'_>,
) -> Result<(), ConfigError> {
    let keys = [
        ("nodes", has_nodes, MembershipKind::Static),
        ("seeds", raw.seeds.is_some(), MembershipKind::Gossip),
        ("endpoints", raw.endpoints.is_some(), MembershipKind::Etcd),
        ("prefix", raw.prefix.is_some(), MembershipKind::Etcd),
        ("user", raw.user.is_some(), MembershipKind::Etcd),
        (
            "password_file",
            raw.password_file.is_some(),
            MembershipKind::Etcd,
        ),
        ("ca", raw.ca.is_some(), MembershipKind::Etcd),
        ("cert", raw.cert.is_some(), MembershipKind::Etcd),
        ("key", raw.key.is_some(), MembershipKind::Etcd),
    ];
    let other = keys
        .into_iter()
        .find(|(_, is_set, kind)| *is_set && *kind != raw.kind);
    let Some((key, _, kind)) = other else {
        return Ok(());
    };
    let kind = match kind {
        MembershipKind::Static => "static",
        MembershipKind::Gossip => "gossip",
        MembershipKind::Etcd => "etcd",
    };
    Err(outline.refuse(&format!("membership.{key}"), Problem::OtherKind { kind }))
}

fn etcd(raw: raw::Membership, outline: &Outline<'_>) -> Result<EtcdConfig, ConfigError> {
    if cfg!(not(feature = "etcd")) {
        return Err(outline.refuse("membership.kind", Problem::NoEtcd));
    }
    let endpoints = raw.endpoints.unwrap_or_default();
    if endpoints.is_empty() {
        let problem = Problem::Without {
            needs: "membership.endpoints",
        };
        return Err(outline.refuse("membership.kind", problem));
    }
    for value in &endpoints {
        if host_of(value).is_none() {
            let value = value.clone();
            return Err(outline.refuse("membership.endpoints", Problem::Endpoint { value }));
        }
    }
    let prefix = raw.prefix.unwrap_or_else(|| PREFIX_DEFAULT.to_owned());
    let is_clean = |c: char| c.is_ascii_graphic();
    if !prefix.starts_with('/')
        || prefix.ends_with('/')
        || prefix.len() > 255
        || !prefix.chars().all(is_clean)
    {
        return Err(outline.refuse("membership.prefix", Problem::Prefix { value: prefix }));
    }
    let path = |value: Option<String>, key: &str| -> Result<Option<PathBuf>, ConfigError> {
        value
            .map(|value| absolute(&value, key, outline))
            .transpose()
    };
    let password_file = path(raw.password_file, "membership.password_file")?;
    let cert = path(raw.cert, "membership.cert")?;
    let key = path(raw.key, "membership.key")?;
    let ca = path(raw.ca, "membership.ca")?;
    let config = EtcdConfig {
        endpoints,
        prefix,
        login: both(
            ("membership.user", raw.user),
            ("membership.password_file", password_file),
            outline,
        )?,
        ca,
        identity: both(("membership.cert", cert), ("membership.key", key), outline)?,
    };
    let is_encrypted = |at: &String| host_of(at).is_some_and(|(_, encrypted)| encrypted);
    if config.ca.is_none() && config.endpoints.iter().any(is_encrypted) {
        let needs = "membership.ca";
        return Err(outline.refuse("membership.endpoints", Problem::Without { needs }));
    }
    Ok(config)
}

/// Two keys that mean nothing without one another.
fn both<A, B>(
    (a_key, a): (&'static str, Option<A>),
    (b_key, b): (&'static str, Option<B>),
    outline: &Outline<'_>,
) -> Result<Option<(A, B)>, ConfigError> {
    match (a, b) {
        (Some(a), Some(b)) => Ok(Some((a, b))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(outline.refuse(a_key, Problem::Without { needs: b_key })),
        (None, Some(_)) => Err(outline.refuse(b_key, Problem::Without { needs: a_key })),
    }
}

/// The address in an endpoint, and whether the way there is encrypted.
fn host_of(endpoint: &str) -> Option<(HostPort, bool)> {
    let (rest, is_encrypted) = match endpoint.strip_prefix("https://") {
        Some(rest) => (rest, true),
        None => (endpoint.strip_prefix("http://")?, false),
    };
    Some((HostPort::parse(rest).ok()?, is_encrypted))
}

/// Refuses to learn of members over a network where anybody could tell lies.
pub(super) fn check_loopback(
    node: &NodeName,
    source: &Source,
    outline: &Outline<'_>,
) -> Result<(), ConfigError> {
    let exposed = match source {
        Source::Static => None,
        Source::Gossip { seeds } => {
            let seed = seeds.iter().find(|seed| !seed.is_loopback());
            seed.map(|seed| ("membership.seeds", seed.to_string()))
        }
        Source::Etcd(etcd) => {
            let endpoint = etcd.endpoints.iter().find(|endpoint| {
                host_of(endpoint).is_some_and(|(host, encrypted)| !encrypted && !host.is_loopback())
            });
            endpoint.map(|endpoint| ("membership.endpoints", endpoint.clone()))
        }
    };
    match exposed {
        None => Ok(()),
        Some((key, addr)) => Err(outline.refuse(
            key,
            Problem::Exposed {
                addr,
                node: node.clone(),
            },
        )),
    }
}
