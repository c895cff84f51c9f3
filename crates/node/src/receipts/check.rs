//! The check of a document, with nothing at hand but it and an authority.

use consign_core::ids::{Digest, NodeName, TransferId};
use consign_core::receipt::{self, Hash, Statement};
use thiserror::Error;

use super::document::{Document, FORMAT, Receipt, unhex, unhex_hash};
use crate::identity::{Authorities, BadEvidence, Signed};

/// Why a document cannot be checked at all.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum BadDocument {
    /// It is something else, or of a later version.
    #[error(
        "its format is {0:?}, and not {FORMAT:?}; hint: give it what `consign receipt ID` printed, or use the version of consign that printed it"
    )]
    Format(String),
    /// A field of the file is not one.
    #[error("its {field} {given:?} is none; hint: it was changed after it was exported")]
    Field {
        /// The field.
        field: &'static str,
        /// What it holds.
        given: String,
    },
    /// Nobody has signed anything.
    #[error("there is no receipt in it; hint: export it again once `consign show` says saved")]
    Empty,
}

/// Why one receipt does not prove what it says.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum Unproven {
    /// Its consumer has another one before it.
    #[error("{0} has signed twice in it, which no export holds")]
    Twice(String),
    /// A field is not what it should be.
    #[error("its {0} cannot be read")]
    Field(&'static str),
    /// Its path leads nowhere.
    #[error("its path does not begin at file {index} of {count}")]
    Path {
        /// The file.
        index: u64,
        /// Of how many.
        count: u64,
    },
    /// It is not signed as it should be; this is also what a changed file, path or place looks like.
    #[error("{0}")]
    Evidence(#[from] BadEvidence),
}

/// What is proven, or why not, for one receipt.
#[derive(Debug)]
pub(crate) struct Proven<'a> {
    /// The receipt.
    pub(crate) receipt: &'a Receipt,
    /// Why not.
    pub(crate) outcome: Result<(), Unproven>,
}

/// Checks every receipt of a document. What a receipt is of is computed from the file that the document
/// names, and never taken from it.
///
/// # Errors
/// [`BadDocument`] when no receipt can be looked at.
pub(crate) fn check<'a>(
    document: &'a Document,
    authorities: &Authorities,
) -> Result<Vec<Proven<'a>>, BadDocument> {
    let leaf = leaf(document)?;
    let all = &document.receipts;
    if all.is_empty() {
        return Err(BadDocument::Empty);
    }
    let checked = all.iter().enumerate().map(|(at, receipt)| {
        let twice = all[..at].iter().any(|one| one.consumer == receipt.consumer);
        let outcome = match twice {
            true => Err(Unproven::Twice(receipt.consumer.clone())),
            false => check_one(leaf, receipt, authorities),
        };
        Proven { receipt, outcome }
    });
    Ok(checked.collect())
}

/// The BLAKE3 that a document names.
///
/// # Errors
/// [`BadDocument::Field`].
pub(crate) fn digest(document: &Document) -> Result<Digest, BadDocument> {
    let hash = unhex_hash(&document.digest).map(Digest);
    hash.ok_or_else(|| BadDocument::Field {
        field: "digest",
        given: document.digest.clone(),
    })
}

fn leaf(document: &Document) -> Result<Hash, BadDocument> {
    if document.format != FORMAT {
        return Err(BadDocument::Format(document.format.clone()));
    }
    let id = document.transfer.parse().ok();
    // As it was exported, and in no other spelling.
    let id = id.filter(|id: &TransferId| id.to_string() == document.transfer);
    let id = id.ok_or_else(|| BadDocument::Field {
        field: "transfer",
        given: document.transfer.clone(),
    })?;
    let Document {
        feed, name, size, ..
    } = document;
    Ok(receipt::leaf(&id, feed, name, *size, &digest(document)?))
}

fn check_one(leaf: Hash, receipt: &Receipt, authorities: &Authorities) -> Result<(), Unproven> {
    let path = receipt.path.iter().map(|hash| unhex_hash(hash));
    let path: Option<Vec<Hash>> = path.collect();
    let path = path.ok_or(Unproven::Field("path"))?;
    let &Receipt { index, count, .. } = receipt;
    let root = receipt::root_of(leaf, index, count, &path);
    let root = root.ok_or(Unproven::Path { index, count })?;
    let consumer =
        NodeName::new(receipt.consumer.as_str()).map_err(|_| Unproven::Field("consumer"))?;
    let signature = unhex(&receipt.signature).ok_or(Unproven::Field("signature"))?;
    let statement = Statement {
        cluster: unhex_hash(&receipt.cluster).ok_or(Unproven::Field("cluster"))?,
        consumer: &receipt.consumer,
        incarnation: receipt.incarnation,
        at: receipt.at,
        count,
        root,
    };
    let signed = Signed {
        statement,
        consumer: &consumer,
        scheme: receipt.scheme,
        signature: &signature,
        certificates: &receipt.certificates,
    };
    Ok(authorities.check(&signed)?)
}
