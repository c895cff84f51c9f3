//! Whom published files belong to: `"user:group"`, by name or by number.

use nix::unistd::{Group, User};
use thiserror::Error;

/// The number that chown(2) takes to mean "leave it as it is": nobody's.
const UNCHANGED: u32 = u32::MAX;

/// An owner that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum BadOwner {
    /// It is not of the form `user:group`.
    #[error("{0:?} is no owner; hint: write user:group, by name or by number")]
    Form(String),
    /// No such user on this machine.
    #[error("there is no user {0:?} here; hint: create it, or write its number")]
    User(String),
    /// No such group on this machine.
    #[error("there is no group {0:?} here; hint: create it, or write its number")]
    Group(String),
    /// The system's user database cannot be read.
    #[error("cannot look up {name:?}: {source}; hint: check /etc/nsswitch.conf, or write numbers")]
    Lookup {
        /// The user or group.
        name: String,
        /// What the system says.
        source: nix::errno::Errno,
    },
}

/// Finds the numbers of a user and a group. Numbers are taken as they are; names are looked up in
/// this machine's user database.
///
/// # Errors
/// [`BadOwner`] when the form is wrong, or a name is unknown here.
pub(super) fn parse_owner(owner: &str) -> Result<(u32, u32), BadOwner> {
    let form = || BadOwner::Form(owner.to_owned());
    let (user, group) = owner.split_once(':').ok_or_else(form)?;
    if user.is_empty() || group.is_empty() {
        return Err(form());
    }
    let lookup = |name: &str, source| BadOwner::Lookup {
        name: name.to_owned(),
        source,
    };
    let uid = match user.parse() {
        Ok(uid) if uid != UNCHANGED => uid,
        _ => User::from_name(user)
            .map_err(|source| lookup(user, source))?
            .map(|found| found.uid.as_raw())
            .ok_or_else(|| BadOwner::User(user.to_owned()))?,
    };
    let gid = match group.parse() {
        Ok(gid) if gid != UNCHANGED => gid,
        _ => Group::from_name(group)
            .map_err(|source| lookup(group, source))?
            .map(|found| found.gid.as_raw())
            .ok_or_else(|| BadOwner::Group(group.to_owned()))?,
    };
    Ok((uid, gid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_names_of_this_machine_or_numbers() {
        assert_eq!(parse_owner("root:root"), Ok((0, 0)));
        assert_eq!(parse_owner("1234:root"), Ok((1234, 0)));
        assert_eq!(parse_owner("1:2"), Ok((1, 2)));
        let missing = "no-such-name-here";
        let user = parse_owner(&format!("{missing}:root"));
        assert_eq!(user, Err(BadOwner::User(missing.to_owned())));
        let group = parse_owner(&format!("root:{missing}"));
        assert_eq!(group, Err(BadOwner::Group(missing.to_owned())));
        for bad in ["", "root", ":root", "root:"] {
            assert_eq!(parse_owner(bad), Err(BadOwner::Form(bad.to_owned())));
        }
    }
}
