//! An exported document: what `consign receipt ID` prints, and all that its check needs beside an
//! authority. Fields are only ever added; `docs/operations.md` lists them.
//!
//! Read from strangers: every list has a bound that holds while it is read.

use std::fmt;
use std::marker::PhantomData;

use consign_core::receipt::Hash;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::bounds::{CERTIFICATES_MAX, PATH_MAX, RECEIPTS_MAX};

/// What [`Document::format`] says.
pub(super) const FORMAT: &str = "consign receipts 1";

/// The receipts of one transfer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Document {
    /// Always the same text: tells this document from any other.
    pub(crate) format: String,
    /// `producer.start.sequence`.
    pub(crate) transfer: String,
    /// The feed that it was sent on.
    pub(crate) feed: String,
    /// The file's name.
    pub(crate) name: String,
    /// Its length in bytes.
    pub(crate) size: u64,
    /// Its BLAKE3 in hexadecimal.
    pub(crate) digest: String,
    /// One for each consumer that has signed.
    #[serde(deserialize_with = "at_most::<_, _, RECEIPTS_MAX>")]
    pub(crate) receipts: Vec<Receipt>,
}

/// What one consumer has signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Receipt {
    /// The consumer.
    pub(crate) consumer: String,
    /// Which of its lives it was.
    pub(crate) incarnation: u64,
    /// When it had saved the batch, by its clock, in ms since the Unix epoch.
    pub(crate) at: u64,
    /// Files in the batch under one signature.
    pub(crate) count: u64,
    /// Which of them this file is, from 0.
    pub(crate) index: u64,
    /// The hashes that lead from this file to the root, from below, in hexadecimal.
    #[serde(deserialize_with = "at_most::<_, _, PATH_MAX>")]
    pub(crate) path: Vec<String>,
    /// SHA-256 of the authority's public key, in hexadecimal.
    pub(crate) cluster: String,
    /// How it is signed, as TLS numbers the schemes.
    pub(crate) scheme: u32,
    /// Over the statement, in hexadecimal.
    pub(crate) signature: String,
    /// The consumer's certificate and those above it, PEM.
    #[serde(deserialize_with = "at_most::<_, _, CERTIFICATES_MAX>")]
    pub(crate) certificates: Vec<String>,
}

/// A list of at most `MAX`: the first beyond it ends the reading.
fn at_most<'de, D: Deserializer<'de>, T: Deserialize<'de>, const MAX: usize>(
    from: D,
) -> Result<Vec<T>, D::Error> {
    struct AtMost<T, const MAX: usize>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for AtMost<T, MAX> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {MAX}")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
            let mut all = Vec::new();
            while let Some(one) = list.next_element()? {
                if all.len() >= MAX {
                    return Err(serde::de::Error::invalid_length(MAX + 1, &self));
                }
                all.push(one);
            }
            Ok(all)
        }
    }
    from.deserialize_seq(AtMost::<T, MAX>(PhantomData))
}

/// Bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Bytes that were written in hexadecimal.
pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| {
        let text = std::str::from_utf8(pair).ok()?;
        // In the one spelling in which it is exported.
        let is_hex = pair
            .iter()
            .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        is_hex.then(|| u8::from_str_radix(text, 16).ok())?
    };
    rest.is_empty()
        .then(|| pairs.iter().map(byte).collect())
        .flatten()
}

/// A hash that was written in hexadecimal.
pub(super) fn unhex_hash(text: &str) -> Option<Hash> {
    unhex(text)?.try_into().ok()
}
