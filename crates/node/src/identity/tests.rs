//! Certificates that are believed, and those that are not.

mod authorities;
mod possession;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use consign_core::ids::NodeName;
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier as _;

use super::bundle::KeyFiles;
use super::lists::Lists;
use super::revoked::{BadList, Revoked};
use super::trust::{BadPeer, End, Trust};
use super::verify::Known;
use super::{Authority, Keyring, Keys, Peer, Role, Roles};

pub(crate) fn node(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

pub(crate) fn roles(names: &str) -> Roles {
    names.split(',').map(|name| name.parse().unwrap()).collect()
}

/// An authority in a directory of its own.
pub(crate) struct Ca {
    pub(crate) dir: tempfile::TempDir,
    authority: Authority,
}

impl Ca {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::init(&dir.path().join("ca"), "test").unwrap();
        Self { dir, authority }
    }

    pub(crate) fn bundle(&mut self, name: &str, of: &str) -> PathBuf {
        let out = self
            .dir
            .path()
            .join(format!("{name}-{}.pem", self.authority.issued().len()));
        self.authority.issue(&node(name), roles(of), &out).unwrap();
        out
    }

    pub(crate) fn keys(&mut self, name: &str, of: &str) -> Keys {
        let files = KeyFiles::Bundle(self.bundle(name, of));
        Keys::read(&files, None, &node(name), &[]).unwrap()
    }

    pub(crate) fn keyring(&mut self, name: &str, of: &str) -> Arc<Keyring> {
        let keys = self.keys(name, of);
        let data_dir = self.dir.path().join(name);
        fs::create_dir_all(&data_dir).unwrap();
        let (keyring, trouble) = Keyring::open(keys, &data_dir);
        assert_eq!(trouble, None);
        Arc::new(keyring)
    }

    /// A keyring that also believes another authority.
    pub(crate) fn keyring_of_both(&mut self, other: &Self, name: &str, of: &str) -> Arc<Keyring> {
        let keys = believing_both(self, other, name, of);
        let data_dir = self.dir.path().join(name);
        fs::create_dir_all(&data_dir).unwrap();
        Arc::new(Keyring::open(keys, &data_dir).0)
    }

    /// The newest list, with one more node on it.
    pub(crate) fn revoke(&mut self, name: &str) -> String {
        self.authority
            .revoke(&node(name))
            .unwrap()
            .expect("something was issued")
            .text()
            .to_owned()
    }
}

/// What a bundle presents, and whom it believes.
fn parts(path: &Path) -> (CertificateDer<'static>, Trust) {
    let parts = KeyFiles::Bundle(path.to_owned()).read().unwrap();
    (
        parts.chain[0].clone(),
        Trust::new(parts.authorities).unwrap(),
    )
}

fn judge(trust: &Trust, certificate: &CertificateDer<'_>) -> Result<Peer, BadPeer> {
    let dialled = trust.judge(certificate, &[], End::Dialled, &Lists::default());
    let accepted = trust.judge(certificate, &[], End::Accepted, &Lists::default());
    assert_eq!(dialled, accepted);
    dialled
}

#[test]
fn a_certificate_says_who_a_node_is_and_what_it_may_do() {
    let mut ca = Ca::new();
    let bundle = ca.bundle("Cam_7.hall", "producer,operator");
    let (certificate, trust) = parts(&bundle);
    let peer = judge(&trust, &certificate).unwrap();
    assert!(peer.is(&node("Cam_7.hall")));
    assert!(!peer.is(&node("cam_7.hall")) && !peer.is(&node("store-1")));
    assert!(peer.may(Role::Producer) && peer.may(Role::Operator) && !peer.may(Role::Consumer));
    assert_eq!(peer.serial, Some(1));
    let mode = fs::metadata(&bundle).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_certificate_of_another_authority_is_not_believed() {
    let (mut ours, mut theirs) = (Ca::new(), Ca::new());
    let (_, trust) = parts(&ours.bundle("store-1", "consumer"));
    // Also of one that has the same name as ours.
    let (certificate, _) = parts(&theirs.bundle("cam-7", "producer"));
    let refused = judge(&trust, &certificate).unwrap_err();
    assert_eq!(
        refused,
        BadPeer::Stranger {
            said: "cam-7".into()
        }
    );
    let text = refused.to_string();
    assert!(text.contains("cam-7") && text.contains("hint:"), "{text}");
}

#[test]
fn a_node_cannot_issue_certificates() {
    let mut ca = Ca::new();
    let bundle = ca.bundle("cam-7", "producer");
    let (above, trust) = parts(&bundle);
    let text = fs::read_to_string(&bundle).unwrap();
    let from = text.find("-----BEGIN PRIVATE").unwrap();
    let through = text.rfind("-----BEGIN CERTIFICATE").unwrap();
    let key = KeyPair::from_pem(&text[from..through]).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "cam-7");
    let issuer = Issuer::new(params.clone(), key);
    let made = params
        .signed_by(&KeyPair::generate().unwrap(), &issuer)
        .unwrap();
    let refused = trust.judge(made.der(), &[above], End::Dialled, &Lists::default());
    assert!(refused.is_err(), "{refused:?}");
}

#[test]
fn what_was_changed_in_a_certificate_is_noticed() {
    let mut ca = Ca::new();
    let (certificate, trust) = parts(&ca.bundle("cam-7", "producer"));
    let mut changed = 0;
    for at in 0..certificate.len() {
        let mut bytes = certificate.to_vec();
        bytes[at] ^= 1;
        let outcome = judge_either(&trust, &CertificateDer::from(bytes));
        assert!(outcome.is_err(), "byte {at}");
        changed += 1;
    }
    assert!(changed > 200);
}

fn judge_either(trust: &Trust, certificate: &CertificateDer<'_>) -> Result<Peer, BadPeer> {
    let dialled = trust.judge(certificate, &[], End::Dialled, &Lists::default());
    dialled.or_else(|_| trust.judge(certificate, &[], End::Accepted, &Lists::default()))
}

#[test]
fn revoked_is_what_was_issued_before_and_not_what_is_issued_later() {
    let mut ca = Ca::new();
    let (old, trust) = parts(&ca.bundle("cam-7", "producer"));
    let (other, _) = parts(&ca.bundle("cam-8", "producer"));
    let list = ca.revoke("cam-7");
    let (new, _) = parts(&ca.bundle("cam-7", "producer"));
    let list = Revoked::read(list.as_bytes(), trust.authorities()).unwrap();
    assert_eq!(list.number(), 1);
    let list = Lists::from_iter([list]);
    let judge = |certificate| trust.judge(certificate, &[], End::Dialled, &list);
    let refused = judge(&old).unwrap_err();
    let text = refused.to_string();
    for word in ["cam-7", "number 1", "list 1", "hint:"] {
        assert!(text.contains(word), "no {word} in {text}");
    }
    assert!(judge(&new).is_ok() && judge(&other).is_ok());
}

#[test]
fn a_list_is_believed_for_its_signature_alone() {
    let (mut ours, mut theirs) = (Ca::new(), Ca::new());
    let (_, trust) = parts(&ours.bundle("cam-7", "producer"));
    theirs.bundle("cam-7", "producer");
    let read = |text: &str| Revoked::read(text.as_bytes(), trust.authorities());
    let good = ours.revoke("cam-7");
    assert!(read(&good).is_ok());
    assert_eq!(read(&theirs.revoke("cam-7")), Err(BadList::Signature));
    let raised = good.replace("cam-7 1", "cam-7 9");
    assert_eq!(read(&raised), Err(BadList::Signature));
    for bad in [
        "",
        "consign revoked 1\n",
        "signature zz",
        &good.replace("signature", "x"),
    ] {
        assert!(matches!(read(bad), Err(BadList::Form(_))), "{bad}");
    }
}

proptest::proptest! {
    #[test]
    fn any_text_is_a_list_or_refused(text in "(consign revoked 1\n)?(number [0-9]{1,30}\n)?(.{0,40}\n){0,3}(signature [0-9a-f]{0,130})?\n?") {
        assert!(Revoked::read(text.as_bytes(), &[]).is_err());
    }
}

/// Keys of an organisation's authority, made by other tools for hosts: no names of nodes, no roles,
/// another algorithm, an intermediate authority, and long expired.
pub(super) struct Organisation {
    dir: tempfile::TempDir,
}

impl Organisation {
    pub(super) fn new(host: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let dated = |mut params: CertificateParams, year, name: &str| {
            params.not_before = rcgen::date_time_ymd(year, 1, 1);
            params.not_after = rcgen::date_time_ymd(year + 2, 1, 1);
            params.distinguished_name.push(DnType::CommonName, name);
            params
        };
        let authority = |year, name: &str| {
            let mut params = dated(CertificateParams::default(), year, name);
            params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            params
        };
        let root = authority(1990, "Example Root");
        let root_key = KeyPair::generate().unwrap();
        let root_pem = root.self_signed(&root_key).unwrap().pem();
        let root = Issuer::new(root, root_key);
        let middle = authority(2002, "Example Hosts");
        let middle_key = KeyPair::generate().unwrap();
        let middle_pem = middle.signed_by(&middle_key, &root).unwrap().pem();
        let middle = Issuer::new(middle, middle_key);
        let names = vec![format!("{host}.example.org")];
        let mut leaf = dated(CertificateParams::new(names).unwrap(), 2001, host);
        leaf.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().unwrap();
        let leaf = leaf.signed_by(&key, &middle).unwrap().pem();
        let write = |name: &str, text: String| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        };
        write("ca.pem", root_pem);
        write("cert.pem", leaf + &middle_pem);
        write("key.pem", key.serialize_pem());
        Self { dir }
    }

    pub(super) fn files(&self) -> KeyFiles {
        let path = |name| self.dir.path().join(name);
        KeyFiles::Apart {
            ca: path("ca.pem"),
            cert: path("cert.pem"),
            key: path("key.pem"),
        }
    }
}

#[test]
fn an_organisations_certificates_work_and_no_date_has_a_say() {
    // All of it expired between 1992 and 2004.
    let organisation = Organisation::new("cam-7");
    let read = |name: &str| Keys::read(&organisation.files(), None, &node(name), &[]);
    for name in ["cam-7", "cam-7.example.org"] {
        let keys = read(name).unwrap();
        assert!(keys.me.may(Role::Producer) && keys.me.may(Role::Consumer));
        assert!(!keys.me.may(Role::Operator));
        assert_eq!(keys.me.node(), None);
    }
    let refused = read("cam-8").unwrap_err().to_string();
    for word in ["cam-7", "cam-8", "hint:"] {
        assert!(refused.contains(word), "no {word} in {refused}");
    }
}

/// The verifier gets its time from the certificates, and the library gets none at all.
#[test]
fn nothing_here_reads_a_clock() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/identity");
    let mut read = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.file_stem().is_some_and(|name| name == "tests") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for clock in ["SystemTime", "Instant", "::now(", "DefaultTimeProvider"] {
            assert!(!text.contains(clock), "{} uses {clock}", path.display());
        }
        read += 1;
    }
    assert!(read > 10);
}

#[test]
fn keys_that_are_of_no_use_are_refused_with_a_reason() {
    let mut ca = Ca::new();
    let bundle = ca.bundle("cam-7", "producer");
    let read = |path: &Path, name: &str, needs: &[(Role, &'static str)]| {
        let files = KeyFiles::Bundle(path.to_owned());
        Keys::read(&files, None, &node(name), needs)
            .unwrap_err()
            .to_string()
    };
    let wants_consumer = [(Role::Producer, "produce"), (Role::Consumer, "consume")];
    let lacks = read(&bundle, "cam-7", &wants_consumer);
    let other = read(&bundle, "cam-8", &[]);
    let gone = read(Path::new("/nowhere/cam.pem"), "cam-7", &[]);
    let text = fs::read_to_string(&bundle).unwrap();
    let altered = |name: &str, text: &str, mode: u32| {
        let path = ca.dir.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        read(&path, "cam-7", &[])
    };
    let exposed = altered("exposed", &text, 0o644);
    let junk = altered("junk", "junk", 0o600);
    let own_alone = text.find("-----BEGIN PRIVATE").unwrap();
    let no_key = altered("no-key", &text[..own_alone].repeat(2), 0o600);
    let other_key = fs::read_to_string(ca.dir.path().join("ca/ca.key")).unwrap();
    let authority = text.rfind("-----BEGIN CERTIFICATE").unwrap();
    let mixed = format!("{}{other_key}{}", &text[..own_alone], &text[authority..]);
    let mismatch = altered("mismatch", &mixed, 0o600);
    for (said, word) in [
        (lacks, "consumer"),
        (other, "cam-8"),
        (gone, "/nowhere/cam.pem"),
        (exposed, "0644"),
        (junk, "certificate"),
        (no_key, "private key"),
        (mismatch, "cannot be used"),
    ] {
        assert!(
            said.contains(word) && said.contains("hint:"),
            "no {word} in {said}"
        );
    }
}

#[test]
fn an_authority_is_never_overwritten_and_counts_on() {
    let dir = tempfile::tempdir().unwrap();
    let (at, out) = (dir.path().join("ca"), |name: &str| dir.path().join(name));
    let said = |error: super::authority::AuthorityError| error.to_string();
    assert!(said(Authority::open(&at).unwrap_err()).contains("keys init"));
    let mut authority = Authority::init(&at, "prod").unwrap();
    assert!(said(Authority::open(&at).unwrap_err()).contains("another command"));
    assert_eq!(
        authority
            .issue(&node("a"), roles("producer"), &out("a"))
            .unwrap(),
        1
    );
    let again = authority.issue(&node("a"), roles("producer"), &out("a"));
    assert!(said(again.unwrap_err()).contains("is there already"));
    assert!(said(authority.revoke(&node("b")).unwrap_err()).contains("nothing to b"));
    let list = authority.revoke(&node("a")).unwrap().cloned();
    assert_eq!(
        list.as_ref(),
        authority.revoke(&node("a")).unwrap(),
        "there was nothing new to revoke"
    );
    drop(authority);
    assert!(said(Authority::init(&at, "prod").unwrap_err()).contains("already"));
    let mut authority = Authority::open(&at).unwrap();
    assert_eq!(
        authority
            .issue(&node("a"), roles("producer,consumer"), &out("b"))
            .unwrap(),
        2
    );
    assert_eq!(authority.revoke(&node("a")).unwrap().unwrap().number(), 2);
    drop(authority);
    let authority = Authority::open(&at).unwrap();
    let issued: Vec<_> = authority
        .issued()
        .iter()
        .map(|one| (one.serial, one.is_revoked))
        .collect();
    assert_eq!(issued, [(1, true), (2, true)]);
    let key = fs::metadata(at.join("ca.key"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(key & 0o777, 0o600);
}

/// As a connection knows whoever shows the certificate of a bundle.
fn known(keyring: &Keyring, bundle: &Path) -> Arc<Known> {
    let (certificate, _) = parts(bundle);
    let (_, verifier) = keyring.accepting();
    let judged = verifier.verify_client_cert(&certificate, &[], UnixTime::now());
    judged.expect("it is believed");
    verifier.judged().unwrap().unwrap()
}

/// Keys of the first authority, which believe both.
fn believing_both(first: &mut Ca, second: &Ca, name: &str, of: &str) -> Keys {
    let own = first.bundle(name, of);
    let certificate = |ca: &Ca| fs::read_to_string(ca.dir.path().join("ca/ca.pem")).unwrap();
    let both = first.dir.path().join("both.pem");
    fs::write(&both, certificate(first) + &certificate(second)).unwrap();
    let (cert, key) = (own.clone(), own);
    let files = KeyFiles::Apart {
        ca: both,
        cert,
        key,
    };
    Keys::read(&files, None, &node(name), &[]).unwrap()
}

#[test]
fn a_newer_list_is_kept_and_ends_connections_and_an_older_one_changes_nothing() {
    let mut ca = Ca::new();
    let keyring = ca.keyring("store-1", "consumer");
    let (seven, eight) = (
        ca.bundle("cam-7", "producer"),
        ca.bundle("cam-8", "producer"),
    );
    let (seven, eight) = (known(&keyring, &seven), known(&keyring, &eight));
    let (cut, kept) = (keyring.cut(Arc::clone(&seven)), keyring.cut(eight));
    let first = ca.revoke("cam-7");
    let in_force = keyring.take_over(first.as_bytes()).unwrap().unwrap();
    assert!(in_force.not_kept.is_none() && !in_force.names_us);
    assert!(cut.severed().unwrap().to_string().contains("cam-7"));
    assert_eq!(kept.severed(), None);
    assert!(
        keyring.cut(seven).severed().is_some(),
        "judged before, connected after"
    );
    let second = ca.revoke("store-1");
    assert!(
        keyring
            .take_over(second.as_bytes())
            .unwrap()
            .unwrap()
            .names_us
    );
    assert!(keyring.take_over(first.as_bytes()).unwrap().is_none());
    assert!(keyring.take_over(b"junk").is_err());
    assert_eq!(keyring.lowest_list(), 2);
    // The next life knows it from the beginning.
    let data_dir = ca.dir.path().join("store-1");
    let keys = ca.keys("store-2", "consumer");
    let (again, trouble) = Keyring::open(keys, &data_dir);
    assert_eq!((again.lowest_list(), trouble), (2, None));
    // One of another authority is not in force, and that is said.
    let keys = Ca::new().keys("store-1", "consumer");
    let (other, trouble) = Keyring::open(keys, &data_dir);
    assert_eq!(other.lowest_list(), 0);
    assert!(trouble.unwrap().contains("hint:"));
}
