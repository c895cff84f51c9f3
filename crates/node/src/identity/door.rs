//! Where newcomers are let in: an agent on whose machine the authority is. It shows them the authority's
//! own certificate, and signs the connection with the authority's own key. So no node, whatever became of
//! it, can stand in its place and be told a secret.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{NoServerSessionStorage, ServerConfig};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use thiserror::Error;

use super::authority::{Authority, AuthorityError, failed, library};
use super::bounds::{BUSY_PAUSE, BUSY_TRIES};
use super::invitations::{Invitation, Invitations};
use super::inviting::{Admitted, INVITATIONS, NotAdmitted, proof_of};
use super::keyring::NoClock;
use super::keys::{Keys, provider};
use super::token::{Fingerprint, Secret};
use crate::timestamp::Timestamp;

/// The protocol for newcomers, as TLS negotiates it. Another form of it would have another name.
pub(crate) const JOIN_PROTOCOL: &[u8] = b"consign-join";

/// Why an agent cannot let newcomers in.
#[derive(Debug, Error)]
pub(crate) enum DoorError {
    /// The authority cannot be used.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// It is another cluster's.
    #[error(
        "{} is not the authority of this node's own certificate; hint: correct [tls] authority, or issue this node a bundle of that authority", .0.display()
    )]
    Foreign(PathBuf),
}

/// What a newcomer said: nothing of it is known to be right.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Said<'a> {
    /// Its secret.
    pub(crate) secret: &'a [u8],
    /// Its public key.
    pub(crate) key: &'a [u8],
    /// What shows that the private one is its own.
    pub(crate) proof: &'a [u8],
}

/// See the module.
pub(crate) struct Door {
    dir: PathBuf,
    authority: Fingerprint,
    accepting: Arc<ServerConfig>,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("dir", &self.dir).finish()
    }
}

impl Door {
    /// With the authority in `dir`, which must be one that this node's own peers believe.
    ///
    /// # Errors
    /// [`DoorError`].
    pub(crate) fn open(dir: &Path, keys: &Keys) -> Result<Self, DoorError> {
        let authority = Authority::open_when_free(dir)?;
        let certificate = authority.certificate.clone();
        if !keys.trust.authorities().contains(&certificate) {
            return Err(DoorError::Foreign(dir.to_owned()));
        }
        let fingerprint = Fingerprint::of(&certificate).expect("it was read when it was opened");
        let key = PrivatePkcs8KeyDer::from(authority.issuer.key().serialize_der());
        let key = PrivateKeyDer::Pkcs8(key);
        let own = CertifiedKey::from_der(vec![certificate], key, &provider()).map_err(library)?;
        let builder = ServerConfig::builder_with_details(Arc::new(provider()), Arc::new(NoClock));
        let mut accepting = builder
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has suites of TLS 1.3")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(own)));
        accepting.alpn_protocols = vec![JOIN_PROTOCOL.to_vec()];
        accepting.session_storage = Arc::new(NoServerSessionStorage {});
        accepting.send_tls13_tickets = 0;
        Ok(Self {
            dir: dir.to_owned(),
            authority: fingerprint,
            accepting: Arc::new(accepting),
        })
    }

    /// For a connection of a newcomer.
    pub(crate) fn accepting(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.accepting)
    }

    /// Gives a newcomer its certificate. Blocks. Writes nothing, and reads no more than the
    /// invitations, until the secret is known to be right.
    ///
    /// # Errors
    /// [`NotAdmitted`].
    pub(crate) fn admit(&self, said: Said<'_>, now: Timestamp) -> Result<Admitted, NotAdmitted> {
        let secret = Secret::hash_of(said.secret);
        let path = self.dir.join(INVITATIONS);
        let invitations = Invitations::read(&path).map_err(failed("read", &path))?;
        match invitations.find(secret) {
            None => return Err(NotAdmitted::Unknown),
            Some(Invitation { node, until, .. }) if *until <= now => {
                // A clock that is set back does not make it good again.
                Authority::open_when_free(&self.dir)?.withdraw(node)?;
                return Err(NotAdmitted::Expired(node.clone()));
            }
            Some(_) => {}
        }
        let key = said.key.try_into().map_err(|_| NotAdmitted::Proof)?;
        let signed = proof_of(self.authority, secret);
        let is_own = webpki::aws_lc_rs::ED25519.verify_signature(said.key, &signed, said.proof);
        is_own.map_err(|_| NotAdmitted::Proof)?;
        Authority::open_when_free(&self.dir)?.admit(secret, key, now)
    }
}

impl Authority {
    /// As [`Authority::open`], but waits a moment for another command that is at it.
    fn open_when_free(dir: &Path) -> Result<Self, AuthorityError> {
        for _ in 1..BUSY_TRIES {
            match Self::open(dir) {
                Err(AuthorityError::Busy(_)) => std::thread::sleep(BUSY_PAUSE),
                opened => return opened,
            }
        }
        Self::open(dir)
    }
}
