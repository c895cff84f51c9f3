//! The node's keys at its start: read, checked, and with them the revocation list that is in force.

use std::sync::Arc;

use anyhow::anyhow;

use crate::config::Config;
use crate::identity::{KeyError, Keyring, Keys, Role};
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

/// Takes them into use, if there are any.
///
/// # Errors
/// What is wrong with them; ends in a hint.
pub(super) fn open(config: &Config, problems: &Problems) -> anyhow::Result<Option<Arc<Keyring>>> {
    let Some(keys) = read(config)? else {
        return Ok(None);
    };
    let (keyring, trouble) = Keyring::open(keys, &config.node.data_dir);
    if let Some(trouble) = trouble {
        tracing::warn!("{trouble}");
        problems.add_text(&trouble);
    }
    if let Some(list) = keyring.named_list() {
        let in_force = keyring.take_over(list.as_bytes())?;
        if let Some(error) = in_force.and_then(|in_force| in_force.not_kept) {
            return Err(anyhow!(
                "cannot keep the revocation list in {}: {error}; hint: make room there",
                config.node.data_dir.display()
            ));
        }
    }
    let list = keyring.revoked().number();
    if keyring.own_revoked() {
        let node = &config.node.name;
        return Err(anyhow!(
            "the certificate of this node, {node}, is revoked by list {list}; hint: if it still belongs to the cluster, `consign keys issue {node}` and give it the new bundle"
        ));
    }
    tracing::info!(
        revocation_list = list,
        "connections to other nodes are encrypted, and both ends show certificates"
    );
    Ok(Some(Arc::new(keyring)))
}
