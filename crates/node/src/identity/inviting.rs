//! The authority's part in a machine's joining: it invites, and gives whoever comes with the right secret
//! a certificate, once.

use consign_core::ids::NodeName;
use rcgen::{PKCS_ED25519, PublicKeyData, SignatureAlgorithm};
use rustls::pki_types::CertificateDer;
use thiserror::Error;

use super::authority::{Authority, AuthorityError, failed, library};
use super::files;
use super::invitations::{Invitation, PublicKey};
use super::roles::Roles;
use super::token::{Fingerprint, Secret, Token};
use crate::timestamp::Timestamp;

/// The file of the invitations, in the authority's directory.
pub(super) const INVITATIONS: &str = "invitations";

/// What a newcomer signs begins with this, so that its signature is one over nothing else.
const PROOF_BEGINS: &[u8] = b"consign join 1\n";

/// Why a newcomer gets no certificate. Unless it says otherwise nothing has changed, and the same token
/// and key get the same answer.
#[derive(Debug, Error)]
pub(crate) enum NotAdmitted {
    /// There is no such invitation.
    #[error(
        "this token is not known here: it was withdrawn, has expired, or is of another authority; hint: ask for a new one, `consign keys invite` makes it"
    )]
    Unknown,
    /// It was good once.
    #[error(
        "the token for {0} has expired by the clock of the agent; hint: ask for a new one, `consign keys invite {0}` makes it"
    )]
    Expired(NodeName),
    /// It was used, by somebody with another key.
    #[error(
        "the token for {0} was used already, with another key: one of the two is not who was invited; hint: if you have not used it yourself, tell whoever runs the cluster at once: `consign keys revoke {0}`"
    )]
    Used(NodeName),
    /// It was used, and what it gave was taken back.
    #[error("the certificate that the token for {0} gave was revoked; hint: ask for a new token")]
    Revoked(NodeName),
    /// The newcomer does not have the private key.
    #[error("the key is not the newcomer's own; hint: check the version of consign there")]
    Proof,
    /// The authority's files do not let us. The token stays good.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

/// A newcomer that is a node now.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// Which.
    pub(crate) node: NodeName,
    /// By this.
    pub(crate) certificate: CertificateDer<'static>,
}

impl Authority {
    /// Invites a node to come until then; an earlier invitation that nobody has used is void. It is
    /// synced when this returns.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub(crate) fn invite(
        &mut self,
        node: &NodeName,
        roles: Roles,
        (now, until): (Timestamp, Timestamp),
        addr: &str,
    ) -> Result<Token, AuthorityError> {
        let secret = Secret::draw().map_err(library)?;
        let authority = Fingerprint::of(&self.certificate).expect("it was read when it was opened");
        let invitation = Invitation {
            secret: Secret::hash_of(secret.bytes()),
            node: node.clone(),
            roles,
            until,
            spent: None,
        };
        let with = self.invitations.with(invitation, now);
        self.invitations = with.ok_or(AuthorityError::Crowded)?;
        self.write_invitations()?;
        Ok(Token {
            addr: addr.to_owned(),
            node: node.clone(),
            authority,
            secret,
        })
    }

    /// Who was invited and may still come.
    pub(crate) fn invited(&self, now: Timestamp) -> impl Iterator<Item = &Invitation> {
        self.invitations.at(now).filter(|one| one.is_open())
    }

    /// Gives a newcomer its certificate. That its token is spent on this key is synced before: after a
    /// crash on either side the same key gets the same certificate again, and no other key gets one.
    ///
    /// # Errors
    /// [`NotAdmitted`].
    pub(super) fn admit(
        &mut self,
        secret: blake3::Hash,
        key: PublicKey,
        now: Timestamp,
    ) -> Result<Admitted, NotAdmitted> {
        let known = self.invitations.find(secret).cloned();
        let Some(Invitation {
            node, roles, spent, ..
        }) = known.filter(|known| known.until > now)
        else {
            return Err(NotAdmitted::Unknown);
        };
        let serial = match spent {
            Some((on, serial)) if on == key => {
                // Whoever wrote that may have been killed before it was synced.
                let path = self.dir.join(INVITATIONS);
                files::sync(&path).map_err(failed("sync", &path))?;
                serial
            }
            Some(_) => return Err(NotAdmitted::Used(node)),
            None => {
                // A crash behind this leaves a number that nobody has, and a token that is good.
                let serial = self.number(&node, roles)?;
                self.invitations = self.invitations.spent(secret, (key, serial), now);
                // A crash before this is synced leaves a token that is good: nobody has an answer.
                self.write_invitations()?;
                serial
            }
        };
        if self
            .issued
            .iter()
            .any(|one| one.serial == serial && one.is_revoked)
        {
            return Err(NotAdmitted::Revoked(node));
        }
        let certificate = self.certify(&node, roles, serial, &Newcomers(key))?;
        Ok(Admitted {
            node,
            certificate: certificate.der().clone(),
        })
    }

    /// Makes the open invitation of a node void; says whether there was one.
    pub(super) fn withdraw(&mut self, node: &NodeName) -> Result<bool, AuthorityError> {
        let Some(without) = self.invitations.withdrawn(node) else {
            return Ok(false);
        };
        self.invitations = without;
        self.write_invitations()?;
        Ok(true)
    }

    fn write_invitations(&self) -> Result<(), AuthorityError> {
        let path = self.dir.join(INVITATIONS);
        self.invitations
            .write(&path)
            .map_err(failed("write", &path))
    }
}

/// What a newcomer signs with its key: it speaks of this authority and this token, so that a proof that
/// was seen elsewhere is of no use here.
pub(super) fn proof_of(authority: Fingerprint, secret: blake3::Hash) -> Vec<u8> {
    [PROOF_BEGINS, &authority.0, secret.as_bytes()].concat()
}

/// A newcomer's public key, in which there is nothing that could be malformed.
struct Newcomers(PublicKey);

impl PublicKeyData for Newcomers {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}
