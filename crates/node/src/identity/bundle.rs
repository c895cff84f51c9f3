//! The files that a node's identity is in: one bundle, or three files apart.
//!
//! A bundle is PEM: the node's certificate and those above it, its private key, and last the
//! authority's certificate. Apart, `ca` may hold several authorities, of which any is believed: so
//! one can be replaced by another.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::bounds::{AUTHORITIES_MAX, PEM_BYTES_MAX};
use super::files;
use super::keys::KeyError;

/// Characters of a line of PEM (RFC 7468, section 2).
const PEM_LINE: usize = 64;

/// Where a node's identity is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeyFiles {
    /// All in one.
    Bundle(PathBuf),
    /// One file each.
    Apart {
        /// The authorities that are believed.
        ca: PathBuf,
        /// This node's certificate, and those above it.
        cert: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
}

/// What is in them.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    pub(super) authorities: Vec<CertificateDer<'static>>,
}

impl KeyFiles {
    /// The file that messages name.
    pub(super) fn shown(&self) -> &Path {
        match self {
            Self::Bundle(path) | Self::Apart { cert: path, .. } => path,
        }
    }

    /// Reads them.
    ///
    /// # Errors
    /// [`KeyError`]: what cannot be read, or that a key is open to others.
    pub(super) fn read(&self) -> Result<Parts, KeyError> {
        match self {
            Self::Bundle(path) => {
                let text = secret(path)?;
                let mut chain = certificates(path, &text)?;
                let key = private_key(path, &text)?;
                let authority = chain.pop().filter(|_| !chain.is_empty());
                let authority = authority.ok_or_else(|| KeyError::Incomplete {
                    path: path.clone(),
                    what: "its own certificate and the authority's",
                })?;
                Ok(Parts {
                    chain,
                    key,
                    authorities: vec![authority],
                })
            }
            Self::Apart { ca, cert, key } => Ok(Parts {
                chain: certificates(cert, &open(cert)?)?,
                key: private_key(key, &secret(key)?)?,
                authorities: authorities(ca)?,
            }),
        }
    }
}

/// Authorities out of a file.
///
/// # Errors
/// [`KeyError`].
pub(super) fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, KeyError> {
    let found = certificates(path, &open(path)?)?;
    match found.len() {
        0..=AUTHORITIES_MAX => Ok(found),
        count => Err(KeyError::Crowd {
            path: path.to_owned(),
            count,
        }),
    }
}

/// A certificate as PEM.
pub(crate) fn to_pem(certificate: &[u8]) -> String {
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    let coded = STANDARD.encode(certificate);
    for line in coded.as_bytes().chunks(PEM_LINE) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text + "-----END CERTIFICATE-----\n"
}

fn open(path: &Path) -> Result<Vec<u8>, KeyError> {
    let read = files::read(path, PEM_BYTES_MAX);
    read.map_err(|source| unreadable(path, source))
}

fn secret(path: &Path) -> Result<Vec<u8>, KeyError> {
    match files::exposed(path).map_err(|source| unreadable(path, source))? {
        None => open(path),
        Some(mode) => Err(KeyError::Exposed {
            path: path.to_owned(),
            mode,
        }),
    }
}

fn unreadable(path: &Path, source: io::Error) -> KeyError {
    KeyError::Read {
        path: path.to_owned(),
        source,
    }
}

fn certificates(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, KeyError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) | Err(pem::Error::NoItemsFound) => Err(KeyError::Incomplete {
            path: path.to_owned(),
            what: "a certificate",
        }),
        Err(bad) => Err(not_pem(path, &bad)),
    }
}

fn private_key(path: &Path, text: &[u8]) -> Result<PrivateKeyDer<'static>, KeyError> {
    PrivateKeyDer::from_pem_slice(text).map_err(|bad| match bad {
        pem::Error::NoItemsFound => KeyError::Incomplete {
            path: path.to_owned(),
            what: "a private key",
        },
        bad => not_pem(path, &bad),
    })
}

fn not_pem(path: &Path, bad: &pem::Error) -> KeyError {
    KeyError::Form {
        path: path.to_owned(),
        why: bad.to_string(),
    }
}
