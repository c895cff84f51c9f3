//! The identity of a node that runs: its present keys, the revocation list in force, and the
//! connections that a newer list may end.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use rustls::client::{ClientConfig, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::UnixTime;
use rustls::server::{NoServerSessionStorage, ServerConfig};
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;

use super::bounds::REVOKED_BYTES_MAX;
use super::files::{self, PUBLIC};
use super::keys::{Keys, provider};
use super::peer::Peer;
use super::revoked::{BadList, Revoked};
use super::severed::{Cut, Severed};
use super::verify::Verifier;

/// The protocol between nodes, as TLS negotiates it. Whoever asks for another is served
/// where it is [the one for newcomers](super::JOIN_PROTOCOL) and there is a door for them.
pub(crate) const NODE_PROTOCOL: &[u8] = b"consign";

/// Where the list in force is kept, in the data directory.
const KEPT_IN: &str = "revoked";

/// See the module.
#[derive(Debug)]
pub(crate) struct Keyring {
    provider: Arc<CryptoProvider>,
    kept_in: PathBuf,
    keys: RwLock<Arc<Keys>>,
    revoked: RwLock<Arc<Revoked>>,
    /// One list is taken over at a time: each is written before the next is looked at.
    taking_over: Mutex<()>,
    live: Mutex<Vec<Weak<Cut>>>,
}

/// A newer list is in force.
#[derive(Debug)]
pub(crate) struct InForce {
    /// The list.
    pub(crate) list: Arc<Revoked>,
    /// Why it may be forgotten at a restart, if it could not be written.
    pub(crate) not_kept: Option<io::Error>,
    /// Whether it names this node's own certificate.
    pub(crate) names_us: bool,
}

impl Keyring {
    /// Takes keys into use, and of the lists in the data directory and in the config the newer one.
    /// Also says why the list in the data directory is not in force, if there is one that is not.
    pub(crate) fn open(keys: Keys, data_dir: &Path) -> (Self, Option<String>) {
        let kept_in = data_dir.join(KEPT_IN);
        let (kept, trouble) = match kept_list(&kept_in, &keys) {
            Ok(kept) => (kept, None),
            Err(why) => (Revoked::default(), Some(why)),
        };
        let keyring = Self {
            provider: Arc::new(provider()),
            kept_in,
            keys: RwLock::new(Arc::new(keys)),
            revoked: RwLock::new(Arc::new(kept)),
            taking_over: Mutex::default(),
            live: Mutex::default(),
        };
        (keyring, trouble)
    }

    /// Takes other keys into use: for connections that are made from here on.
    pub(crate) fn renew(&self, keys: Keys) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }

    /// The list that the config names, if it is newer than the one in force, as text.
    pub(crate) fn named_list(&self) -> Option<String> {
        let named = self.keys().named.as_ref()?.clone();
        (named.number() > self.revoked().number()).then(|| named.text().to_owned())
    }

    /// The list in force.
    pub(crate) fn revoked(&self) -> Arc<Revoked> {
        Arc::clone(&self.revoked.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Who this node is.
    pub(crate) fn me(&self) -> Peer {
        self.keys().me.clone()
    }

    /// Why this node's own certificate is void, if it is.
    pub(crate) fn own_revoked(&self) -> bool {
        self.revoked().covers(&self.keys().me).is_some()
    }

    /// Takes a list over, from wherever it comes, if it is newer than the one in force: it is synced
    /// first, and then ends the connections of those it names. Blocks.
    ///
    /// # Errors
    /// [`BadList`], when it is not our authority's.
    pub(crate) fn take_over(&self, text: &[u8]) -> Result<Option<InForce>, BadList> {
        let keys = self.keys();
        let list = Revoked::read(text, keys.trust.authorities())?;
        let _one_at_a_time = lock(&self.taking_over);
        if list.number() <= self.revoked().number() {
            return Ok(None);
        }
        // A crash before this is synced forgets the list, which was not in force yet. A disk that
        // does not take it must not keep the node from believing it.
        let written = files::replace(&self.kept_in, list.text().as_bytes(), PUBLIC);
        let list = Arc::new(list);
        *self.revoked.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&list);
        self.live().retain(|cut| match cut.upgrade() {
            None => false,
            Some(cut) => {
                sever_if_named(&cut, &list);
                true
            }
        });
        Ok(Some(InForce {
            names_us: list.covers(&keys.me).is_some(),
            list,
            not_kept: written.err(),
        }))
    }

    /// What a connection of `peer` needs to be ended when its certificate is revoked.
    pub(crate) fn cut(&self, peer: Arc<Peer>) -> Arc<Cut> {
        let cut = Cut::new(peer);
        {
            let mut live = self.live();
            if live.len() == live.capacity() {
                live.retain(|cut| cut.strong_count() > 0);
            }
            live.push(Arc::downgrade(&cut));
        }
        // A list that was taken over since the peer was judged has passed this one by.
        sever_if_named(&cut, &self.revoked());
        cut
    }

    /// For a connection that we make.
    pub(crate) fn dialling(&self) -> (Arc<ClientConfig>, Arc<Verifier>) {
        let (keys, verifier) = self.verifier();
        let builder =
            ClientConfig::builder_with_details(Arc::clone(&self.provider), Arc::new(NoClock));
        let mut config = builder
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has suites of TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as _)
            .with_client_cert_resolver(Arc::clone(&keys.own) as _);
        config.alpn_protocols = vec![NODE_PROTOCOL.to_vec()];
        config.enable_sni = false;
        // A session that is resumed is one whose certificate is not looked at again.
        config.resumption = Resumption::disabled();
        (Arc::new(config), verifier)
    }

    /// For a connection that a node makes to us.
    pub(crate) fn accepting(&self) -> (Arc<ServerConfig>, Arc<Verifier>) {
        let (keys, verifier) = self.verifier();
        let builder =
            ServerConfig::builder_with_details(Arc::clone(&self.provider), Arc::new(NoClock));
        let mut config = builder
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has suites of TLS 1.3")
            .with_client_cert_verifier(Arc::clone(&verifier) as _)
            .with_cert_resolver(Arc::clone(&keys.own) as _);
        config.alpn_protocols = vec![NODE_PROTOCOL.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        (Arc::new(config), verifier)
    }

    fn verifier(&self) -> (Arc<Keys>, Arc<Verifier>) {
        let keys = self.keys();
        let algorithms = self.provider.signature_verification_algorithms;
        let verifier = Verifier::new(Arc::clone(&keys), self.revoked(), algorithms);
        (keys, verifier)
    }

    fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn live(&self) -> MutexGuard<'_, Vec<Weak<Cut>>> {
        lock(&self.live)
    }
}

fn sever_if_named(cut: &Cut, list: &Revoked) {
    if let Some(serial) = list.covers(cut.peer()) {
        cut.sever(Severed(format!(
            "the certificate of {}, number {serial}, was revoked by list {}; hint: if that node belongs here, issue it a new one with `consign keys issue`",
            cut.peer(),
            list.number()
        )));
    }
}

/// The list that an earlier life of the node left; the one without entries when there is none.
fn kept_list(path: &Path, keys: &Keys) -> Result<Revoked, String> {
    match files::read(path, REVOKED_BYTES_MAX as u64) {
        Ok(bytes) => Revoked::read(&bytes, keys.trust.authorities())
            .map_err(|why| format!("{} is not in force: {why}", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Revoked::default()),
        Err(error) => Err(format!(
            "cannot read {}: {error}; hint: name a revocation list as [tls] revoked",
            path.display()
        )),
    }
}

/// The clock that the TLS library is given. Whatever it says is used for nothing.
#[derive(Debug)]
pub(super) struct NoClock;

impl TimeProvider for NoClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(std::time::Duration::ZERO))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
