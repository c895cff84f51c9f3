//! A node's own certificate and key, and the authorities that it believes: read, and checked to be
//! of use before anybody is asked to believe them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use consign_core::ids::NodeName;
use consign_core::receipt::Hash;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use thiserror::Error;

use super::bounds::{AUTHORITIES_MAX, LISTS_BYTES_MAX};
use super::bundle::{KeyFiles, Parts};
use super::files;
use super::lists::Lists;
use super::peer::Peer;
use super::revoked::BadList;
use super::roles::Role;
use super::trust::{BadPeer, End, Trust};

/// Why a node cannot use the keys that it was given. An agent that runs goes on with those it has.
#[derive(Debug, Error)]
pub(crate) enum KeyError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}; hint: correct [tls], or make a bundle with `consign keys issue`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A private key that is not private.
    #[error(
        "{} holds a private key and has the permissions {mode:04o}; hint: chmod 600 {}",
        path.display(), path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is not PEM.
    #[error("{} is no PEM file: {why}; hint: copy it again", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What the reader says.
        why: String,
    },
    /// Something is not in it.
    #[error(
        "{} does not hold {what}; hint: a bundle holds the node's certificate, its key, and last the authority's certificate",
        path.display()
    )]
    Incomplete {
        /// The file.
        path: PathBuf,
        /// What is not.
        what: &'static str,
    },
    /// More authorities than anybody needs to believe.
    #[error(
        "{} holds {count} authorities, and at most {AUTHORITIES_MAX} are believed; hint: leave in it those that issue certificates to nodes",
        path.display()
    )]
    Crowd {
        /// The file.
        path: PathBuf,
        /// How many.
        count: usize,
    },
    /// The certificate and the key are not of one another, or not understood.
    #[error("the key and the certificate in {} cannot be used: {why}; hint: take both from the same place", path.display())]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// What the library says.
        why: String,
    },
    /// The certificate is not one that others would believe.
    #[error("{}: {why}", path.display())]
    Own {
        /// The file.
        path: PathBuf,
        /// Why they would not.
        why: BadPeer,
    },
    /// The certificate is another node's.
    #[error(
        "{} is the certificate of {found}, and this node is {node}; hint: give it its own, or correct node.name",
        path.display()
    )]
    OtherNode {
        /// The file.
        path: PathBuf,
        /// This node.
        node: NodeName,
        /// Whose it is.
        found: String,
    },
    /// The config wants what the certificate does not allow.
    #[error(
        "the certificate of {node} lacks the role {role}, which [[{section}]] needs; hint: issue it another with `consign keys issue {node} --roles …`, or remove that section"
    )]
    Role {
        /// This node.
        node: NodeName,
        /// The role.
        role: Role,
        /// What needs it.
        section: &'static str,
    },
    /// A revocation list that is not believed.
    #[error("{}: {why}", path.display())]
    List {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: BadList,
    },
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(super) own: Arc<SingleCertAndKey>,
    /// The certificate, and those between it and its authority.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// Signs what is to be believed after the connection.
    pub(super) signer: Arc<dyn SigningKey>,
    /// The authority by which others know this node.
    pub(super) cluster: Hash,
    pub(super) me: Peer,
    pub(super) trust: Arc<Trust>,
    /// The lists that the config names.
    pub(super) named: Lists,
    path: PathBuf,
}

impl Keys {
    /// Reads them, and makes sure that they are `node`'s and that it may do what the config wants.
    ///
    /// # Errors
    /// [`KeyError`].
    pub(crate) fn read(
        files: &KeyFiles,
        revoked: Option<&PathBuf>,
        node: &NodeName,
        needs: &[(Role, &'static str)],
    ) -> Result<Self, KeyError> {
        let keys = Self::of(files.read()?, files.shown().to_owned(), revoked)?;
        if !keys.me.is(node) {
            return Err(KeyError::OtherNode {
                path: keys.path,
                node: node.clone(),
                found: keys.me.to_string(),
            });
        }
        match needs.iter().find(|(role, _)| !keys.me.may(*role)) {
            None => Ok(keys),
            Some(&(role, section)) => Err(KeyError::Role {
                node: node.clone(),
                role,
                section,
            }),
        }
    }

    /// Whether a connection is the same with these and with those: our certificate, and whom we believe.
    pub(super) fn are_like(&self, others: &Self) -> bool {
        self.chain == others.chain && self.trust.authorities() == others.trust.authorities()
    }

    /// The number of the list that makes our own certificate void, if one does.
    pub(super) fn revoked_by(&self, lists: &Lists) -> Option<u64> {
        let (own, above) = self.chain.split_first()?;
        let (list, _) = self.trust.revoking(&self.me, own, above, lists)?;
        Some(list.number())
    }

    /// Makes sure that others would believe them.
    pub(super) fn of(
        parts: Parts,
        path: PathBuf,
        revoked: Option<&PathBuf>,
    ) -> Result<Self, KeyError> {
        let mismatch = |why| KeyError::Mismatch {
            path: path.clone(),
            why,
        };
        let trust = Trust::new(parts.authorities).map_err(mismatch)?;
        let named = revoked.map(|path| read_lists(path, &trust)).transpose()?;
        let named = named.unwrap_or_default();
        let (certificate, above) = parts.chain.split_first().expect("its reader found one");
        let judge = |end| {
            let judged = trust.judge(certificate, above, end, &named);
            judged.map_err(|why| KeyError::Own {
                path: path.clone(),
                why,
            })
        };
        let me = judge(End::Dialled)?;
        judge(End::Accepted)?;
        let clusters = trust.clusters_of(certificate, above);
        let cluster = *clusters.first().ok_or_else(|| {
            mismatch("no authority in it has signed the certificate alone".to_owned())
        })?;
        let chain = parts.chain.clone();
        let own = CertifiedKey::from_der(parts.chain, parts.key, &provider())
            .map_err(|bad| mismatch(bad.to_string()))?;
        Ok(Self {
            signer: Arc::clone(&own.key),
            cluster,
            own: Arc::new(own.into()),
            chain,
            me,
            trust: Arc::new(trust),
            named,
            path,
        })
    }
}

fn read_lists(path: &Path, trust: &Trust) -> Result<Lists, KeyError> {
    let read = files::read(path, LISTS_BYTES_MAX);
    let bytes = read.map_err(|source| KeyError::Read {
        path: path.to_owned(),
        source,
    })?;
    let (lists, bad) = Lists::read(&bytes, trust);
    match bad {
        None => Ok(lists),
        Some(why) => Err(KeyError::List {
            path: path.to_owned(),
            why,
        }),
    }
}

/// The only cryptography that there is here. AES-128 first: it is as safe as anybody needs, and a
/// third faster.
pub(super) fn provider() -> CryptoProvider {
    use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider};
    let cipher_suites = vec![
        cipher_suite::TLS13_AES_128_GCM_SHA256,
        cipher_suite::TLS13_AES_256_GCM_SHA384,
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    CryptoProvider {
        cipher_suites,
        ..default_provider()
    }
}
