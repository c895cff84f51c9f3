//! Bounds of what is read about identities, each with its unit and its reason.

/// A file of keys or certificates, in bytes: a chain of RSA certificates is a tenth of that.
pub(super) const PEM_BYTES_MAX: u64 = 1 << 20;

/// Certificates that a peer may present beneath its own: longer chains are somebody's mistake, and
/// each costs a signature to check.
pub(super) const INTERMEDIATES_MAX: usize = 4;

/// A revocation list, in bytes: every member that there may be, with the longest name, fits.
pub(super) const REVOKED_BYTES_MAX: usize = 1 << 20;

/// Authorities that a node believes: a fleet that goes over to another one has two. Each may have a
/// revocation list, which is kept and told.
pub(crate) const AUTHORITIES_MAX: usize = 16;

/// The lists of all authorities, in bytes.
pub(super) const LISTS_BYTES_MAX: u64 = (AUTHORITIES_MAX * REVOKED_BYTES_MAX) as u64;

/// Nodes that one authority issues certificates to, counted with repetitions: what it has issued is
/// read and written whole.
pub(super) const ISSUED_MAX: usize = 1 << 20;

/// Invitations that one authority remembers, the spent ones included: read and written whole at each
/// use, and far more than anybody sets up machines in the time that one is good.
pub(super) const INVITATIONS_MAX: usize = 1 << 10;

/// All of them, in bytes: the longest line has 280.
pub(super) const INVITATIONS_BYTES_MAX: u64 = INVITATIONS_MAX as u64 * 512;

/// The longest address in a token, in bytes, as in the protocol: a host's name and a port.
pub(super) const ADDRESS_BYTES_MAX: usize = 259;

/// The longest token, in characters after its first word: four for each three bytes.
pub(super) const TOKEN_CHARS_MAX: usize = 512;

/// How long who was invited may wait for another command that is at the authority's files.
pub(super) const BUSY_TRIES: u32 = 100;
/// See [`BUSY_TRIES`]: the pause between two of them.
pub(super) const BUSY_PAUSE: std::time::Duration = std::time::Duration::from_millis(20);
