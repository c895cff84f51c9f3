//! Whom a node believes: the authorities that it was given, by their signatures.

use consign_core::receipt::Hash;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use rustls::{CertificateError, Error as TlsError};
use thiserror::Error;
use webpki::{EndEntityCert, KeyUsage};

use super::bounds::INTERMEDIATES_MAX;
use super::certificate::{sequence, valid_since};
use super::lists::Lists;
use super::peer::Peer;
use super::revoked::Revoked;
use super::token::Fingerprint;

/// Which end of a connection a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Who dialled.
    Dialled,
    /// Who was dialled.
    Accepted,
}

/// Why a certificate is not believed. Nothing has changed; the same certificate will not be believed
/// later.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum BadPeer {
    /// It is no certificate that is understood.
    #[error("its certificate cannot be read: {0}; hint: issue it a new one")]
    Unreadable(String),
    /// It has too many certificates between its own and its authority's.
    #[error(
        "{said} presents {count} certificates above its own; hint: at most {INTERMEDIATES_MAX} are looked at"
    )]
    LongChain {
        /// Who it says it is.
        said: String,
        /// How many.
        count: usize,
    },
    /// Nobody whom we believe has signed it.
    #[error(
        "the certificate that says {said} is of another authority; hint: give that node a bundle of this cluster's own, see `consign keys issue`"
    )]
    Stranger {
        /// Who it says it is.
        said: String,
    },
    /// Its authority has signed it, and it is not good all the same.
    #[error("the certificate of {said} is not acceptable: {why}; hint: issue it a new one")]
    Unfit {
        /// Who it says it is.
        said: String,
        /// What the verifier says.
        why: String,
    },
    /// It was taken back.
    #[error(
        "the certificate of {said}, number {serial}, is revoked by list {list}; hint: if that node belongs here, issue it a new one with `consign keys issue`"
    )]
    Revoked {
        /// Who it is.
        said: String,
        /// The certificate's serial number.
        serial: u64,
        /// The number of the list.
        list: u64,
    },
}

impl BadPeer {
    /// What the other side hears of it: an alert.
    pub(super) fn as_tls(&self) -> TlsError {
        TlsError::InvalidCertificate(match self {
            Self::Unreadable(_) => CertificateError::BadEncoding,
            Self::LongChain { .. } => CertificateError::BadEncoding,
            Self::Stranger { .. } => CertificateError::UnknownIssuer,
            Self::Unfit { .. } => CertificateError::ApplicationVerificationFailure,
            Self::Revoked { .. } => CertificateError::Revoked,
        })
    }
}

/// The authorities.
#[derive(Debug)]
pub(super) struct Trust {
    authorities: Vec<CertificateDer<'static>>,
    anchors: Vec<TrustAnchor<'static>>,
}

impl Trust {
    /// Believes these.
    ///
    /// # Errors
    /// Why one of them is no certificate, for a person.
    pub(super) fn new(authorities: Vec<CertificateDer<'static>>) -> Result<Self, String> {
        let anchor = |authority| {
            let anchor = webpki::anchor_from_trusted_cert(authority);
            anchor
                .map(|anchor| anchor.to_owned())
                .map_err(|bad| format!("{bad:?}"))
        };
        Ok(Self {
            anchors: authorities.iter().map(anchor).collect::<Result<_, _>>()?,
            authorities,
        })
    }

    /// Their certificates.
    pub(super) fn authorities(&self) -> &[CertificateDer<'static>] {
        &self.authorities
    }

    /// Whether the one with this key is among them.
    pub(super) fn believes(&self, authority: Fingerprint) -> bool {
        self.keys().any(|key| key == authority)
    }

    /// Their keys.
    pub(super) fn keys(&self) -> impl Iterator<Item = Fingerprint> {
        self.authorities.iter().filter_map(Fingerprint::of)
    }

    /// Who presents a certificate, if it is to be believed.
    ///
    /// # Errors
    /// [`BadPeer`].
    pub(super) fn judge(
        &self,
        certificate: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        end: End,
        revoked: &Lists,
    ) -> Result<Peer, BadPeer> {
        let peer = Peer::read(certificate).map_err(BadPeer::Unreadable)?;
        let said = peer.to_string();
        if above.len() > INTERMEDIATES_MAX {
            let count = above.len();
            return Err(BadPeer::LongChain { said, count });
        }
        Self::verify(&self.anchors, certificate, above, end).map_err(|bad| match bad {
            webpki::Error::UnknownIssuer => BadPeer::Stranger { said: said.clone() },
            // A certificate of another authority of the same name.
            webpki::Error::InvalidSignatureForPublicKey => BadPeer::Stranger { said: said.clone() },
            other => BadPeer::Unfit {
                said: said.clone(),
                why: format!("{other:?}"),
            },
        })?;
        match self.revoking(&peer, certificate, above, revoked) {
            None => Ok(peer),
            Some((list, serial)) => Err(BadPeer::Revoked {
                said,
                serial,
                list: list.number(),
            }),
        }
    }

    /// The list that makes void a certificate that is believed but for that, and the certificate's
    /// number. Numbers are an authority's own, and so are its lists: one counts only for what that
    /// authority alone is enough to believe.
    pub(super) fn revoking<'a>(
        &self,
        peer: &Peer,
        certificate: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        lists: &'a Lists,
    ) -> Option<(&'a Revoked, u64)> {
        let has_issued = |list: &Revoked| {
            let each = self.authorities.iter().zip(&self.anchors);
            let mut of_list = each.filter(|(one, _)| Fingerprint::of(one) == list.authority());
            of_list.any(|(_, anchor)| Self::is_enough(anchor, certificate, above))
        };
        let mut covering = lists.covering(peer);
        covering.find(|(list, _)| has_issued(list))
    }

    /// The authorities each of which is enough to believe a certificate that has been judged: SHA-256
    /// of their public keys.
    pub(super) fn clusters_of(
        &self,
        certificate: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
    ) -> Vec<Hash> {
        let is_enough =
            |anchor: &&_| self.anchors.len() == 1 || Self::is_enough(anchor, certificate, above);
        let anchors = self.anchors.iter().filter(is_enough);
        anchors.map(fingerprint).collect()
    }

    /// Whether one authority is enough to believe a certificate, at either end.
    fn is_enough(
        anchor: &TrustAnchor<'_>,
        certificate: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
    ) -> bool {
        let alone = std::slice::from_ref(anchor);
        let is_good = |end| Self::verify(alone, certificate, above, end).is_ok();
        is_good(End::Accepted) || is_good(End::Dialled)
    }

    /// Checks the signatures up to an authority, at a moment that the certificates themselves name:
    /// if there is one at which all of them are valid, the youngest of them begins then. So a
    /// certificate is good for ever, and a wrong clock changes nothing.
    fn verify(
        anchors: &[TrustAnchor<'_>],
        certificate: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        end: End,
    ) -> Result<(), webpki::Error> {
        let parsed = EndEntityCert::try_from(certificate)?;
        let all = std::iter::once(certificate).chain(above);
        let mut moments: Vec<_> = all.filter_map(valid_since).collect();
        moments.sort_unstable_by_key(|moment| std::cmp::Reverse(moment.as_secs()));
        moments.dedup();
        let mut outcome = Err(webpki::Error::BadDer);
        for moment in moments {
            outcome = verify_at(anchors, &parsed, above, end, moment);
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }
}

fn verify_at(
    anchors: &[TrustAnchor<'_>],
    certificate: &EndEntityCert<'_>,
    above: &[CertificateDer<'_>],
    end: End,
    moment: UnixTime,
) -> Result<(), webpki::Error> {
    let usage = match end {
        End::Dialled => KeyUsage::client_auth(),
        End::Accepted => KeyUsage::server_auth(),
    };
    let verified = certificate.verify_for_usage(
        webpki::ALL_VERIFICATION_ALGS,
        anchors,
        above,
        moment,
        usage,
        None,
        None,
    );
    verified.map(drop)
}

/// SHA-256 of an authority's public key, as other tools compute it: over the whole
/// `SubjectPublicKeyInfo`, of which an anchor holds the inside.
fn fingerprint(anchor: &TrustAnchor<'_>) -> Hash {
    let whole = sequence(&anchor.subject_public_key_info);
    let suite = TLS13_AES_128_GCM_SHA256.tls13().expect("it is one of 1.3");
    let digest = suite.common.hash_provider.hash(&whole);
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}
