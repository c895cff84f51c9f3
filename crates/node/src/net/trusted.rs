//! Who may have which connection with whom, by their certificates.

use consign_core::ids::NodeName;
use consign_core::wire::Purpose;

use crate::identity::{Peer, Role};

/// The two ends of a connection, each with its certificate.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends<'a> {
    /// Who dialled.
    pub(super) dialler: (&'a NodeName, &'a Peer),
    /// Who was dialled.
    pub(super) dialled: (&'a NodeName, &'a Peer),
}

/// Whether both may: transfers are between a producer and its consumers, and bytes of files also come
/// from consumers, who pass them on. Both ends ask, so that none has to trust that the other did.
///
/// # Errors
/// The reason, for both.
pub(super) fn check(purpose: Purpose, ends: Ends<'_>) -> Result<(), String> {
    let Ends { dialler, dialled } = ends;
    if purpose == Purpose::Gossip {
        // Every node may hear and say who the members are.
        return Ok(());
    }
    if !dialled.1.may(Role::Consumer) {
        return Err(lacks(dialled, "consumer", "takes no files"));
    }
    let may = |role| dialler.1.may(role);
    match purpose {
        Purpose::Control | Purpose::Audit if !may(Role::Producer) => {
            Err(lacks(dialler, "producer", "sends no files"))
        }
        Purpose::Chunks | Purpose::Smalls if !may(Role::Producer) && !may(Role::Consumer) => {
            Err(lacks(dialler, "producer or consumer", "brings no files"))
        }
        Purpose::Control | Purpose::Audit | Purpose::Chunks | Purpose::Smalls | Purpose::Gossip => {
            Ok(())
        }
    }
}

fn lacks((node, peer): (&NodeName, &Peer), role: &str, so: &str) -> String {
    format!(
        "{node} {so}: its certificate gives it the roles {} and not {role}; hint: if it should, \
         `consign keys issue {node} --roles …` and give it that bundle",
        peer.roles()
    )
}
