//! What a node may do, as its certificate says.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// One thing that a node may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Hand files to others.
    Producer,
    /// Take files from others, and pass them on.
    Consumer,
    /// Act on the cluster itself.
    Operator,
}

/// Every role, in the order in which they are named.
const ALL: [Role; 3] = [Role::Producer, Role::Consumer, Role::Operator];

impl Role {
    /// As certificates and people write it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::Consumer => "consumer",
            Self::Operator => "operator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// No role has this name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is no role; hint: the roles are producer, consumer and operator")]
pub(crate) struct BadRole(String);

impl FromStr for Role {
    type Err = BadRole;

    fn from_str(text: &str) -> Result<Self, BadRole> {
        let found = ALL.into_iter().find(|role| role.name() == text);
        found.ok_or_else(|| BadRole(text.to_owned()))
    }
}

/// A set of roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Roles(u8);

impl Roles {
    /// Whether it holds a role.
    pub(crate) fn has(self, role: Role) -> bool {
        self.0 & bit(role) != 0
    }

    /// With a role.
    pub(crate) fn with(self, role: Role) -> Self {
        Self(self.0 | bit(role))
    }

    /// Its roles.
    pub(crate) fn iter(self) -> impl Iterator<Item = Role> {
        ALL.into_iter().filter(move |&role| self.has(role))
    }
}

fn bit(role: Role) -> u8 {
    1 << role as u8
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        roles.into_iter().fold(Self::default(), Self::with)
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(Role::name).collect();
        match names.is_empty() {
            true => f.write_str("none"),
            false => f.write_str(&names.join(",")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_it_was_made_of() {
        let roles: Roles = [Role::Operator, Role::Producer].into_iter().collect();
        assert_eq!(roles.to_string(), "producer,operator");
        assert!(!roles.has(Role::Consumer));
        assert_eq!(Roles::default().to_string(), "none");
        assert!(
            "Producer"
                .parse::<Role>()
                .unwrap_err()
                .to_string()
                .contains("hint:")
        );
    }
}
