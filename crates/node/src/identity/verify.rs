//! Judges the certificate of the other end, for the TLS library. One for each connection, so that
//! both the judgement and its reasons are at hand afterwards.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::keys::Keys;
use super::lists::Lists;
use super::peer::Peer;
use super::receipts::Signatures;
use super::trust::{BadPeer, End};

/// Why the other end's certificate was refused.
pub(crate) type Refused = BadPeer;

/// Who is at the other end, and all that it takes to judge it again.
#[derive(Debug)]
pub(crate) struct Known {
    pub(super) peer: Arc<Peer>,
    /// Its certificate, and those above it.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// Which end it has shown them for.
    pub(super) end: End,
    /// Our own keys on the connection.
    pub(super) keys: Arc<Keys>,
}

/// See the module. Every time that it is given is ignored.
#[derive(Debug)]
pub(crate) struct Verifier {
    /// Those of the connection, whatever comes later.
    keys: Arc<Keys>,
    lists: Arc<Lists>,
    algorithms: WebPkiSupportedAlgorithms,
    judged: Mutex<Option<Result<Arc<Known>, Refused>>>,
}

impl Verifier {
    pub(super) fn new(
        keys: Arc<Keys>,
        lists: Arc<Lists>,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Arc<Self> {
        Arc::new(Self {
            keys,
            lists,
            algorithms,
            judged: Mutex::default(),
        })
    }

    /// Who is at the other end, or why its certificate was refused; `None` while it has shown none.
    pub(crate) fn judged(&self) -> Option<Result<Arc<Known>, Refused>> {
        self.judged
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What receipts on the connection need, where the other end has shown `theirs`.
    pub(crate) fn signatures(&self, theirs: &[CertificateDer<'_>]) -> Signatures {
        Signatures::new(Arc::clone(&self.keys), self.algorithms, theirs)
    }

    fn judge(
        &self,
        certificate: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        end: End,
    ) -> Result<(), Error> {
        let trust = &self.keys.trust;
        let judged = trust.judge(certificate, above, end, &self.lists);
        let answer = judged.as_ref().map(drop).map_err(BadPeer::as_tls);
        let shown = std::iter::once(certificate).chain(above);
        let known = judged.map(|peer| {
            Arc::new(Known {
                peer: Arc::new(peer),
                chain: shown.map(|der| der.clone().into_owned()).collect(),
                end,
                keys: Arc::clone(&self.keys),
            })
        });
        *self.judged.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
        answer
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Every node has one certificate: there is nothing to choose from.
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.judge(certificate, above, End::Dialled)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for Verifier {
    /// Which node it has to be is checked by who dialled: a node's name is no host's.
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.judge(certificate, above, End::Accepted)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ClientCertVerifier::verify_tls12_signature(self, message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ClientCertVerifier::verify_tls13_signature(self, message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
