//! What is under the prefix now, as far as it can be believed.

use std::collections::{BTreeMap, BTreeSet};

use consign_core::ids::NodeName;

use super::super::announcement::Announcement;
use super::super::bounds::FORGOTTEN_MAX;
use super::keys::{Key, Keys};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) members: BTreeMap<NodeName, Announcement>,
    pub(super) forgotten: BTreeSet<NodeName>,
}

impl Known {
    /// Takes in what is at a key now; `None` when it is gone.
    pub(super) fn note(&mut self, keys: &Keys, key: &[u8], value: Option<&[u8]>) {
        match (keys.read(key), value) {
            (Some(Key::Member(name)), Some(value)) => match Announcement::read(&name, value) {
                Ok(read) => {
                    self.members.insert(read.member.name.clone(), read);
                }
                Err(error) => tracing::warn!(
                    peer = %name.escape_debug(),
                    "what a member says of itself cannot be used: {error}"
                ),
            },
            (Some(Key::Member(name)), None) => {
                if let Ok(name) = NodeName::new(&name) {
                    self.members.remove(&name);
                }
            }
            (Some(Key::Forgotten(name)), Some(_)) => {
                if self.forgotten.len() < FORGOTTEN_MAX
                    && let Ok(name) = NodeName::new(&name)
                {
                    self.forgotten.insert(name);
                }
            }
            (Some(Key::Forgotten(name)), None) => {
                if let Ok(name) = NodeName::new(&name) {
                    self.forgotten.remove(&name);
                }
            }
            // What others keep under the prefix is theirs.
            (None, _) => {}
        }
    }
}
