//! The keys under a cluster's prefix.

use consign_core::ids::NodeName;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
}

/// What a key is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    Member(String),
    Forgotten(String),
}

impl Keys {
    /// Under this prefix, which has no slash at its end.
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    /// What all keys begin with. The slash keeps those of `/consign-2` out of `/consign`.
    pub(super) fn all(&self) -> String {
        format!("{}/", self.prefix)
    }

    pub(super) fn member(&self, node: &NodeName) -> String {
        format!("{}/members/{node}", self.prefix)
    }

    pub(super) fn forgotten(&self, node: &NodeName) -> String {
        format!("{}/forgotten/{node}", self.prefix)
    }

    /// What this key is of; `None` when it is not ours.
    pub(super) fn read(&self, key: &[u8]) -> Option<Key> {
        let key = std::str::from_utf8(key).ok()?;
        let rest = key.strip_prefix(&self.prefix)?.strip_prefix('/')?;
        match rest.split_once('/')? {
            ("members", name) => Some(Key::Member(name.to_owned())),
            ("forgotten", name) => Some(Key::Forgotten(name.to_owned())),
            (_, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_are_written_and_others_are_left_alone() {
        let keys = Keys::new("/consign/prod");
        let node = NodeName::new("store-1").unwrap();
        let read = |key: &str| keys.read(key.as_bytes());
        let name = "store-1".to_owned();
        assert_eq!(read(&keys.member(&node)), Some(Key::Member(name.clone())));
        assert_eq!(read(&keys.forgotten(&node)), Some(Key::Forgotten(name)));
        for other in [
            "/consign/prod2/members/a",
            "/consign/prod/x/a",
            "/consign/prod/members",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
        assert_eq!(keys.read(b"/consign/prod/members/\xff"), None);
    }
}
