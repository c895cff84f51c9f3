//! Who a node is, and how it knows who others are: keys, certificates, and the cluster's own
//! authority.
//!
//! A certificate names a node and its roles, and is believed for its authority's signature. Nothing
//! here reads a clock: a machine may come back after any absence, and with any date. What ends trust
//! is a [revocation list](revoked), not a date.
//!
//! Deliberately absent: sockets. What is here makes and judges certificates; `net` carries them.

mod authority;
mod bounds;
mod bundle;
mod certificate;
mod door;
mod evidence;
mod files;
mod invitations;
mod inviting;
mod keyring;
mod keys;
mod lists;
mod newcomer;
mod peer;
mod receipts;
mod revoked;
mod roles;
mod severed;
#[cfg(test)]
pub(crate) mod tests;
mod token;
mod trust;
mod verify;

pub(crate) use authority::{Authority, AuthorityError, Issued};
pub(crate) use bounds::AUTHORITIES_MAX;
pub(crate) use bundle::{KeyFiles, to_pem};
pub(crate) use door::{Door, DoorError, JOIN_PROTOCOL, Said};
pub(crate) use evidence::{Authorities, BadEvidence, Signed};
pub(crate) use invitations::Invitation;
pub(crate) use inviting::{Admitted, NotAdmitted};
pub(crate) use keyring::{Keyring, NODE_PROTOCOL};
pub(crate) use keys::{KeyError, Keys};
pub(crate) use newcomer::{Newcomer, NewcomerError, Prepared};
pub(crate) use peer::Peer;
pub(crate) use receipts::Signatures;
pub(crate) use revoked::BadList;
pub(crate) use roles::{BadRole, Role, Roles};
pub(crate) use severed::{Cut, Severed};
pub(crate) use token::{BadToken, Token};
pub(crate) use verify::{Refused, Verifier};
