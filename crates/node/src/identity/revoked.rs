//! The list of certificates that an authority has taken back: numbered, and signed by its key.
//!
//! ```text
//! consign revoked 1
//! number 3
//! cam-7 12
//! store-2 5
//! signature 5b3c…
//! ```
//! Every certificate of `cam-7` that this authority has issued, up to number 12, is void; one that is
//! issued later is good. A list replaces every list of the same authority with a lower number. The
//! signature is Ed25519 over all lines before it, so a list may come from anywhere.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use consign_core::ids::NodeName;
use rustls::pki_types::CertificateDer;
use thiserror::Error;
use webpki::EndEntityCert;

use super::bounds::REVOKED_BYTES_MAX;
use super::peer::Peer;
use super::token::Fingerprint;

/// The first line: also what keeps a signature over a list from being one over anything else.
pub(super) const FIRST_LINE: &str = "consign revoked 1";

/// Why a list is not believed. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum BadList {
    /// It is none.
    #[error(
        "it is no revocation list: {0}; hint: copy `revoked` from the authority's directory again"
    )]
    Form(String),
    /// Nobody whom we believe has signed it.
    #[error(
        "the revocation list is not signed by this cluster's authority; hint: copy `revoked` from its directory again, or look at who offers another"
    )]
    Signature,
}

/// A revocation list whose signature was checked, or the one without entries that every authority
/// begins with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Revoked {
    /// Who has signed it; `None` while nobody has.
    authority: Option<Fingerprint>,
    number: u64,
    /// Each node's highest number that is void.
    through: BTreeMap<NodeName, u64>,
    text: String,
}

impl Revoked {
    /// Reads a list, and checks that one of these authorities has signed it.
    ///
    /// # Errors
    /// [`BadList`].
    pub(super) fn read(bytes: &[u8], authorities: &[CertificateDer<'_>]) -> Result<Self, BadList> {
        let form = |what: &str| BadList::Form(what.to_owned());
        if bytes.len() > REVOKED_BYTES_MAX {
            return Err(form("it is too long"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| form("it is not text"))?;
        let at = text
            .rfind("signature ")
            .ok_or_else(|| form("it ends before its signature"))?;
        let (signed, last) = text.split_at(at);
        let signature = last
            .strip_prefix("signature ")
            .and_then(|hex| from_hex(hex.trim_end()))
            .ok_or_else(|| form("its signature is no number"))?;
        let mut authorities = authorities.iter();
        let signer = authorities.find(|authority| {
            EndEntityCert::try_from(*authority).is_ok_and(|authority| {
                let algorithm = webpki::aws_lc_rs::ED25519;
                authority
                    .verify_signature(algorithm, signed.as_bytes(), &signature)
                    .is_ok()
            })
        });
        let authority = Fingerprint::of(signer.ok_or(BadList::Signature)?);
        let (number, through) = parse(signed).ok_or_else(|| form("a line is not understood"))?;
        Ok(Self {
            authority,
            number,
            through,
            // Others stand behind it, so its last line ends, however it came.
            text: format!("{}\n", text.trim_end()),
        })
    }

    /// The list with one entry more and the next number, signed.
    ///
    /// # Errors
    /// What `sign` says.
    pub(super) fn with<E>(
        &self,
        node: &NodeName,
        through: u64,
        sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
    ) -> Result<Self, E> {
        let mut next = self.clone();
        next.number += 1;
        next.through.insert(node.clone(), through);
        let mut text = format!("{FIRST_LINE}\nnumber {}\n", next.number);
        for (node, through) in &next.through {
            let _ = writeln!(text, "{node} {through}");
        }
        let signature = sign(text.as_bytes())?;
        text += "signature ";
        for byte in signature {
            let _ = write!(text, "{byte:02x}");
        }
        next.text = text + "\n";
        Ok(next)
    }

    /// Who has signed it, by their key.
    pub(super) fn authority(&self) -> Option<Fingerprint> {
        self.authority
    }

    /// Its number; 0 when there is none.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// As it is written and sent.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Through which number the certificates of a node are void; 0 for none of them.
    pub(super) fn through(&self, node: &NodeName) -> u64 {
        self.through.get(node).copied().unwrap_or_default()
    }

    /// The number of somebody's certificate, if it is void: provided that this list's authority is the
    /// one that has issued it.
    pub(super) fn covers(&self, peer: &Peer) -> Option<u64> {
        let (node, serial) = (peer.node()?, peer.serial?);
        (serial <= self.through(node)).then_some(serial)
    }
}

fn parse(signed: &str) -> Option<(u64, BTreeMap<NodeName, u64>)> {
    let mut lines = signed.lines();
    if lines.next()? != FIRST_LINE {
        return None;
    }
    let number = lines.next()?.strip_prefix("number ")?.parse().ok()?;
    let entry = |line: &str| {
        let (node, through) = line.split_once(' ')?;
        Some((NodeName::new(node).ok()?, through.parse().ok()?))
    };
    Some((number, lines.map(entry).collect::<Option<_>>()?))
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let is_hex = digits.len().is_multiple_of(2) && digits.iter().all(u8::is_ascii_hexdigit);
    is_hex.then(|| digits.chunks(2).map(byte).collect())?
}
