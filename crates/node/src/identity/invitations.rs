//! Who was invited and may still come: one line each, in the authority's directory.
//!
//! ```text
//! HASH NODE ROLES UNTIL open
//! HASH NODE ROLES UNTIL spent KEY SERIAL
//! ```
//! HASH is that of the token's secret; UNTIL is in milliseconds since 1970, by the clock of the machine
//! that has the authority. A spent one remembers the key that it was spent on, until it expires: so
//! who did not hear the answer may ask again with that key, and another key is noticed.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use blake3::Hash;
use consign_core::ids::NodeName;

use super::bounds::{INVITATIONS_BYTES_MAX, INVITATIONS_MAX};
use super::files::{self, PUBLIC};
use super::roles::Roles;
use crate::timestamp::Timestamp;

/// An Ed25519 public key.
pub(super) type PublicKey = [u8; 32];

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invitation {
    pub(super) secret: Hash,
    /// Whose it is.
    pub(crate) node: NodeName,
    /// What that node may do.
    pub(crate) roles: Roles,
    /// Until when it is good.
    pub(crate) until: Timestamp,
    /// On what it was spent, and the number of that certificate.
    pub(super) spent: Option<(PublicKey, u64)>,
}

impl Invitation {
    /// Whether nobody has joined by it.
    pub(crate) fn is_open(&self) -> bool {
        self.spent.is_none()
    }
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Invitations(Vec<Invitation>);

impl Invitations {
    /// Reads them; none when there is no file.
    ///
    /// # Errors
    /// What the system says, or which line is not understood.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let bytes = match files::read(path, INVITATIONS_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        let text = String::from_utf8_lossy(&bytes);
        let lines = text.lines().map(|line| {
            let bad = || io::Error::other(format!("the line {line:?} is not understood"));
            parse(line).ok_or_else(bad)
        });
        lines.collect::<io::Result<_>>().map(Self)
    }

    /// Writes them. Anybody may read the file: who knows a hash does not know the secret. It is readable
    /// so that it does not matter whether the agent or a person has written it last.
    ///
    /// # Errors
    /// What the system says; then the old ones are there.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let text: String = self.0.iter().map(line).collect();
        files::replace(path, text.as_bytes(), PUBLIC)
    }

    /// One of them by what is kept of its secret; compared in constant time.
    pub(super) fn find(&self, secret: Hash) -> Option<&Invitation> {
        self.0.iter().find(|known| known.secret == secret)
    }

    /// Those that have not expired.
    pub(super) fn at(&self, now: Timestamp) -> impl Iterator<Item = &Invitation> {
        self.0.iter().filter(move |known| known.until > now)
    }

    /// With one more, which takes the place of an open one of the same node. Without those that have
    /// expired. `None` when there are too many.
    pub(super) fn with(&self, new: Invitation, now: Timestamp) -> Option<Self> {
        let stays = |known: &&Invitation| !known.is_open() || known.node != new.node;
        let mut all: Vec<_> = self.at(now).filter(stays).cloned().collect();
        (all.len() < INVITATIONS_MAX).then(|| {
            all.push(new);
            Self(all)
        })
    }

    /// With one of them spent; without those that have expired.
    pub(super) fn spent(
        &self,
        secret: Hash,
        (key, serial): (PublicKey, u64),
        now: Timestamp,
    ) -> Self {
        let spend = |mut known: Invitation| {
            if known.secret == secret {
                known.spent = Some((key, serial));
            }
            known
        };
        Self(self.at(now).cloned().map(spend).collect())
    }

    /// Without the open ones of a node; `None` when there are none.
    pub(super) fn withdrawn(&self, node: &NodeName) -> Option<Self> {
        let stays = |known: &&Invitation| !known.is_open() || known.node != *node;
        let all: Vec<_> = self.0.iter().filter(stays).cloned().collect();
        (all.len() < self.0.len()).then_some(Self(all))
    }
}

fn line(one: &Invitation) -> String {
    let Invitation {
        secret,
        node,
        roles,
        until,
        spent,
    } = one;
    let mut line = format!("{} {node} {roles} {} ", secret.to_hex(), until.0);
    match spent {
        None => line.push_str("open"),
        Some((key, serial)) => {
            let _ = write!(line, "spent {} {serial}", Hash::from_bytes(*key).to_hex());
        }
    }
    line + "\n"
}

fn parse(line: &str) -> Option<Invitation> {
    let mut words = line.split(' ');
    let secret = Hash::from_hex(words.next()?).ok()?;
    let node = NodeName::new(words.next()?).ok()?;
    let roles = words.next()?.split(',');
    let roles = roles.filter_map(|role| role.parse().ok()).collect();
    let until = Timestamp(words.next()?.parse().ok()?);
    let spent = match words.next()? {
        "open" => None,
        "spent" => {
            let key = *Hash::from_hex(words.next()?).ok()?.as_bytes();
            Some((key, words.next()?.parse().ok()?))
        }
        _ => return None,
    };
    words.next().is_none().then_some(Invitation {
        secret,
        node,
        roles,
        until,
        spent,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(node: &str, until: u64) -> Invitation {
        Invitation {
            secret: blake3::hash(format!("{node}{until}").as_bytes()),
            node: NodeName::new(node).unwrap(),
            roles: Roles::default().with(super::super::Role::Consumer),
            until: Timestamp(until),
            spent: None,
        }
    }

    #[test]
    fn they_are_read_as_they_were_written_and_damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("invitations");
        assert_eq!(Invitations::read(&path).unwrap(), Invitations::default());
        let now = Timestamp(5);
        let all = Invitations::default().with(one("a", 9), now).unwrap();
        let all = all.with(one("b", 8), now).unwrap();
        let all = all.spent(one("a", 9).secret, ([3; 32], 7), now);
        all.write(&path).unwrap();
        assert_eq!(Invitations::read(&path).unwrap(), all);
        std::fs::write(&path, "half a line").unwrap();
        let error = Invitations::read(&path).unwrap_err().to_string();
        assert!(error.contains("half a line"), "{error}");
    }

    #[test]
    fn the_expired_go_the_newer_one_of_a_node_stays_and_there_are_only_so_many() {
        let now = Timestamp(5);
        let names = |all: &Invitations| -> Vec<_> {
            let each = |one: &Invitation| format!("{}{}", one.node, one.until.0);
            all.0.iter().map(each).collect()
        };
        let mut all = Invitations(vec![one("a", 5), one("b", 6), one("c", 6)]);
        all = all.with(one("b", 9), now).unwrap();
        assert_eq!(names(&all), ["c6", "b9"]);
        // One that was spent stays beside a newer one: it is how a second use is noticed.
        all = all.spent(one("c", 6).secret, ([1; 32], 1), now);
        all = all.with(one("c", 9), now).unwrap();
        assert_eq!(names(&all), ["c6", "b9", "c9"]);
        assert_eq!(
            names(&all.withdrawn(&one("c", 0).node).unwrap()),
            ["c6", "b9"]
        );
        let many = (0..INVITATIONS_MAX).map(|at| one(&format!("n{at}"), 9));
        let all = Invitations(many.collect());
        assert_eq!(all.with(one("more", 9), now), None);
        assert!(all.with(one("more", 19), Timestamp(10)).is_some());
    }
}
