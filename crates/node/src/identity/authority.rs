//! A cluster's own authority: a directory on a machine of the operator's choice. No node needs it to
//! run; whoever has it can make nodes.
//!
//! | file | what |
//! |---|---|
//! | `ca.pem` | its certificate: what nodes believe |
//! | `ca.key` | its private key |
//! | `issued` | `NUMBER NODE ROLES` of each certificate, in order; the next number is one more |
//! | `revoked` | the newest [revocation list](super::revoked), when there is one |
//! | `invitations` | who was [invited](super::invitations) and may still join, when anybody was |

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use consign_core::ids::NodeName;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ED25519, PublicKeyData,
    SanType, SerialNumber, SigningKey as _,
};
use rustix::fs::FlockOperation;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use thiserror::Error;
use webpki::EndEntityCert;

use super::bounds::{INVITATIONS_MAX, ISSUED_MAX, PEM_BYTES_MAX, REVOKED_BYTES_MAX};
use super::bundle::KeyFiles;
use super::certificate::common_name;
use super::files::{self, PUBLIC, SECRET};
use super::invitations::Invitations;
use super::inviting::INVITATIONS;
use super::keys::{KeyError, Keys};
use super::peer::{NODE_URI, ROLE_URI};
use super::revoked::{BadList, Revoked};
use super::roles::Roles;

/// The longest line of `issued`, in bytes.
const ISSUED_LINE_BYTES: u64 = 128;

/// Why an authority cannot do what it was asked to. Nothing has changed, except that a number may
/// have been used up.
#[derive(Debug, Error)]
pub(crate) enum AuthorityError {
    /// There is one already.
    #[error("{} holds an authority already; hint: use it, or choose another directory", .0.display())]
    Exists(PathBuf),
    /// There is none.
    #[error("{} holds no authority: {source}; hint: `consign keys init --dir DIR` makes one", dir.display())]
    Missing {
        /// Where.
        dir: PathBuf,
        /// What the system says.
        source: io::Error,
    },
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
    /// What was to be written is there already.
    #[error("{} is there already; hint: name another file with --out, or move it away", .0.display())]
    OutExists(PathBuf),
    /// The private key is not private.
    #[error("{} has the permissions {mode:04o}; hint: chmod 600 {}", path.display(), path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A file of the directory is not what it should be.
    #[error("{} is damaged: {why}; hint: bring it back from a backup", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How.
        why: String,
    },
    /// Somebody else is at it.
    #[error("another command uses {}; hint: run this again when it is through", .0.display())]
    Busy(PathBuf),
    /// There are no more numbers.
    #[error(
        "this authority has issued {ISSUED_MAX} certificates; hint: make a new one with `consign keys init`"
    )]
    Full,
    /// Too many may still come.
    #[error(
        "{INVITATIONS_MAX} invitations are good or were used a short while ago; hint: wait until some expire, `consign keys list` says when, or use `consign keys issue`"
    )]
    Crowded,
    /// Nothing was issued to that node.
    #[error(
        "this authority has issued nothing to {0}; hint: `consign keys list` names those that have something"
    )]
    Unknown(NodeName),
    /// The library refuses, or makes what nodes would not believe.
    #[error("cannot make a certificate: {0}; hint: report this as a bug")]
    Certificate(String),
}

/// A certificate that was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Issued {
    /// Its number.
    pub(crate) serial: u64,
    /// Whose it is.
    pub(crate) node: NodeName,
    /// What that node may do.
    pub(crate) roles: Roles,
    /// Whether it was revoked since.
    pub(crate) is_revoked: bool,
}

/// See the module. Others wait while it is open.
#[derive(Debug)]
pub(crate) struct Authority {
    pub(super) dir: PathBuf,
    pub(super) certificate: CertificateDer<'static>,
    certificate_pem: String,
    pub(super) issuer: Issuer<'static, KeyPair>,
    pub(super) issued: Vec<Issued>,
    revoked: Revoked,
    pub(super) invitations: Invitations,
    _lock: File,
}

impl Authority {
    /// Makes a new one in `dir`, which is created if need be.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub(crate) fn init(dir: &Path, cluster: &str) -> Result<Self, AuthorityError> {
        files::make_dir(dir).map_err(failed("create", dir))?;
        let lock = lock(dir)?;
        let (certificate, key) = (dir.join("ca.pem"), dir.join("ca.key"));
        if certificate.exists() || key.exists() {
            return Err(AuthorityError::Exists(dir.to_owned()));
        }
        let pair = KeyPair::generate_for(&PKCS_ED25519).map_err(library)?;
        let mut params = authority_params(&format!("consign {cluster}"));
        let mut serial = [0; 16];
        getrandom::fill(&mut serial).map_err(library)?;
        // Positive, whatever the bits are.
        serial[0] &= 0x7f;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        let pem = params.self_signed(&pair).map_err(library)?.pem();
        files::write_new(&key, pair.serialize_pem().as_bytes(), SECRET)
            .map_err(failed("write", &key))?;
        // Last: with it the authority is whole.
        files::write_new(&certificate, pem.as_bytes(), PUBLIC)
            .map_err(failed("write", &certificate))?;
        drop(lock);
        Self::open(dir)
    }

    /// Opens the one in `dir`.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub(crate) fn open(dir: &Path) -> Result<Self, AuthorityError> {
        let path = dir.join("ca.pem");
        let read = files::read(&path, PEM_BYTES_MAX);
        let pem = read.map_err(|source| AuthorityError::Missing {
            dir: dir.to_owned(),
            source,
        })?;
        let lock = lock(dir)?;
        let damaged = |why: String| AuthorityError::Damaged {
            path: path.clone(),
            why,
        };
        let certificate_pem = String::from_utf8(pem).map_err(|bad| damaged(bad.to_string()))?;
        let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|bad| damaged(bad.to_string()))?;
        let name = EndEntityCert::try_from(&certificate)
            .ok()
            .and_then(|parsed| common_name(parsed.subject()).map(str::to_owned))
            .ok_or_else(|| damaged("it has no name".to_owned()))?;
        let issuer = Issuer::new(authority_params(&name), read_key(&dir.join("ca.key"))?);
        let revoked = read_revoked(&dir.join("revoked"), &certificate)?;
        let issued = read_issued(&dir.join("issued"), &revoked)?;
        let path = dir.join(INVITATIONS);
        let invitations = Invitations::read(&path).map_err(failed("read", &path))?;
        Ok(Self {
            dir: dir.to_owned(),
            certificate,
            certificate_pem,
            issuer,
            issued,
            revoked,
            invitations,
            _lock: lock,
        })
    }

    /// Makes a node's bundle, and writes it to `out`, which must not be there. Its number is used up
    /// and synced before anybody can have the certificate.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub(crate) fn issue(
        &mut self,
        node: &NodeName,
        roles: Roles,
        out: &Path,
    ) -> Result<u64, AuthorityError> {
        if out.exists() {
            return Err(AuthorityError::OutExists(out.to_owned()));
        }
        let serial = self.number(node, roles)?;
        let pair = KeyPair::generate_for(&PKCS_ED25519).map_err(library)?;
        let certificate = self.certify(node, roles, serial, &pair)?;
        let (own, key) = (certificate.pem(), pair.serialize_pem());
        let bundle = format!("{own}{key}{}", self.certificate_pem);
        files::write_new(out, bundle.as_bytes(), SECRET).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => AuthorityError::OutExists(out.to_owned()),
            _ => failed("write", out)(source),
        })?;
        // What nodes would not believe is found out here and not there.
        Keys::read(&KeyFiles::Bundle(out.to_owned()), None, node, &[])
            .map_err(|bad: KeyError| library(bad))?;
        Ok(serial)
    }

    /// Uses up a number for a certificate of a node's. It is synced when this returns: a crash before
    /// anybody has that certificate leaves a number that nobody has.
    pub(super) fn number(&mut self, node: &NodeName, roles: Roles) -> Result<u64, AuthorityError> {
        if self.issued.len() >= ISSUED_MAX {
            return Err(AuthorityError::Full);
        }
        let serial = self.issued.last().map_or(1, |last| last.serial + 1);
        self.issued.push(Issued {
            serial,
            node: node.clone(),
            roles,
            is_revoked: false,
        });
        self.write_issued()?;
        Ok(serial)
    }

    /// Makes the certificate of that number: the same one each time for the same key.
    pub(super) fn certify(
        &self,
        node: &NodeName,
        roles: Roles,
        serial: u64,
        key: &impl PublicKeyData,
    ) -> Result<Certificate, AuthorityError> {
        let params = node_params(node, roles, serial)?;
        params.signed_by(key, &self.issuer).map_err(library)
    }

    /// Takes back every certificate that a node has been issued so far, and its invitation; returns the
    /// list that says so. When they are taken back already, that is the list that there is. `None` when
    /// the node had an invitation and nothing else.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub(crate) fn revoke(&mut self, node: &NodeName) -> Result<Option<&Revoked>, AuthorityError> {
        // First: a certificate that was given by it after this would have a later number.
        let was_invited = self.withdraw(node)?;
        let of_node = self.issued.iter().filter(|issued| issued.node == *node);
        let Some(through) = of_node.map(|issued| issued.serial).max() else {
            return match was_invited {
                true => Ok(None),
                false => Err(AuthorityError::Unknown(node.clone())),
            };
        };
        if through > self.revoked.through(node) {
            let sign = |signed: &[u8]| self.issuer.key().sign(signed).map_err(library);
            let next = self.revoked.with(node, through, sign)?;
            let next = Revoked::read(
                next.text().as_bytes(),
                std::slice::from_ref(&self.certificate),
            )
            .map_err(library::<BadList>)?;
            let path = self.dir.join("revoked");
            files::replace(&path, next.text().as_bytes(), PUBLIC)
                .map_err(failed("write", &path))?;
            self.revoked = next;
        }
        Ok(Some(&self.revoked))
    }

    /// What it has issued, in order.
    pub(crate) fn issued(&self) -> &[Issued] {
        &self.issued
    }

    /// Where a file of its directory is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn write_issued(&self) -> Result<(), AuthorityError> {
        let line = |issued: &Issued| {
            let Issued {
                serial,
                node,
                roles,
                ..
            } = issued;
            format!("{serial} {node} {roles}\n")
        };
        let text: String = self.issued.iter().map(line).collect();
        let path = self.dir.join("issued");
        files::replace(&path, text.as_bytes(), PUBLIC).map_err(failed("write", &path))
    }
}

pub(super) fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> AuthorityError {
    move |source| AuthorityError::File {
        what,
        path: path.to_owned(),
        source,
    }
}

pub(super) fn library<E: std::fmt::Display>(bad: E) -> AuthorityError {
    AuthorityError::Certificate(bad.to_string())
}

/// Keeps two commands from using one number.
fn lock(dir: &Path) -> Result<File, AuthorityError> {
    let file = File::open(dir).map_err(failed("open", dir))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(AuthorityError::Busy(dir.to_owned())),
        Err(error) => Err(failed("lock", dir)(error.into())),
    }
}

fn read_key(path: &Path) -> Result<KeyPair, AuthorityError> {
    if let Some(mode) = files::exposed(path).map_err(failed("read", path))? {
        let path = path.to_owned();
        return Err(AuthorityError::Exposed { path, mode });
    }
    let pem = files::read(path, PEM_BYTES_MAX).map_err(failed("read", path))?;
    let pair = KeyPair::from_pem(&String::from_utf8_lossy(&pem));
    pair.map_err(|bad| AuthorityError::Damaged {
        path: path.to_owned(),
        why: bad.to_string(),
    })
}

fn read_revoked(
    path: &Path,
    certificate: &CertificateDer<'static>,
) -> Result<Revoked, AuthorityError> {
    let bytes = match files::read(path, REVOKED_BYTES_MAX as u64) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Revoked::default()),
        Err(error) => return Err(failed("read", path)(error)),
    };
    Revoked::read(&bytes, std::slice::from_ref(certificate)).map_err(|why| {
        AuthorityError::Damaged {
            path: path.to_owned(),
            why: crate::hint::split(&why.to_string()).0.to_owned(),
        }
    })
}

fn read_issued(path: &Path, revoked: &Revoked) -> Result<Vec<Issued>, AuthorityError> {
    let bytes = match files::read(path, ISSUED_MAX as u64 * ISSUED_LINE_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("read", path)(error)),
    };
    let text = String::from_utf8_lossy(&bytes);
    let read = |line: &str| {
        let mut words = line.split(' ');
        let (serial, node) = (
            words.next()?.parse().ok()?,
            NodeName::new(words.next()?).ok()?,
        );
        let roles = words
            .next()?
            .split(',')
            .filter_map(|role| role.parse().ok());
        Some(Issued {
            is_revoked: serial <= revoked.through(&node),
            serial,
            node,
            roles: roles.collect(),
        })
    };
    let lines = text.lines().map(|line| {
        read(line).ok_or_else(|| AuthorityError::Damaged {
            path: path.to_owned(),
            why: format!("the line {line:?} is not understood"),
        })
    });
    lines.collect()
}

/// What every certificate has in common: it is good for ever, so that no clock has a say.
fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = rcgen::date_time_ymd(2000, 1, 1);
    params.not_after = rcgen::date_time_ymd(9999, 12, 31);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    params
}

fn node_params(
    node: &NodeName,
    roles: Roles,
    serial: u64,
) -> Result<CertificateParams, AuthorityError> {
    let mut params = params(node.as_str());
    params.serial_number = Some(SerialNumber::from(serial));
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ClientAuth,
        ExtendedKeyUsagePurpose::ServerAuth,
    ];
    params.use_authority_key_identifier_extension = true;
    let uris = std::iter::once(format!("{NODE_URI}{node}"))
        .chain(roles.iter().map(|role| format!("{ROLE_URI}{role}")));
    for uri in uris {
        let uri = uri.try_into().map_err(library)?;
        params.subject_alt_names.push(SanType::URI(uri));
    }
    if is_dns_name(node.as_str()) {
        let name = node.as_str().try_into().map_err(library)?;
        params.subject_alt_names.push(SanType::DnsName(name));
    }
    Ok(params)
}

/// Whether a node's name could be a host's: for other tools that look at certificates.
fn is_dns_name(name: &str) -> bool {
    name.split('.').all(|label| {
        let known = |c: char| c.is_ascii_alphanumeric() || c == '-';
        (1..=63).contains(&label.len())
            && label.chars().all(known)
            && !label.starts_with('-')
            && !label.ends_with('-')
    })
}
