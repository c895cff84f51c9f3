//! Every key that the config may have, and which of them this version lacks.
//!
//! The text is held against this before anything else, so that an unknown key is told the nearest
//! known one, and a known one that is not implemented yet is refused by name. What is accepted
//! here must be read in [`raw`](super::raw): a test holds the two together.

/// What may stand under a key.
#[derive(Debug)]
pub(super) enum Kind {
    /// A value that must be there.
    Required,
    /// A value with a default.
    Optional,
    /// Nothing, in this version.
    Later,
    /// In this version only one value, which is also the default.
    Only {
        /// That value.
        now: &'static str,
        /// Those that come later; empty when any other does.
        later: &'static [&'static str],
    },
    /// A table.
    Table(Keys),
    /// Any number of tables.
    Tables(Keys),
}

/// The keys of one table.
pub(super) type Keys = &'static [(&'static str, Kind)];

/// The keys at the top.
pub(super) const FILE: Keys = &[
    ("node", Kind::Table(NODE)),
    ("listen", Kind::Table(LISTEN)),
    ("tls", Kind::Table(TLS)),
    ("membership", Kind::Table(MEMBERSHIP)),
    ("produce", Kind::Tables(PRODUCE)),
    ("consume", Kind::Tables(CONSUME)),
];

const NODE: Keys = &[
    ("name", Kind::Required),
    ("zone", Kind::Optional),
    ("data_dir", Kind::Required),
    ("history", Kind::Optional),
];

const LISTEN: Keys = &[
    ("peer", Kind::Required),
    ("advertise", Kind::Optional),
    ("http", Kind::Optional),
];

const TLS: Keys = &[
    ("plaintext", Kind::Optional),
    ("bundle", Kind::Optional),
    ("ca", Kind::Optional),
    ("cert", Kind::Optional),
    ("key", Kind::Optional),
    ("revoked", Kind::Optional),
    ("authority", Kind::Optional),
];

const MEMBERSHIP: Keys = &[
    ("kind", Kind::Optional),
    ("nodes", Kind::Tables(MEMBER)),
    ("seeds", Kind::Optional),
    ("endpoints", Kind::Optional),
    ("prefix", Kind::Optional),
    ("user", Kind::Optional),
    ("password_file", Kind::Optional),
    ("ca", Kind::Optional),
    ("cert", Kind::Optional),
    ("key", Kind::Optional),
    ("replace_after", Kind::Optional),
    ("forget_after", Kind::Optional),
];

const MEMBER: Keys = &[
    ("name", Kind::Required),
    ("addr", Kind::Required),
    ("zone", Kind::Optional),
    ("weight", Kind::Optional),
    ("feeds", Kind::Optional),
];

const PRODUCE: Keys = &[
    ("feed", Kind::Required),
    ("watch", Kind::Optional),
    ("include", Kind::Optional),
    ("settle", Kind::Optional),
    ("scan_every", Kind::Optional),
    ("after", Kind::Optional),
    ("archive_dir", Kind::Optional),
    ("replicas", Kind::Optional),
    ("key", Kind::Optional),
    (
        "ack",
        Kind::Only {
            now: "saved",
            later: &["processed"],
        },
    ),
    ("priority", Kind::Optional),
    ("bandwidth", Kind::Later),
    (
        "compression",
        Kind::Only {
            now: "none",
            later: &["auto", "zstd"],
        },
    ),
    (
        "expire_after",
        Kind::Only {
            now: "never",
            later: &[],
        },
    ),
    ("max_queue", Kind::Optional),
    ("preserve", Kind::Optional),
    ("replace_after", Kind::Optional),
    (
        "forget_after",
        Kind::Only {
            now: "never",
            later: &[],
        },
    ),
];

const CONSUME: Keys = &[
    ("feed", Kind::Required),
    ("inbox", Kind::Required),
    ("layout", Kind::Optional),
    ("on_conflict", Kind::Optional),
    ("weight", Kind::Optional),
    ("min_free", Kind::Optional),
    ("owner", Kind::Optional),
    ("mode", Kind::Optional),
    ("from", Kind::Optional),
    ("on_saved", Kind::Later),
];
