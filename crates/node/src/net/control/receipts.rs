//! Checks the receipts that consumers give, before anybody counts on them. What is not checked is
//! taken off them, so that whatever proof is found in the log was one when it was written.

use consign_core::ids::NodeName;
use consign_core::wire::{Message, PROTOCOL_VERSION_RECEIPTS};

use crate::identity::Signatures;

/// What a connection's first words have shown of the peer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shown<'a> {
    /// The protocol version that both speak.
    pub(super) version: u32,
    /// Its certificates; `None` where nothing is encrypted.
    pub(super) signatures: Option<&'a Signatures>,
}

/// Checks the receipt in a message of `node`, if there is one: where it has a certificate, it has to
/// be signed. A version that does not know leaves is believed without, as before.
///
/// # Errors
/// What the receipt is or does, as the end of a sentence.
pub(super) fn check(
    node: &NodeName,
    shown: Shown<'_>,
    message: &mut Message,
) -> Result<(), String> {
    let Some((receipt, slots)) = message.receipt_mut() else {
        return Ok(());
    };
    if receipt.consumer != node.as_str() {
        return Err("is in another node's name".to_owned());
    }
    if shown.version < PROTOCOL_VERSION_RECEIPTS {
        *receipt = std::mem::take(receipt).unsigned();
        return Ok(());
    }
    receipt.certificates.clear();
    if receipt.leaves.is_empty() || !slots.is_some_and(|slots| receipt.is_of(slots)) {
        return Err("is not one of the files that it comes with".to_owned());
    }
    let Some(signatures) = shown.signatures else {
        let leaves = std::mem::take(&mut receipt.leaves);
        *receipt = std::mem::take(receipt).unsigned();
        receipt.leaves = leaves;
        return Ok(());
    };
    signatures.check(receipt).map_err(|bad| bad.to_string())
}
