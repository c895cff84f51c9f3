//! The one line with which a new machine joins: where to ask, whom to believe, and a secret that is good
//! once.
//!
//! `consign-join-` and base64url of: the form, 1 byte; the authority's fingerprint, 32; the secret, 20;
//! the length of the node's name, 1, and the name; the address; and the first 4 bytes of BLAKE3 over all
//! of that, so that a token that was mistyped or cut off is told from one that is not good any more.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use consign_core::ids::NodeName;
use rustls::pki_types::CertificateDer;
use thiserror::Error;
use webpki::EndEntityCert;

use super::bounds::{ADDRESS_BYTES_MAX, TOKEN_CHARS_MAX};

/// What every token begins with, so that one is known by sight.
const BEGINS: &str = "consign-join-";
/// This form of the rest.
const FORM: u8 = 1;
const CHECK_BYTES: usize = 4;
const FINGERPRINT_BYTES: usize = 32;
const SECRET_BYTES: usize = 20;

/// Why a text is no token. Nobody was asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum BadToken {
    /// It was changed or cut off on its way.
    #[error(
        "the token is mistyped or cut off; hint: copy the whole line that `consign keys invite` printed"
    )]
    Mistyped,
    /// It is whole, and not understood.
    #[error("the token is of a later version, form {0}; hint: upgrade consign on this machine")]
    Form(u8),
}

/// Which authority: the BLAKE3 hash of its public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fingerprint(pub(super) [u8; FINGERPRINT_BYTES]);

impl Fingerprint {
    /// Of an authority's certificate; `None` when that is none.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let parsed = EndEntityCert::try_from(certificate).ok()?;
        let key = parsed.subject_public_key_info();
        Some(Self(*blake3::hash(key.as_ref()).as_bytes()))
    }
}

/// What a token holds and nobody else knows: 160 bits, so that guessing is hopeless however many may be
/// tried. It is in no log: its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret([u8; SECRET_BYTES]);

impl Secret {
    /// A new one.
    ///
    /// # Errors
    /// When the system has no random bytes.
    pub(super) fn draw() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; SECRET_BYTES];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// As it is sent.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// What is kept of one: compared in constant time, and of no use to who reads it.
    pub(super) fn hash_of(bytes: &[u8]) -> blake3::Hash {
        blake3::hash(bytes)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    /// Where to ask, as `host:port`.
    pub(crate) addr: String,
    /// Who the new machine will be.
    pub(crate) node: NodeName,
    /// Whom to believe.
    pub(crate) authority: Fingerprint,
    /// See [`Secret`].
    pub(crate) secret: Secret,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.node.as_str().as_bytes();
        let length = u8::try_from(name.len()).expect("a node's name has at most 64 bytes");
        let mut bytes = vec![FORM];
        bytes.extend_from_slice(&self.authority.0);
        bytes.extend_from_slice(&self.secret.0);
        bytes.push(length);
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(self.addr.as_bytes());
        let check = check_of(&bytes);
        bytes.extend_from_slice(&check);
        write!(f, "{BEGINS}{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Token {
    type Err = BadToken;

    fn from_str(text: &str) -> Result<Self, BadToken> {
        let coded = text
            .trim()
            .strip_prefix(BEGINS)
            .filter(|coded| coded.len() <= TOKEN_CHARS_MAX)
            .ok_or(BadToken::Mistyped)?;
        let bytes = URL_SAFE_NO_PAD
            .decode(coded)
            .map_err(|_| BadToken::Mistyped)?;
        let (body, check) = bytes
            .split_last_chunk::<CHECK_BYTES>()
            .ok_or(BadToken::Mistyped)?;
        if *check != check_of(body) {
            return Err(BadToken::Mistyped);
        }
        match body.split_first() {
            Some((&FORM, rest)) => parse(rest).ok_or(BadToken::Mistyped),
            Some((&form, _)) => Err(BadToken::Form(form)),
            None => Err(BadToken::Mistyped),
        }
    }
}

fn parse(bytes: &[u8]) -> Option<Token> {
    let (&authority, rest) = bytes.split_first_chunk()?;
    let (&secret, rest) = rest.split_first_chunk()?;
    let (&length, rest) = rest.split_first()?;
    let (name, addr) = rest.split_at_checked(usize::from(length))?;
    let addr = std::str::from_utf8(addr).ok()?;
    let is_plain = !addr.is_empty() && addr.bytes().all(|byte| byte.is_ascii_graphic());
    Some(Token {
        addr: Some(addr.to_owned()).filter(|addr| is_plain && addr.len() <= ADDRESS_BYTES_MAX)?,
        node: NodeName::new(std::str::from_utf8(name).ok()?).ok()?,
        authority: Fingerprint(authority),
        secret: Secret(secret),
    })
}

fn check_of(bytes: &[u8]) -> [u8; CHECK_BYTES] {
    let hash = blake3::hash(bytes);
    *hash.as_bytes().first_chunk().expect("a hash has 32 bytes")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(name: &str, addr: &str, fill: u8) -> Token {
        Token {
            addr: addr.to_owned(),
            node: NodeName::new(name).unwrap(),
            authority: Fingerprint([fill; FINGERPRINT_BYTES]),
            secret: Secret([fill ^ 0xff; SECRET_BYTES]),
        }
    }

    /// Tokens lie about in mail: a later version must understand those of this one.
    #[test]
    fn a_token_is_always_written_like_this() {
        let golden = "consign-join-AQcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH-Pj4-Pj4-Pj4-Pj4-Pj4-Pj4-PgFY2FtLTgxMC4wLjAuNTo3NDIwJ7Z3HA";
        assert_eq!(token("cam-8", "10.0.0.5:7420", 7).to_string(), golden);
        assert_eq!(golden.parse(), Ok(token("cam-8", "10.0.0.5:7420", 7)));
    }

    #[test]
    fn a_secret_is_in_no_log() {
        let shown = format!("{:?}", token("cam-8", "a:1", 7));
        assert!(!shown.contains("248"), "{shown}");
    }

    #[test]
    fn what_is_no_token_is_said_to_be_mistyped_and_a_later_form_to_be_later() {
        for text in [
            "",
            "consign-join-",
            "TOKEN",
            "consign-join-AAAA",
            "consign-join-é",
        ] {
            assert_eq!(text.parse::<Token>(), Err(BadToken::Mistyped), "{text}");
        }
        let mut bytes = vec![9, 1, 2];
        bytes.extend(check_of(&bytes));
        let later = format!("{BEGINS}{}", URL_SAFE_NO_PAD.encode(bytes));
        assert_eq!(later.parse::<Token>(), Err(BadToken::Form(9)));
    }

    proptest! {
        #[test]
        fn a_token_comes_back_as_it_was(
            name in "[A-Za-z0-9][A-Za-z0-9._-]{0,63}",
            addr in "[a-z0-9.:\\[\\]-]{1,255}",
            fill: u8,
        ) {
            let token = token(&name, &addr, fill);
            prop_assert_eq!(token.to_string().parse(), Ok(token));
        }

        #[test]
        fn a_token_with_another_character_or_without_some_is_mistyped(
            fill: u8, at: prop::sample::Index, other in "[A-Za-z0-9_-]",
        ) {
            let text = token("cam-8", "10.0.0.5:7420", fill).to_string();
            let at = at.index(text.len());
            let mut changed = text.clone();
            changed.replace_range(at..=at, &other);
            if changed != text {
                prop_assert_eq!(changed.parse::<Token>(), Err(BadToken::Mistyped));
            }
            prop_assert_eq!(text[..at].parse::<Token>(), Err(BadToken::Mistyped));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "(consign-join-)?.{0,200}") {
            let _ = text.parse::<Token>();
        }
    }
}
