//! The node's keys at its start: read, checked, and with them the revocation list that is in force.

use std::sync::Arc;

use anyhow::anyhow;

use crate::config::Config;
use crate::identity::{Door, DoorError, KeyError, Keyring, Keys, Role};
use crate::problems::Problems;

/// Reads the keys that a configuration names; `None` when it names none.
///
/// # Errors
/// [`KeyError`].
pub(super) fn read(config: &Config) -> Result<Option<Keys>, KeyError> {
    let Some(files) = &config.tls.keys else {
        return Ok(None);
    };
    let produces = (!config.produce.is_empty()).then_some((Role::Producer, "produce"));
    let consumes = (!config.consume.is_empty()).then_some((Role::Consumer, "consume"));
    let needs: Vec<_> = produces.into_iter().chain(consumes).collect();
    let revoked = config.tls.revoked.as_ref();
    Keys::read(files, revoked, &config.node.name, &needs).map(Some)
}

/// Where newcomers are let in, if a configuration says so.
///
/// # Errors
/// [`DoorError`]: nobody can join, and nothing else is wrong with the node.
pub(super) fn door(config: &Config, keys: Option<&Keys>) -> Result<Option<Door>, DoorError> {
    let authority = config.tls.authority.as_ref().zip(keys);
    authority
        .map(|(dir, keys)| Door::open(dir, keys))
        .transpose()
}

/// As [`door`], but one whose authority cannot be used now is said and stays shut: files are delivered
/// without.
///
/// # Errors
/// That it is another cluster's.
pub(super) fn door_or_none(
    config: &Config,
    keys: Option<&Keys>,
    problems: &Problems,
) -> Result<Option<Door>, DoorError> {
    problems.remove_starting(NOBODY_JOINS);
    match door(config, keys) {
        Err(DoorError::Authority(error)) => {
            let text = format!("{NOBODY_JOINS}: {error}");
            tracing::error!("{text}");
            problems.add_text(&text);
            Ok(None)
        }
        door => door,
    }
}

/// How the problem begins.
const NOBODY_JOINS: &str = "no machine can join here";

/// The node's keys, in use, and where it lets newcomers in.
pub(super) type InUse = (Option<Arc<Keyring>>, Option<Door>);

/// Takes them into use, if there are any.
///
/// # Errors
/// What is wrong with them; ends in a hint.
pub(super) fn open(config: &Config, problems: &Problems) -> anyhow::Result<InUse> {
    let Some(keys) = read(config)? else {
        return Ok((None, None));
    };
    let door = door_or_none(config, Some(&keys), problems)?;
    let (keyring, trouble) = Keyring::open(keys, &config.node.data_dir);
    if let Some(trouble) = trouble {
        tracing::warn!("{trouble}");
        problems.add_text(&trouble);
    }
    for list in keyring.named_lists() {
        let in_force = keyring.take_over(list.as_bytes())?;
        if let Some(error) = in_force.and_then(|in_force| in_force.not_kept) {
            return Err(anyhow!(
                "cannot keep the revocation list in {}: {error}; hint: make room there",
                config.node.data_dir.display()
            ));
        }
    }
    if let Some(list) = keyring.own_revoked() {
        let node = &config.node.name;
        return Err(anyhow!(
            "the certificate of this node, {node}, is revoked by list {list}; hint: if it still belongs to the cluster, `consign keys issue {node}` and give it the new bundle"
        ));
    }
    tracing::info!(
        revocation_lists = keyring.lists().count(),
        "connections to other nodes are encrypted, and both ends show certificates"
    );
    if let Some(authority) = config.tls.authority.as_ref() {
        tracing::info!(authority = %authority.display(), "machines with a token join here");
    }
    Ok((Some(Arc::new(keyring)), door))
}
