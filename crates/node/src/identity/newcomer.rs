//! A machine that joins: its key, which never leaves it, and the bundle that it has in the end.
//!
//! Its private key is in a file beside the bundle, synced, before anybody is asked: so the same command
//! again, after a kill anywhere, asks for the same key, and is answered again.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{KeyPair, PKCS_ED25519, SigningKey as _};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::version::TLS13;
use rustls::{CertificateError, DigitallySignedStruct, Error as TlsError, SignatureScheme};
use thiserror::Error;

use super::bounds::PEM_BYTES_MAX;
use super::bundle::{Parts, to_pem};
use super::door::JOIN_PROTOCOL;
use super::files::{self, SECRET};
use super::inviting::proof_of;
use super::keyring::NoClock;
use super::keys::{KeyError, Keys, provider};
use super::roles::Roles;
use super::token::{Fingerprint, Secret, Token};

/// Why a machine cannot join. What is said of the files is all that has changed.
#[derive(Debug, Error)]
pub(crate) enum NewcomerError {
    /// What was to be written is there already.
    #[error("{} is there already; hint: this machine has joined; if it is to join anew, move that file away or name another with --out", .0.display())]
    OutExists(PathBuf),
    /// A file cannot be used.
    #[error("cannot {what} {}: {source}; hint: look at the disk and the directory's permissions", path.display())]
    File {
        /// What was to be done.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// What an earlier try left is of no use.
    #[error("{}, which an earlier try to join left, {why}; hint: remove it, ask for a new token and join again", path.display())]
    Part {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// No key can be made.
    #[error("cannot make a key: {0}; hint: report this as a bug")]
    Key(String),
    /// The answer is not what was asked for. The key is kept.
    #[error("the certificate that came cannot be used: {0}")]
    Answer(KeyError),
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Prepared {
    /// Ask.
    Asks(Box<Newcomer>),
    /// Nothing: an earlier try was killed when all was done. What it left is gone now.
    HasJoined,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Newcomer {
    token: Token,
    out: PathBuf,
    part: PathBuf,
    pair: KeyPair,
    /// Whether an earlier try has left its key.
    pub(crate) is_again: bool,
}

impl Newcomer {
    /// Sees to the key. It is synced when this returns.
    ///
    /// # Errors
    /// [`NewcomerError`].
    pub(crate) fn prepare(token: Token, out: &Path) -> Result<Prepared, NewcomerError> {
        let part = part_of(out);
        let key = read_part(&part)?;
        if out.exists() {
            return match key {
                Some(key) if holds(out, &key)? => {
                    remove(&part)?;
                    Ok(Prepared::HasJoined)
                }
                Some(_) | None => Err(NewcomerError::OutExists(out.to_owned())),
            };
        }
        let is_again = key.is_some();
        let pair = match key {
            Some(pem) => KeyPair::from_pem(&pem).map_err(|bad| bad.to_string()),
            None => Ok(draw(&part)?),
        };
        let pair = pair.and_then(|pair| match pair.algorithm() == &PKCS_ED25519 {
            true => Ok(pair),
            false => Err("it is of another kind".to_owned()),
        });
        let pair = pair.map_err(|bad| NewcomerError::Part {
            path: part.clone(),
            why: format!("holds no key that can be used: {bad}"),
        })?;
        Ok(Prepared::Asks(Box::new(Self {
            token,
            out: out.to_owned(),
            part,
            pair,
            is_again,
        })))
    }

    /// Its token.
    pub(crate) fn token(&self) -> &Token {
        &self.token
    }

    /// Where the private key waits.
    pub(crate) fn part(&self) -> &Path {
        &self.part
    }

    /// The secret, the public key and the proof, as they are sent.
    ///
    /// # Errors
    /// [`NewcomerError::Key`].
    pub(crate) fn says(&self) -> Result<[Vec<u8>; 3], NewcomerError> {
        let secret = self.token.secret.bytes();
        let signed = proof_of(self.token.authority, Secret::hash_of(secret));
        let proof = self.pair.sign(&signed);
        let proof = proof.map_err(|bad| NewcomerError::Key(bad.to_string()))?;
        Ok([secret.to_vec(), self.pair.public_key_raw().to_vec(), proof])
    }

    /// For the connection: nothing is said on it unless the other end has the authority's own key.
    pub(crate) fn dialling(&self) -> (Arc<ClientConfig>, Arc<OnlyAuthority>) {
        let provider = provider();
        let verifier = Arc::new(OnlyAuthority {
            wanted: self.token.authority,
            algorithms: provider.signature_verification_algorithms,
            shown: Mutex::default(),
        });
        let builder = ClientConfig::builder_with_details(Arc::new(provider), Arc::new(NoClock));
        let mut config = builder
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has suites of TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as _)
            .with_no_client_auth();
        config.alpn_protocols = vec![JOIN_PROTOCOL.to_vec()];
        config.enable_sni = false;
        config.resumption = Resumption::disabled();
        (Arc::new(config), verifier)
    }

    /// Writes the bundle, once others would believe it, and lets go of what was beside it. Says what
    /// this node may do.
    ///
    /// # Errors
    /// [`NewcomerError`].
    pub(crate) fn complete(
        &self,
        certificate: Vec<u8>,
        authority: CertificateDer<'static>,
    ) -> Result<Roles, NewcomerError> {
        let own = CertificateDer::from(certificate);
        let text = [to_pem(&own), self.pair.serialize_pem(), to_pem(&authority)].concat();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.pair.serialize_der()));
        let parts = Parts {
            chain: vec![own],
            key,
            authorities: vec![authority],
        };
        let keys = Keys::of(parts, self.out.clone(), None).map_err(NewcomerError::Answer)?;
        if !keys.me.is(&self.token.node) {
            return Err(NewcomerError::Answer(KeyError::OtherNode {
                path: self.out.clone(),
                node: self.token.node.clone(),
                found: keys.me.to_string(),
            }));
        }
        // A crash before this is synced leaves the key beside it: the same command gets here again.
        let written = files::write_new(&self.out, text.as_bytes(), SECRET);
        written.map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => NewcomerError::OutExists(self.out.clone()),
            _ => failed("write", &self.out)(source),
        })?;
        remove(&self.part)?;
        Ok(keys.me.roles())
    }
}

fn part_of(out: &Path) -> PathBuf {
    let mut name = OsString::from(out);
    name.push(".key-part");
    PathBuf::from(name)
}

fn read_part(part: &Path) -> Result<Option<String>, NewcomerError> {
    let bytes = match files::read(part, PEM_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", part)(error)),
    };
    match files::exposed(part).map_err(failed("read", part))? {
        None => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Some(mode) => Err(NewcomerError::Part {
            path: part.to_owned(),
            why: format!("holds a private key and has the permissions {mode:04o}"),
        }),
    }
}

fn draw(part: &Path) -> Result<KeyPair, NewcomerError> {
    let pair = KeyPair::generate_for(&PKCS_ED25519);
    let pair = pair.map_err(|bad| NewcomerError::Key(bad.to_string()))?;
    // A crash before this leaves nothing that anybody was told of.
    files::write_new(part, pair.serialize_pem().as_bytes(), SECRET)
        .map_err(failed("write", part))?;
    Ok(pair)
}

fn holds(out: &Path, key: &str) -> Result<bool, NewcomerError> {
    let bytes = files::read(out, PEM_BYTES_MAX).map_err(failed("read", out))?;
    Ok(!key.is_empty() && String::from_utf8_lossy(&bytes).contains(key))
}

fn remove(part: &Path) -> Result<(), NewcomerError> {
    // A crash behind this may bring it back: then the same command removes it again.
    fs::remove_file(part).map_err(failed("remove", part))
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> NewcomerError {
    move |source| NewcomerError::File {
        what,
        path: path.to_owned(),
        source,
    }
}

/// Believes whoever has the key of one authority, and nobody else.
#[derive(Debug)]
pub(crate) struct OnlyAuthority {
    wanted: Fingerprint,
    algorithms: WebPkiSupportedAlgorithms,
    shown: Mutex<Option<Result<CertificateDer<'static>, ()>>>,
}

impl OnlyAuthority {
    /// The authority's certificate; an error when the other end has shown another, and `None` while it
    /// has shown none.
    pub(crate) fn shown(&self) -> Option<Result<CertificateDer<'static>, ()>> {
        self.shown
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl ServerCertVerifier for OnlyAuthority {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _above: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let is_it = Fingerprint::of(certificate) == Some(self.wanted);
        let shown = is_it.then(|| certificate.clone().into_owned()).ok_or(());
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown);
        match is_it {
            // That it has the key is in the signature over the handshake, which is checked below.
            true => Ok(ServerCertVerified::assertion()),
            false => Err(TlsError::InvalidCertificate(
                CertificateError::UnknownIssuer,
            )),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
