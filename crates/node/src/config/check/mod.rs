//! Makes a checked config of a written one. Each part is checked by itself, then against the rest.

mod consume;
mod members;
pub(super) mod paths;
mod produce;
mod source;
mod tls;

use std::collections::BTreeMap;
use std::time::Duration;

use consign_core::ids::{FeedName, NodeName};

use super::error::{ConfigError, Problem};
use super::outline::Outline;
use super::raw;
use super::units::Deadline;
use super::{Config, HostPort, Listen, Node};

/// Thirty days: long enough to ask last month's question.
const HISTORY_DEFAULT: Duration = Duration::from_secs(30 * 86_400);

/// Ten minutes: longer than a reboot, shorter than a night.
const REPLACE_AFTER_DEFAULT: Duration = Duration::from_secs(600);

/// The weight of a node that says nothing of it, so that others can be lighter or heavier.
const WEIGHT_DEFAULT: u32 = 100;

/// Checks everything.
pub(super) fn check(file: raw::File, outline: &Outline<'_>) -> Result<Config, ConfigError> {
    let name = NodeName::new(&file.node.name).map_err(|bad| outline.refuse("node.name", bad))?;
    let node = Node {
        name,
        zone: file.node.zone,
        data_dir: paths::absolute(&file.node.data_dir, "node.data_dir", outline)?,
        history: deadline(file.node.history, Some(HISTORY_DEFAULT)),
    };
    let replace_after = deadline(file.membership.replace_after, Some(REPLACE_AFTER_DEFAULT));
    let forget_after = deadline(file.membership.forget_after, None);
    if let (Some(forget), Some(replace)) = (forget_after, replace_after)
        && forget <= replace
    {
        return Err(outline.refuse("membership.forget_after", Problem::ForgottenTooSoon));
    }
    let produce = numbered("produce", file.produce)
        .map(|(at, raw)| produce::check(raw, &at, replace_after, outline))
        .collect::<Result<Vec<_>, _>>()?;
    let consume = numbered("consume", file.consume)
        .map(|(at, raw)| consume::check(raw, &at, outline))
        .collect::<Result<Vec<_>, _>>()?;
    once(
        "produce",
        produce.iter().map(|table| &table.policy.feed),
        outline,
    )?;
    once(
        "consume",
        consume.iter().map(|table| &table.policy.feed),
        outline,
    )?;
    paths::apart(&node, &produce, &consume, outline)?;

    let mut raw_membership = file.membership;
    let listed = members::listed(std::mem::take(&mut raw_membership.nodes), outline)?;
    let source = source::check(raw_membership, !listed.is_empty(), outline)?;
    let listen = check_listen(file.listen, &listed, &node, outline)?;
    let tls = tls::check(file.tls, outline)?;
    if tls.keys.is_none() && !tls.plaintext {
        check_loopback(&node, &listen, &listed, outline)?;
        source::check_loopback(&node.name, &source, outline)?;
    }
    let own = members::own_member(&node, &listen, &consume, outline)?;
    let nodes = members::with_own(listed, &own, &consume, outline)?;
    let membership = super::Membership {
        source,
        nodes,
        own,
        replace_after,
        forget_after,
    };
    Ok(Config {
        node,
        listen,
        tls,
        membership,
        produce,
        consume,
    })
}

/// Tables with their keys, counted from 1.
fn numbered<T>(table: &str, raw: Vec<T>) -> impl Iterator<Item = (String, T)> {
    (1..)
        .zip(raw)
        .map(move |(count, raw)| (format!("{table}[{count}]"), raw))
}

fn deadline(written: Option<Deadline>, default: Option<Duration>) -> Option<Duration> {
    written.map_or(default, |Deadline(written)| written)
}

/// Refuses a feed that is there twice.
fn once<'a>(
    table: &str,
    feeds: impl Iterator<Item = &'a FeedName>,
    outline: &Outline<'_>,
) -> Result<(), ConfigError> {
    let mut seen = BTreeMap::new();
    (1..)
        .zip(feeds)
        .try_for_each(|(count, feed)| match seen.insert(feed, count) {
            None => Ok(()),
            Some(first) => {
                let other_key = format!("{table}[{first}]");
                let problem = Problem::DuplicateFeed {
                    feed: feed.clone(),
                    other_key,
                };
                Err(outline.refuse(&format!("{table}[{count}].feed"), problem))
            }
        })
}

fn address(text: &str, key: &str, outline: &Outline<'_>) -> Result<HostPort, ConfigError> {
    HostPort::parse(text).map_err(|problem| outline.refuse(key, problem))
}

/// What others connect to is what is said here, or else what the list of members says of this
/// node, or else where it listens.
fn check_listen(
    raw: raw::Listen,
    listed: &[members::Listed],
    node: &Node,
    outline: &Outline<'_>,
) -> Result<Listen, ConfigError> {
    let optional =
        |text: Option<String>, key| text.map(|text| address(&text, key, outline)).transpose();
    let peer = address(&raw.peer, "listen.peer", outline)?;
    let own = listed.iter().find(|entry| entry.member.name == node.name);
    let (key, advertise) = match (optional(raw.advertise, "listen.advertise")?, own) {
        (Some(said), _) => ("listen.advertise".to_owned(), said),
        (None, Some(own)) => (own.addr_key(), own.addr.clone()),
        (None, None) => ("listen.peer".to_owned(), peer.clone()),
    };
    if advertise.is_wildcard() {
        let addr = advertise.to_string();
        return Err(outline.refuse(&key, Problem::NotReachable { addr }));
    }
    let http = optional(raw.http, "listen.http")?;
    if let Some(http) = http.as_ref().filter(|http| !http.is_loopback()) {
        let (addr, port) = (http.to_string(), http.port);
        return Err(outline.refuse("listen.http", Problem::HttpExposed { addr, port }));
    }
    Ok(Listen {
        peer,
        advertise,
        http,
    })
}

/// Refuses to send anything unencrypted beyond this machine.
fn check_loopback(
    node: &Node,
    listen: &Listen,
    listed: &[members::Listed],
    outline: &Outline<'_>,
) -> Result<(), ConfigError> {
    let own = [
        ("listen.peer", &listen.peer),
        ("listen.advertise", &listen.advertise),
    ];
    let own = own.into_iter().map(|(key, addr)| (key.to_owned(), addr));
    let others = listed.iter().map(|entry| (entry.addr_key(), &entry.addr));
    match own.chain(others).find(|(_, addr)| !addr.is_loopback()) {
        None => Ok(()),
        Some((key, addr)) => Err(outline.refuse(
            &key,
            Problem::Exposed {
                addr: addr.to_string(),
                node: node.name.clone(),
            },
        )),
    }
}
