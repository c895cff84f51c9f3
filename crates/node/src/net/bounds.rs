//! Bounds of the network side of a node, each with its unit and its reason. What both ends of a
//! connection must agree on is in [`consign_core::limits`].

use std::time::Duration;

/// How long a connection may take to be made, name resolution included.
pub(super) const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// Connections that the system keeps until they are accepted, as far as it lets us
/// (`net.core.somaxconn`). Beyond it those who connect are not heard for a second or more, so it has
/// to hold what comes while one thread is busy.
pub(super) const BACKLOG: u32 = 4096;

/// How long a stranger may say nothing. It costs next to nothing meanwhile, and less than one that
/// is sent away and comes back; who needs its place takes it.
pub(super) const FIRST_BYTE_DEADLINE: Duration = Duration::from_secs(60);

/// How long a stranger may take to say hello once it has begun to.
pub(super) const HELLO_DEADLINE: Duration = Duration::from_secs(5);

/// How long TLS may take to come up, before the hello: two round trips and the signatures of two
/// machines that may be busy.
pub(super) const TLS_DEADLINE: Duration = Duration::from_secs(5);

/// What a peer may send until TLS is up, in bytes: its hello, and a chain of a few large certificates.
pub(super) const TLS_BYTES_MAX: usize = 32 << 10;

/// Strangers that TLS may be coming up with at once; a newcomer beyond them takes the place of another,
/// as with [`STRANGERS_MAX`]. Each may cost 64 KiB.
pub(super) const TLS_STRANGERS_MAX: usize = 1 << 10;

/// How long an answer to our hello may take. It waits for the peer's log to be synced.
pub(super) const WELCOME_DEADLINE: Duration = Duration::from_secs(10);

/// How long our own log may take to note a peer's incarnation before the peer is sent away.
pub(super) const ADMIT_DEADLINE: Duration = Duration::from_secs(30);

/// Largest header of a hello or its answer, in bytes: names and a reason. All that a stranger can
/// make us allocate.
pub(super) const HELLO_BYTES_MAX: usize = 4 << 10;

/// Connections that may be between accepted and known; a newcomer beyond them takes the place of
/// another. Each costs about 1 KiB while it is silent, and 10 KiB once it has said something.
pub(super) const STRANGERS_MAX: usize = 16 << 10;

/// Files that strangers leave for everything else, of those that the process may have open; at most
/// half of them.
pub(super) const FILES_KEPT: usize = 4 << 10;

/// Connections from one node: a control connection and its successor, and the data connections of
/// either purpose with theirs.
pub(super) const CONNECTIONS_PER_NODE_MAX: usize = 12;

/// Accepted connections altogether: one control connection from every member there may be.
pub(super) const CONNECTIONS_MAX: usize = consign_core::limits::MEMBERS_MAX;

/// Interval of pings.
pub(super) const PING_EVERY: Duration = Duration::from_secs(5);

/// Silence after which a connection is given up: three pings unanswered.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(15);

/// Bytes that may wait for a peer to read them, on a connection of small messages, before one more
/// message closes it. Holds the largest message there is.
pub(super) const SEND_QUEUE_BYTES_MAX: usize = 4 << 20;

/// Messages that may wait likewise.
pub(super) const SEND_QUEUE_MESSAGES_MAX: usize = 16 << 10;

/// Memory for chunks between the socket and the staging file, in bytes, all transfers together.
/// Two of the largest chunks fit, so that any transfer can move.
pub(super) const RECEIVE_BYTES: usize = 40 << 20;

/// Memory for chunks between a file and the socket, in bytes, all transfers together.
pub(super) const SEND_BYTES: usize = 24 << 20;

/// Memory for chunks that were just received and are about to be forwarded, in bytes, all
/// transfers together. What does not fit is read back from the staging file.
pub(super) const RECENT_BYTES: usize = 8 << 20;

/// Chunks that one transfer keeps in that memory.
pub(super) const RECENT_CHUNKS: usize = 4;

/// Memory for frames of small files that have arrived and are not yet in the log, in bytes.
pub(super) const SMALLS_BYTES: usize = 12 << 20;

/// How long granted credit may go unused before the memory behind it is lent to others.
pub(super) const CREDIT_IDLE_MAX: Duration = Duration::from_secs(5);

/// Bytes written to a staging file between two requests to write them back.
pub(super) const WRITE_BEHIND_BYTES: u64 = 8 << 20;

/// Shortest time between two reports of one transfer's progress.
pub(super) const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// Connections to one peer for chunks: two, so that two cores can copy.
pub(super) const CHUNK_LINKS_PER_PEER: usize = 2;

/// Chunks of one link that are between the file and the socket: one read and hashed, one waiting,
/// one being written.
pub(super) const LINK_TURNS: usize = 3;

/// Frames without chunks that wait on a link: beginnings and pings.
pub(super) const LINK_QUEUE: usize = 64;

/// How long a link without transfers is kept for the next.
pub(super) const LINK_IDLE_MAX: Duration = Duration::from_secs(60);

/// Frames of small files on one link that the peer has not confirmed.
pub(super) const FRAMES_UNCONFIRMED_MAX: usize = 16;

/// Bytes of small files that wait to be forwarded to one peer; and, as each holds memory of
/// [`SMALLS_BYTES`], to all peers together.
pub(super) const FORWARD_BYTES_PER_PEER: usize = 3 << 20;
/// See [`FORWARD_BYTES_PER_PEER`].
pub(super) const FORWARD_BYTES: usize = 6 << 20;

/// Nodes that small files of others are passed on to at once: a route names them, so a producer
/// could name any number.
pub(super) const DESTINATIONS_MAX: usize = 1024;

/// Threads that read, hash and write, at least and at most; between the two as many as cores.
pub(super) const WORKERS_MIN: usize = 2;
/// See [`WORKERS_MIN`].
pub(super) const WORKERS_MAX: usize = 8;

/// Threads that wait for syncs: apart, because a disk may take seconds for one.
pub(super) const SYNCERS: usize = 4;

/// Jobs that wait for the threads of one kind; more wait as tasks.
pub(super) const WORKER_QUEUE: usize = 64;

/// Memory for the chunk hashes of files whose streams are stopped and may start again, in bytes.
pub(super) const STOPPED_HASHES_BYTES: usize = 4 << 20;

/// Such files: each holds a file open.
pub(super) const STOPPED_SOURCES_MAX: usize = 64;

/// Interval at which memory that was not needed meanwhile is given back to the system.
pub(super) const TRIM_EVERY: Duration = Duration::from_secs(5);

/// Largest question of an audit, in bytes: numbers and the name of a feed.
pub(super) const AUDIT_ASK_BYTES_MAX: usize = 4 << 10;

/// How long an audit's answer may let wait for its next part. While a large file is being hashed, a part
/// comes every few seconds; a catalogue that is far behind its log is given up after ten.
pub(super) const AUDIT_ANSWER_DEADLINE: Duration = Duration::from_secs(60);

/// How long who asks may take to take a part of an answer, or to ask the next question: whoever reads the
/// findings may be slow, or be a person who has stopped the terminal.
pub(super) const AUDIT_IDLE_MAX: Duration = Duration::from_secs(600);

/// Newcomers that are let in at once: each has a thread, and the authority's files are one's at a time.
pub(super) const JOINS_AT_ONCE: usize = 4;

/// How long letting one in may take: a few syncs, and a command that is at the authority's files.
pub(super) const JOIN_DEADLINE: Duration = Duration::from_secs(20);

/// How long a newcomer waits for its answer: what the other end may take, and the way there and back.
pub(super) const JOIN_ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// Largest answer to a newcomer, in bytes: a certificate of less than 1 KiB, or a reason.
pub(super) const JOINED_BYTES_MAX: usize = 8 << 10;

/// Shortest time between two lines in the log about connections that were turned away, so that
/// nobody can fill the disk with them.
pub(super) const REFUSED_TOLD_EVERY: Duration = Duration::from_secs(5);

/// Largest letter of gossip, in bytes; its protocol was made for datagrams.
pub(super) const LETTER_BYTES_MAX: usize = 64 << 10;

/// Letters that were heard and not yet read. A reader that is behind makes connections wait.
pub(super) const LETTERS_WAITING_MAX: usize = 64;

/// Letters that wait for one connection; more are dropped, since what they say is said again.
pub(super) const LETTERS_PER_LINK_MAX: usize = 8;

/// Connections for gossip that are kept; the one that was not used for longest makes place. Each round
/// goes to three nodes drawn at random, so a small cluster keeps a connection between any two.
pub(super) const GOSSIP_LINKS_MAX: usize = 128;

/// How long a connection for gossip is kept without a letter.
pub(super) const GOSSIP_IDLE_MAX: Duration = Duration::from_secs(60);

/// How long a letter may take to be written.
pub(super) const LETTER_DEADLINE: Duration = Duration::from_secs(5);

/// How long after a letter something must be heard: each round is answered at once.
pub(super) const LETTER_ANSWER_MAX: Duration = Duration::from_secs(10);

/// How long after a connection for gossip failed it is not tried again.
pub(super) const GOSSIP_REDIAL: Duration = Duration::from_secs(1);
