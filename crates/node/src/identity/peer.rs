//! Who a certificate says that somebody is.

use std::fmt;

use consign_core::ids::NodeName;
use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use super::certificate::common_name;
use super::roles::{Role, Roles};

/// In front of a node's name, in a URI of its certificate.
pub(super) const NODE_URI: &str = "consign:node:";
/// In front of each of its roles.
pub(super) const ROLE_URI: &str = "consign:role:";

/// Text of strangers that messages repeat, at most, in characters.
const SHOWN_CHARS_MAX: usize = 80;

/// A node, as its certificate describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    name: Name,
    roles: Roles,
    /// The certificate's serial number, where it is one that our own authority could have given.
    pub(super) serial: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    /// Of a cluster's own authority.
    Node(NodeName),
    /// Of an organisation's, which does not know of nodes: the node may have any of these.
    AnyOf(Vec<String>),
}

impl Peer {
    /// Reads a certificate. What it says is true only once its signature is checked.
    ///
    /// # Errors
    /// Why it cannot be read, for a person.
    pub(super) fn read(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let parsed = EndEntityCert::try_from(certificate).map_err(|bad| format!("{bad:?}"))?;
        let serial = serial_number(parsed.serial());
        let mut nodes = parsed
            .valid_uri_names()
            .filter_map(|uri| uri.strip_prefix(NODE_URI));
        let Some(node) = nodes.next() else {
            let common = common_name(parsed.subject());
            let names = parsed.valid_dns_names().chain(common);
            return Ok(Self {
                name: Name::AnyOf(names.map(str::to_owned).collect()),
                // An organisation's certificates say nothing of roles. What acts on the cluster
                // itself takes one that does.
                roles: [Role::Producer, Role::Consumer].into_iter().collect(),
                serial,
            });
        };
        if nodes.next().is_some() {
            return Err("it names two nodes".to_owned());
        }
        // A role of a later version gives nothing here.
        let roles = parsed
            .valid_uri_names()
            .filter_map(|uri| uri.strip_prefix(ROLE_URI)?.parse::<Role>().ok());
        Ok(Self {
            name: Name::Node(NodeName::new(node).map_err(|bad| bad.to_string())?),
            roles: roles.collect(),
            serial,
        })
    }

    /// Whether it may call itself so.
    pub(crate) fn is(&self, node: &NodeName) -> bool {
        match &self.name {
            Name::Node(name) => name == node,
            Name::AnyOf(names) => names.iter().any(|name| name == node.as_str()),
        }
    }

    /// Whether it has a role.
    pub(crate) fn may(&self, role: Role) -> bool {
        self.roles.has(role)
    }

    /// Its roles.
    pub(crate) fn roles(&self) -> Roles {
        self.roles
    }

    /// Its name, where a cluster's own authority gave it.
    pub(super) fn node(&self) -> Option<&NodeName> {
        match &self.name {
            Name::Node(name) => Some(name),
            Name::AnyOf(_) => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Name::Node(name) => write!(f, "{name}"),
            Name::AnyOf(names) if names.is_empty() => f.write_str("nobody"),
            Name::AnyOf(names) => f.write_str(&shown(&names.join(" or "))),
        }
    }
}

/// A stranger's text, fit for a log.
fn shown(text: &str) -> String {
    let quoted = format!(
        "{:?}",
        text.chars().take(SHOWN_CHARS_MAX).collect::<String>()
    );
    quoted.trim_matches('"').to_owned()
}

fn serial_number(bytes: &[u8]) -> Option<u64> {
    let bytes = bytes.strip_prefix(&[0]).unwrap_or(bytes);
    let mut wide = [0; 8];
    wide.get_mut(8_usize.checked_sub(bytes.len())?..)?
        .copy_from_slice(bytes);
    Some(u64::from_be_bytes(wide))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_numbers_are_read_as_they_are_written() {
        assert_eq!(serial_number(&[7]), Some(7));
        assert_eq!(serial_number(&[0, 0x80]), Some(128));
        assert_eq!(serial_number(&[1, 0, 0]), Some(65_536));
        assert_eq!(serial_number(&[0xff; 20]), None);
    }

    #[test]
    fn a_strangers_text_cannot_write_lines_into_a_log() {
        let text = shown("cam\n2026 INFO all is well\u{1b}[2J");
        assert!(!text.contains('\n') && !text.contains('\u{1b}'), "{text}");
    }
}
