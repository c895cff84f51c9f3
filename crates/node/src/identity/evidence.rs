//! Checks what somebody has signed long ago, with nothing at hand but an authority's certificate: no
//! connection, no clock and no revocation list.

use std::path::{Path, PathBuf};

use consign_core::ids::NodeName;
use consign_core::receipt::Statement;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use thiserror::Error;

use super::bundle;
use super::keys::{KeyError, provider};
use super::lists::Lists;
use super::peer::Peer;
use super::receipts::{BadReceipt, check_signature};
use super::roles::Role;
use super::trust::{BadPeer, End, Trust};

/// Why evidence is not believed. It will not be believed later either.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum BadEvidence {
    /// There is no certificate, or one that is none.
    #[error("certificate {0} is missing or no PEM")]
    Certificate(usize),
    /// The certificate is not of the authority, or not good.
    #[error("{}", crate::hint::split(&.0.to_string()).0)]
    Peer(BadPeer),
    /// It is of somebody else.
    #[error("the certificate is of {found}, and the receipt is in the name of {consumer}")]
    OtherNode {
        /// Whose it is.
        found: String,
        /// Who has signed, as it says.
        consumer: NodeName,
    },
    /// Whoever has signed receives no files.
    #[error("the certificate of {0} does not have the role consumer")]
    Role(NodeName),
    /// The statement names another authority.
    #[error("the cluster that it names is not the one of the authority")]
    Cluster,
    /// The signature is not right.
    #[error("the statement {0}")]
    Signature(#[from] BadReceipt),
}

/// Why a file does not say whom to believe.
#[derive(Debug, Error)]
pub(crate) enum BadAuthority {
    /// It cannot be read, or is no certificate.
    #[error("{}; hint: take ca.pem, which `consign keys init` wrote", crate::hint::split(&.0.to_string()).0)]
    File(#[from] KeyError),
    /// It is a node's, or a bundle.
    #[error(
        "{} holds a node's certificate, and a node is no authority; hint: take ca.pem, which `consign keys init` wrote", path.display()
    )]
    Node {
        /// The file.
        path: PathBuf,
    },
}

/// Authorities that a person believes.
#[derive(Debug)]
pub(crate) struct Authorities {
    trust: Trust,
}

/// A statement, how it is signed, and with which certificates, PEM.
#[derive(Debug)]
pub(crate) struct Signed<'a> {
    pub(crate) statement: Statement<'a>,
    pub(crate) consumer: &'a NodeName,
    pub(crate) scheme: u32,
    pub(crate) signature: &'a [u8],
    pub(crate) certificates: &'a [String],
}

impl Authorities {
    /// Reads their certificates.
    ///
    /// # Errors
    /// [`BadAuthority`].
    pub(crate) fn read(path: &Path) -> Result<Self, BadAuthority> {
        let found = bundle::authorities(path)?;
        // An authority is believed whatever it signs: a node must never be taken for one.
        let is_node = |one| Peer::read(one).is_ok_and(|peer| peer.node().is_some());
        if found.iter().any(is_node) {
            let path = path.to_owned();
            return Err(BadAuthority::Node { path });
        }
        let trust = Trust::new(found).map_err(|why| KeyError::Form {
            path: path.to_owned(),
            why,
        })?;
        Ok(Self { trust })
    }

    /// Makes sure that the consumer whom the statement names has signed it, with a certificate of one
    /// of these authorities.
    ///
    /// # Errors
    /// [`BadEvidence`].
    pub(crate) fn check(&self, signed: &Signed<'_>) -> Result<(), BadEvidence> {
        let read = |(at, pem): (usize, &String)| {
            CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| BadEvidence::Certificate(at))
        };
        let all: Result<Vec<_>, _> = signed.certificates.iter().enumerate().map(read).collect();
        let all = all?;
        let (certificate, above) = all.split_first().ok_or(BadEvidence::Certificate(0))?;
        let peer = self.judge(certificate, above)?;
        let consumer = signed.consumer;
        if !peer.is(consumer) {
            return Err(BadEvidence::OtherNode {
                found: peer.to_string(),
                consumer: consumer.clone(),
            });
        }
        if !peer.may(Role::Consumer) {
            return Err(BadEvidence::Role(consumer.clone()));
        }
        let clusters = self.trust.clusters_of(certificate, above);
        if !clusters.contains(&signed.statement.cluster) {
            return Err(BadEvidence::Cluster);
        }
        let statement = signed.statement.to_bytes();
        let by = (signed.scheme, signed.signature);
        let algorithms = provider().signature_verification_algorithms;
        Ok(check_signature(&algorithms, certificate, &statement, by)?)
    }

    /// Who it is. A consumer's end of a connection may be either.
    fn judge(
        &self,
        certificate: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
    ) -> Result<Peer, BadEvidence> {
        let nothing = Lists::default();
        let judge = |end| self.trust.judge(certificate, above, end, &nothing);
        let judged = judge(End::Accepted).or_else(|_| judge(End::Dialled));
        judged.map_err(BadEvidence::Peer)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use consign_core::receipt::HASH_BYTES;
    use consign_core::record::Receipt;

    use super::super::bundle::{KeyFiles, to_pem};
    use super::super::keys::Keys;
    use super::super::receipts::Signatures;
    use super::super::tests::{Ca, Organisation, node};
    use super::*;

    /// A receipt that the node of these keys has signed, with the certificates that it shows.
    fn signed(files: &KeyFiles, name: &str) -> Receipt {
        let keys = Arc::new(Keys::read(files, None, &node(name), &[]).unwrap());
        let chain = files.read().unwrap().chain;
        let algorithms = provider().signature_verification_algorithms;
        let mut receipt = Receipt {
            consumer: name.into(),
            incarnation: 2,
            at: 3,
            leaves: (0..5).flat_map(|at| [at; HASH_BYTES]).collect(),
            ..Receipt::default()
        };
        let signatures = Signatures::new(keys, algorithms, &chain);
        signatures.sign(&mut receipt).unwrap();
        receipt.certificates = chain.iter().map(|der| der.to_vec()).collect();
        receipt
    }

    fn check(receipt: &Receipt, ca: &Path) -> Result<(), BadEvidence> {
        let hash = |bytes: &[u8]| bytes.try_into().unwrap();
        let certificates: Vec<_> = receipt.certificates.iter().map(|der| to_pem(der)).collect();
        let signed = Signed {
            statement: Statement {
                cluster: hash(&receipt.cluster),
                consumer: &receipt.consumer,
                incarnation: receipt.incarnation,
                at: receipt.at,
                count: 5,
                root: hash(&receipt.root),
            },
            consumer: &node(&receipt.consumer),
            scheme: receipt.scheme,
            signature: &receipt.signature,
            certificates: &certificates,
        };
        Authorities::read(ca).unwrap().check(&signed)
    }

    #[test]
    fn an_organisations_receipts_are_proven_by_its_root_and_no_date_has_a_say() {
        let organisation = Organisation::new("store");
        let files = organisation.files();
        let KeyFiles::Apart { ca, .. } = &files else {
            unreachable!()
        };
        let mut receipt = signed(&files, "store.example.org");
        assert_eq!(check(&receipt, ca), Ok(()));
        // Without the one between its own and the root nothing is proven.
        receipt.certificates.pop();
        assert!(matches!(check(&receipt, ca), Err(BadEvidence::Peer(_))));
    }

    #[test]
    fn a_receipt_proves_nothing_of_another_name_role_or_authority() {
        let (mut ours, mut other) = (Ca::new(), Ca::new());
        let ca = |ca: &Ca| ca.dir.path().join("ca/ca.pem");
        let store = KeyFiles::Bundle(ours.bundle("store", "consumer"));
        let good = signed(&store, "store");
        assert_eq!(check(&good, &ca(&ours)), Ok(()));
        assert!(matches!(
            check(&good, &ca(&other)),
            Err(BadEvidence::Peer(_))
        ));
        // Signed by a key that may, for a name that is not its own.
        let changed = |change: fn(&mut Receipt)| {
            let mut receipt = good.clone();
            change(&mut receipt);
            check(&receipt, &ca(&ours)).unwrap_err()
        };
        let renamed = changed(|receipt| receipt.consumer = "store-2".into());
        assert!(matches!(renamed, BadEvidence::OtherNode { .. }));
        let elsewhere = changed(|receipt| receipt.cluster[0] ^= 1);
        assert_eq!(elsewhere, BadEvidence::Cluster);
        let later = changed(|receipt| receipt.at += 1);
        assert_eq!(later, BadEvidence::Signature(BadReceipt::Signature));
        let bare = changed(|receipt| receipt.certificates.clear());
        assert_eq!(bare, BadEvidence::Certificate(0));
        // A producer may sign what it likes: it receives nothing.
        let cam = KeyFiles::Bundle(ours.bundle("cam", "producer"));
        let of_producer = signed(&cam, "cam");
        assert_eq!(
            check(&of_producer, &ca(&ours)),
            Err(BadEvidence::Role(node("cam")))
        );
        // Nobody believes a node that was put into the authority's place.
        let KeyFiles::Bundle(bundle) = &store else {
            unreachable!()
        };
        let refused = Authorities::read(bundle).unwrap_err().to_string();
        assert!(
            refused.contains("no authority") && refused.contains("hint:"),
            "{refused}"
        );
        let foreign = KeyFiles::Bundle(other.bundle("store", "consumer"));
        let foreign = signed(&foreign, "store");
        assert!(matches!(
            check(&foreign, &ca(&ours)),
            Err(BadEvidence::Peer(_))
        ));
    }
}
