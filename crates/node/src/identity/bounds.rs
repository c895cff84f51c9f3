//! Bounds of what is read about identities, each with its unit and its reason.

/// A file of keys or certificates, in bytes: a chain of RSA certificates is a tenth of that.
pub(super) const PEM_BYTES_MAX: u64 = 1 << 20;

/// Certificates that a peer may present beneath its own: longer chains are somebody's mistake, and
/// each costs a signature to check.
pub(super) const INTERMEDIATES_MAX: usize = 4;

/// A revocation list, in bytes: every member that there may be, with the longest name, fits.
pub(super) const REVOKED_BYTES_MAX: usize = 1 << 20;

/// Nodes that one authority issues certificates to, counted with repetitions: what it has issued is
/// read and written whole.
pub(super) const ISSUED_MAX: usize = 1 << 20;
