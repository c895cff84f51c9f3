//! Signs receipts, and checks those of others, with the keys and certificates of one connection: a
//! node that is given other keys meanwhile goes on with these until it connects again, since its
//! peer has seen no others.

use std::sync::Arc;

use consign_core::receipt::{self, HASH_BYTES, Hash, Statement};
use consign_core::record::Receipt;
use rustls::SignatureScheme;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::CertificateDer;
use thiserror::Error;
use webpki::EndEntityCert;

use super::keys::Keys;

/// Why a receipt is not believed. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum BadReceipt {
    /// Nobody has signed it.
    #[error("is not signed")]
    Unsigned,
    /// It is of no file.
    #[error("is of no file")]
    Empty,
    /// The tree over its files has another root.
    #[error("does not have the root of its files")]
    Root,
    /// It names another authority than the one that knows its consumer.
    #[error("names another authority than the one that has signed its consumer's certificate")]
    Cluster,
    /// It is signed in a way that is not understood.
    #[error("is signed by the scheme {0:#06x}, which is not understood")]
    Scheme(u32),
    /// It was signed by another key, or says something else than what was signed.
    #[error("is not signed by the key of the certificate that its consumer shows")]
    Signature,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Signatures {
    keys: Arc<Keys>,
    algorithms: WebPkiSupportedAlgorithms,
    /// The other end's certificate, and those above it.
    theirs: Vec<Vec<u8>>,
    /// The authorities of which each is enough to believe it.
    their_clusters: Vec<Hash>,
}

impl Signatures {
    pub(super) fn new(
        keys: Arc<Keys>,
        algorithms: WebPkiSupportedAlgorithms,
        theirs: &[CertificateDer<'_>],
    ) -> Self {
        let their_clusters = match theirs.split_first() {
            Some((certificate, above)) => keys.trust.clusters_of(certificate, above),
            None => Vec::new(),
        };
        Self {
            keys,
            algorithms,
            theirs: theirs.iter().map(|der| der.to_vec()).collect(),
            their_clusters,
        }
    }

    /// Signs what this node says of its files.
    ///
    /// # Errors
    /// Why it cannot, for a person.
    pub(crate) fn sign(&self, receipt: &mut Receipt) -> Result<(), String> {
        let root = root(receipt).ok_or("it is of no file")?;
        let statement = statement(receipt, self.keys.cluster, root);
        let offered = self.algorithms.supported_schemes();
        let chosen = self.keys.signer.choose_scheme(&offered);
        let signer = chosen.ok_or("its key signs in no way that others understand")?;
        let signature = signer.sign(&statement).map_err(|bad| bad.to_string())?;
        receipt.root = root.to_vec();
        receipt.scheme = u16::from(signer.scheme()).into();
        receipt.cluster = self.keys.cluster.to_vec();
        receipt.signature = signature;
        Ok(())
    }

    /// Checks what the other end says of its files, and adds the certificates that it has shown.
    ///
    /// # Errors
    /// [`BadReceipt`].
    pub(crate) fn check(&self, receipt: &mut Receipt) -> Result<(), BadReceipt> {
        if receipt.signature.is_empty() {
            return Err(BadReceipt::Unsigned);
        }
        let root = root(receipt).ok_or(BadReceipt::Empty)?;
        if receipt.root != root {
            return Err(BadReceipt::Root);
        }
        let mut known = self.their_clusters.iter();
        let cluster = known
            .find(|cluster| receipt.cluster == **cluster)
            .ok_or(BadReceipt::Cluster)?;
        let statement = statement(receipt, *cluster, root);
        let theirs = self.theirs.first().ok_or(BadReceipt::Signature)?;
        let signed = (receipt.scheme, receipt.signature.as_slice());
        check_signature(&self.algorithms, theirs, &statement, signed)?;
        receipt.certificates.clone_from(&self.theirs);
        Ok(())
    }
}

/// Checks that the key of a certificate has signed a statement.
///
/// # Errors
/// [`BadReceipt::Scheme`] and [`BadReceipt::Signature`].
pub(super) fn check_signature(
    algorithms: &WebPkiSupportedAlgorithms,
    certificate: &[u8],
    statement: &[u8],
    (scheme, signature): (u32, &[u8]),
) -> Result<(), BadReceipt> {
    let unknown = BadReceipt::Scheme(scheme);
    let scheme = u16::try_from(scheme).map_err(|_| unknown)?;
    let scheme = SignatureScheme::from(scheme);
    let mut mapping = algorithms.mapping.iter();
    let (_, algorithms) = mapping.find(|(known, _)| *known == scheme).ok_or(unknown)?;
    let der = CertificateDer::from(certificate);
    let certificate = EndEntityCert::try_from(&der).map_err(|_| BadReceipt::Signature)?;
    let is_good = algorithms.iter().any(|algorithm| {
        let checked = certificate.verify_signature(*algorithm, statement, signature);
        checked.is_ok()
    });
    match is_good {
        true => Ok(()),
        false => Err(BadReceipt::Signature),
    }
}

fn root(receipt: &Receipt) -> Option<Hash> {
    receipt::root(receipt.leaves.as_chunks::<HASH_BYTES>().0)
}

fn statement(receipt: &Receipt, cluster: Hash, root: Hash) -> Vec<u8> {
    let statement = Statement {
        cluster,
        consumer: &receipt.consumer,
        incarnation: receipt.incarnation,
        at: receipt.at,
        count: (receipt.leaves.len() / HASH_BYTES) as u64,
        root,
    };
    statement.to_bytes()
}

#[cfg(test)]
mod tests {
    use super::super::bundle::KeyFiles;
    use super::super::keys::provider;
    use super::super::tests::{Ca, Organisation, node};
    use super::*;

    /// What the node of these keys has on a connection with the one of those.
    fn between(ours: &KeyFiles, our_name: &str, theirs: &KeyFiles) -> Signatures {
        let keys = Keys::read(ours, None, &node(our_name), &[]).unwrap();
        let chain = theirs.read().unwrap().chain;
        let algorithms = provider().signature_verification_algorithms;
        Signatures::new(Arc::new(keys), algorithms, &chain)
    }

    fn receipt() -> Receipt {
        Receipt {
            consumer: "store".into(),
            incarnation: 2,
            at: 3,
            leaves: (0..5).flat_map(|at| [at; HASH_BYTES]).collect(),
            ..Receipt::default()
        }
    }

    fn is_believed_as_it_was_signed_alone(store: &KeyFiles, cam: &KeyFiles) {
        let mut signed = receipt();
        between(store, "store", cam).sign(&mut signed).unwrap();
        let cam = between(cam, "cam", store);
        let mut believed = signed.clone();
        assert_eq!(cam.check(&mut believed), Ok(()));
        assert_eq!(believed.certificates, cam.theirs);
        let changes: [fn(&mut Receipt); 9] = [
            |receipt| receipt.consumer = "store-2".into(),
            |receipt| receipt.incarnation += 1,
            |receipt| receipt.at += 1,
            |receipt| receipt.leaves[40] ^= 1,
            |receipt| receipt.leaves.truncate(4 * HASH_BYTES),
            |receipt| receipt.root[0] ^= 1,
            |receipt| receipt.scheme = 0,
            |receipt| receipt.cluster[0] ^= 1,
            |receipt| receipt.signature[9] ^= 1,
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut changed = signed.clone();
            change(&mut changed);
            assert!(cam.check(&mut changed).is_err(), "change {number}");
        }
        assert_eq!(cam.check(&mut receipt()), Err(BadReceipt::Unsigned));
    }

    #[test]
    fn a_receipt_is_believed_as_it_was_signed_and_not_when_it_was_changed() {
        let mut ca = Ca::new();
        let store = KeyFiles::Bundle(ca.bundle("store", "consumer"));
        let cam = KeyFiles::Bundle(ca.bundle("cam", "producer"));
        is_believed_as_it_was_signed_alone(&store, &cam);
    }

    #[test]
    fn keys_of_an_organisation_sign_receipts_too() {
        let organisation = Organisation::new("store");
        let files = organisation.files();
        let name = "store.example.org";
        let ends = || between(&files, name, &files);
        let mut signed = receipt();
        ends().sign(&mut signed).unwrap();
        assert_eq!(ends().check(&mut signed), Ok(()));
        assert_eq!(signed.certificates.len(), 2, "with the one above it");
    }

    #[test]
    fn a_receipt_counts_for_the_key_of_its_connection_and_for_its_authority_alone() {
        let (mut ca, mut foreign) = (Ca::new(), Ca::new());
        let store = KeyFiles::Bundle(ca.bundle("store", "consumer"));
        let other = KeyFiles::Bundle(ca.bundle("store", "consumer"));
        let cam = KeyFiles::Bundle(ca.bundle("cam", "producer"));
        let stranger = KeyFiles::Bundle(foreign.bundle("store", "consumer"));
        let signed_by = |files: &KeyFiles| {
            let mut signed = receipt();
            between(files, "store", files).sign(&mut signed).unwrap();
            signed
        };
        let cam = between(&cam, "cam", &store);
        let mut of_other = signed_by(&other);
        assert_eq!(cam.check(&mut of_other), Err(BadReceipt::Signature));
        let mut of_stranger = signed_by(&stranger);
        assert_eq!(cam.check(&mut of_stranger), Err(BadReceipt::Cluster));
        of_stranger.cluster = of_other.cluster;
        assert_eq!(cam.check(&mut of_stranger), Err(BadReceipt::Signature));
    }
}
