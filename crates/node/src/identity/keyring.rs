//! The identity of a node that runs: its present keys, the revocation lists in force, and the
//! connections that a newer list or other keys may end.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use rustls::client::{ClientConfig, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::UnixTime;
use rustls::server::{NoServerSessionStorage, ServerConfig};
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;

use super::bounds::LISTS_BYTES_MAX;
use super::files::{self, PUBLIC};
use super::keys::{Keys, provider};
use super::lists::Lists;
use super::peer::Peer;
use super::revoked::{BadList, Revoked};
use super::severed::{Cut, Severed};
use super::verify::{Known, Verifier};

/// The protocol between nodes, as TLS negotiates it. Whoever asks for another is served
/// where it is [the one for newcomers](super::JOIN_PROTOCOL) and there is a door for them.
pub(crate) const NODE_PROTOCOL: &[u8] = b"consign";

/// Where the lists in force are kept, in the data directory.
const KEPT_IN: &str = "revoked";

/// See the module.
#[derive(Debug)]
pub(crate) struct Keyring {
    provider: Arc<CryptoProvider>,
    kept_in: PathBuf,
    keys: RwLock<Arc<Keys>>,
    lists: RwLock<Arc<Lists>>,
    /// One list is taken over at a time: each is written before the next is looked at.
    taking_over: Mutex<()>,
    live: Mutex<Vec<Weak<Cut>>>,
}

/// A newer list is in force.
#[derive(Debug)]
pub(crate) struct InForce {
    /// The list.
    pub(crate) list: Revoked,
    /// Why it may be forgotten at a restart, if it could not be written.
    pub(crate) not_kept: Option<io::Error>,
    /// Whether it names this node's own certificate.
    pub(crate) names_us: bool,
}

impl Keyring {
    /// Takes keys into use, and the lists in the data directory. Also says why one of these is not in
    /// force, if there is one that is not.
    pub(crate) fn open(keys: Keys, data_dir: &Path) -> (Self, Option<String>) {
        let kept_in = data_dir.join(KEPT_IN);
        let (kept, trouble) = kept_lists(&kept_in, &keys);
        let keyring = Self {
            provider: Arc::new(provider()),
            kept_in,
            keys: RwLock::new(Arc::new(keys)),
            lists: RwLock::new(Arc::new(kept)),
            taking_over: Mutex::default(),
            live: Mutex::default(),
        };
        (keyring, trouble)
    }

    /// The number of the list in force that makes the certificate of these keys void, if one does: no
    /// other node would talk to whoever took them into use.
    pub(crate) fn voids(&self, keys: &Keys) -> Option<u64> {
        keys.revoked_by(&self.lists())
    }

    /// Takes other keys into use. What was connected with another certificate of ours, or while we
    /// believed others, is ended, to be made again if it still may: so no peer stays whom we do not
    /// believe any more or who would not believe us, and both ends tell each other the lists anew that
    /// were of no use before. Bytes that are not synced at the other end are sent again.
    pub(crate) fn renew(&self, keys: Keys) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        self.end_what_is_over();
    }

    /// Those of the lists that the config names that are newer than the ones in force, as text.
    pub(crate) fn named_lists(&self) -> Vec<String> {
        let (keys, lists) = (self.keys(), self.lists());
        let newer = keys.named.newer_than(&lists);
        newer.map(|list| list.text().to_owned()).collect()
    }

    /// The lists in force.
    pub(crate) fn lists(&self) -> Arc<Lists> {
        Arc::clone(&self.lists.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A number that is no higher than that of any authority's list in force; 0 when one of them has
    /// none. Whatever is newer than what is in force has a higher one.
    pub(crate) fn lowest_list(&self) -> u64 {
        let (keys, lists) = (self.keys(), self.lists());
        let numbers = keys.trust.keys().map(|authority| lists.number(authority));
        numbers.min().unwrap_or_default()
    }

    /// Who this node is.
    pub(crate) fn me(&self) -> Peer {
        self.keys().me.clone()
    }

    /// The number of the list that makes this node's own certificate void, if one does.
    pub(crate) fn own_revoked(&self) -> Option<u64> {
        self.keys().revoked_by(&self.lists())
    }

    /// Takes a list over, from wherever it comes, if it is newer than the one in force of its authority:
    /// it is synced first, and then ends the connections of those it names. Blocks.
    ///
    /// # Errors
    /// [`BadList`], when it is of no authority that we believe.
    pub(crate) fn take_over(&self, text: &[u8]) -> Result<Option<InForce>, BadList> {
        let _one_at_a_time = lock(&self.taking_over);
        let keys = self.keys();
        let list = Revoked::read(text, keys.trust.authorities())?;
        let mut lists = Lists::clone(&self.lists());
        // Those of an authority that is not believed any more go with the next list: so it is still
        // known what was void when it is taken back soon.
        lists.retain_believed(&keys.trust);
        if !lists.take(list.clone()) {
            return Ok(None);
        }
        // A crash before this is synced forgets the list, which was not in force yet. A disk that
        // does not take it must not keep the node from believing it.
        let written = files::replace(&self.kept_in, lists.text().as_bytes(), PUBLIC);
        *self.lists.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(lists);
        self.end_what_is_over();
        Ok(Some(InForce {
            names_us: keys.revoked_by(&Lists::from_iter([list.clone()])).is_some(),
            list,
            not_kept: written.err(),
        }))
    }

    fn end_what_is_over(&self) {
        let (keys, lists) = (self.keys(), self.lists());
        self.live().retain(|cut| match cut.upgrade() {
            None => false,
            Some(cut) => {
                sever_if_over(&cut, &keys, &lists);
                true
            }
        });
    }

    /// What a connection needs to be ended when it is not to be had any more.
    pub(crate) fn cut(&self, known: Arc<Known>) -> Arc<Cut> {
        let cut = Cut::new(known);
        {
            let mut live = self.live();
            if live.len() == live.capacity() {
                live.retain(|cut| cut.strong_count() > 0);
            }
            live.push(Arc::downgrade(&cut));
        }
        // Lists and keys that were taken over since the peer was judged have passed this one by.
        sever_if_over(&cut, &self.keys(), &self.lists());
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
        let verifier = Verifier::new(Arc::clone(&keys), self.lists(), algorithms);
        (keys, verifier)
    }

    fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn live(&self) -> MutexGuard<'_, Vec<Weak<Cut>>> {
        lock(&self.live)
    }
}

fn sever_if_over(cut: &Cut, keys: &Keys, lists: &Lists) {
    if let Some(why) = why_over(&cut.known, keys, lists) {
        cut.sever(Severed(why));
    }
}

/// Why a connection is not to be had any more, for a person; `None` when it is.
fn why_over(known: &Known, keys: &Keys, lists: &Lists) -> Option<String> {
    let peer = &known.peer;
    let (certificate, above) = known.chain.split_first()?;
    if known.keys.are_like(keys) {
        let (list, serial) = keys.trust.revoking(peer, certificate, above, lists)?;
        return Some(format!(
            "the certificate of {peer}, number {serial}, was revoked by list {}; hint: if that node belongs here, issue it a new one with `consign keys issue`",
            list.number()
        ));
    }
    Some(
        match keys.trust.judge(certificate, above, known.end, lists) {
            Err(bad) => format!("this node's keys were read again: {bad}"),
            Ok(_) => format!(
                "this node has another certificate or other authorities than when it met {peer}; hint: nothing to do, they connect again"
            ),
        },
    )
}

/// The lists that an earlier life of the node left, and why one of them is not in force.
fn kept_lists(path: &Path, keys: &Keys) -> (Lists, Option<String>) {
    match files::read(path, LISTS_BYTES_MAX) {
        Ok(bytes) => {
            let (lists, bad) = Lists::read(&bytes, &keys.trust);
            let trouble = bad.map(|why| format!("{} is not in force: {why}", path.display()));
            (lists, trouble)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => (Lists::default(), None),
        Err(error) => {
            let trouble = format!(
                "cannot read {}: {error}; hint: name a revocation list as [tls] revoked",
                path.display()
            );
            (Lists::default(), Some(trouble))
        }
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
