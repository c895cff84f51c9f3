//! Every bound of membership, with its unit and its reason.

use std::time::Duration;

/// Largest announcement, in bytes: a member with the most feeds and the longest names, and small
/// enough that gossip, whose messages end at 64 KiB, can carry it.
pub(super) const ANNOUNCEMENT_BYTES_MAX: usize = 32 << 10;

/// Nodes that are known to be gone for good and told of: beyond that the newest names are only in
/// the logs of those who forgot them, and that is said.
pub(super) const FORGOTTEN_MAX: usize = 4096;

/// Names of those in one value of gossip, in bytes: with the longest announcement and the names of
/// [`GOSSIP_NODES_MAX`] nodes in front of it, it finds room in a letter, or in the next one.
pub(super) const FORGOTTEN_PART_BYTES_MAX: usize = 8 << 10;

/// How often gossip is exchanged, with three others each time. A newcomer is known to a hundred
/// nodes within three to five rounds.
pub(super) const GOSSIP_EVERY: Duration = Duration::from_millis(300);

/// How often what gossip knows is looked at; between two rounds nothing changes but by an answer.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long a node that hears of another with its name listens for signs of life of that one,
/// before it takes the name over. In this time a rumour of one that has just died dies out as
/// well: it goes round in five rounds or so.
pub(super) const NAME_WATCH: Duration = Duration::from_millis(2500);

/// Signs of life in the first part of [`NAME_WATCH`] may be such rumours, and do not count.
pub(super) const RUMOUR_MAX: Duration = Duration::from_millis(1500);

/// How long a node that died is kept in gossip, so that who comes later hears of it too. Each start of
/// a node counts as one, so that after a storm of restarts they must go before they fill the letters.
pub(super) const DEAD_KEPT: Duration = Duration::from_secs(3600);

/// Nodes in gossip, those that died lately included, beyond which it is said to be too many: each
/// letter names all of them, in some 80 bytes, and ends at 64 KiB.
pub(super) const GOSSIP_NODES_MAX: usize = 500;

/// What gossip holds of all nodes, in bytes, names and values: that of [`GOSSIP_NODES_MAX`] nodes with
/// announcements of usual length several times, and what letters may add at most between two looks.
pub(super) const GOSSIP_BYTES_MAX: usize = 128 << 20;

/// A letter's part that is compressed, inflated, in bytes: 64 KiB that became 64 times as long. Ours
/// become ten times as long.
pub(super) const INFLATED_BYTES_MAX: usize = 4 << 20;

/// Silence after which gossip as a whole counts as not heard: no other node has been live.
pub(super) const ALONE_MAX: Duration = Duration::from_secs(5);

/// How long etcd keeps the key of a node that it does not hear of, in seconds. A restart of etcd
/// itself takes less.
#[cfg(feature = "etcd")]
pub(super) const LEASE_SECONDS: i64 = 10;

/// How long etcd keeps the word that a node has left, in seconds: 30 days. Who is away for longer
/// does not hear of it, and goes on knowing a member that takes nothing.
#[cfg(feature = "etcd")]
pub(super) const LEFT_SECONDS: i64 = 30 * 24 * 3600;

/// How often the lease is renewed: a third of it, so that two renewals may fail.
#[cfg(feature = "etcd")]
pub(super) const RENEW_EVERY: Duration = Duration::from_secs(3);

/// How long one request to etcd may take.
#[cfg(feature = "etcd")]
pub(super) const ETCD_DEADLINE: Duration = Duration::from_secs(5);

/// Largest answer of etcd that is read, in bytes: all members that a view may have, of 4 KiB each. One
/// with sixty feeds of long names has 1.5 KiB. The client's own bound is 4 MiB, which a few thousand
/// of those exceed.
#[cfg(feature = "etcd")]
pub(super) const PREFIX_BYTES_MAX: usize = consign_core::limits::MEMBERS_MAX * (4 << 10);

/// Shortest and longest time between two tries to reach etcd. The longest keeps thousands of nodes
/// from asking a server that comes up more than a few hundred times a second.
#[cfg(feature = "etcd")]
pub(super) const ETCD_RETRY: (Duration, Duration) =
    (Duration::from_millis(200), Duration::from_secs(5));

/// Largest file with a password or a certificate for etcd, in bytes.
#[cfg(feature = "etcd")]
pub(super) const SECRET_BYTES_MAX: u64 = 256 << 10;
