//! Every bound of the system, with its unit and its reason.
//!
//! A full queue pushes back; it never grows past its limit and never drops what it accepted.

/// Largest file whose bytes travel in the intent logs, in bytes. Above it a file costs its own
/// staging file and sync, below it a share of a batch; the two cost about the same here.
pub const SMALL_FILE_BYTES_MAX: u64 = 256 << 10;

/// Largest file that is accepted, in bytes: the largest that ext4 can hold.
pub const FILE_BYTES_MAX: u64 = 16 << 40;

/// Smallest unit that is hashed, sent and verified as one, in bytes.
pub const CHUNK_BYTES_MIN: u64 = 1 << 20;

/// Largest such unit, in bytes: one must fit in the memory set aside for a transfer.
pub const CHUNK_BYTES_MAX: u64 = 16 << 20;

/// Chunks of a file up to which the smallest chunk size is kept. Beyond, chunks grow, so that the
/// chunk hashes of one transfer (32 bytes each) stay near 2 MiB.
pub const CHUNKS_PER_FILE_AIM: u64 = 64 << 10;

/// How far a synced watermark may lie behind the bytes written, in bytes: what a crash can cost
/// one transfer on the wire (promise 5).
pub const WATERMARK_LAG_BYTES_MAX: u64 = 64 << 20;

/// Distance at which a receiving consumer syncs its staging file and logs a watermark, in bytes.
/// Half the permitted lag, so that one sync may be under way while the next stretch arrives.
pub const WATERMARK_EVERY_BYTES: u64 = 32 << 20;

/// Bytes of one transfer that may be under way on one link without having been verified and
/// written by the receiver. Covers a bandwidth-delay product of 640 Mbit/s at 100 ms.
pub const CREDIT_WINDOW_BYTES: u64 = 8 << 20;

/// Bytes of small files that a producer may have under way to one consumer, not yet `saved`.
pub const SMALL_WINDOW_BYTES: u64 = 8 << 20;

/// Small files that a producer may have under way to one consumer, not yet `saved`.
pub const SMALL_WINDOW_FILES: usize = 4096;

/// Files in one frame of small files: past this the frame header no longer matters.
pub const SMALL_FRAME_FILES_MAX: usize = 256;

/// Payload bytes in one frame of small files, unless a single file is larger.
pub const SMALL_FRAME_BYTES_AIM: u64 = 512 << 10;

/// Large transfers that a producer keeps open at once; all connected consumers share them equally.
pub const LARGE_ACTIVE_MAX: usize = 32;

/// Large transfers that a producer keeps open at once towards one consumer: more do not make it
/// faster.
pub const LARGE_ACTIVE_PER_NODE_MAX: usize = 16;

/// Large transfers that any connected consumer may have open, whatever the others hold; in
/// addition to [`LARGE_ACTIVE_MAX`].
pub const LARGE_SHARE_MIN: usize = 1;

/// Small transfers that a producer keeps in memory at once; all connected consumers share them
/// equally. At about a kilobyte each they take some 16 MiB.
pub const SMALL_ACTIVE_MAX: usize = 16 << 10;

/// Small transfers that any connected consumer may have under way, whatever the others hold; in
/// addition to [`SMALL_ACTIVE_MAX`]. A thousand consumers cost another 64 MiB.
pub const SMALL_SHARE_MIN: usize = 64;

/// One part in so many of a consumer's share of small transfers waits in memory for its window,
/// the others are under way.
pub const SMALL_SHARE_BLOCKED: usize = 4;

/// Finished transfers that a producer keeps in memory until their sources are released; the others
/// stay in the log until there is room.
pub const RELEASING_MAX: usize = 16 << 10;

/// Small files that a consumer has `saved` and not yet published, above which it holds back
/// further commits: the producer's window then fills and pushes back.
pub const UNPUBLISHED_FILES_MAX: usize = 64 << 10;

/// Slots of one producer that a consumer remembers one by one: those under way, and those that are
/// published or abandoned and not closed yet. A producer closes them every second, so this is several
/// times what arrives in one. At about half a kilobyte each they take some 128 MiB.
pub const SLOTS_PER_PRODUCER_MAX: usize = 256 << 10;

/// Starts of one producer of which a consumer remembers slots: its lives that ended with files under
/// way to that consumer.
pub const STARTS_PER_PRODUCER_MAX: usize = 256;

/// Longest node name, in bytes.
pub const NODE_NAME_BYTES_MAX: usize = 64;
/// Longest feed name, in bytes.
pub const FEED_NAME_BYTES_MAX: usize = 64;
/// Longest component of a file's name, in bytes: what Linux filesystems accept.
pub const NAME_COMPONENT_BYTES_MAX: usize = 255;
/// Longest relative name of a file, with its sub-directories, in bytes.
pub const NAME_BYTES_MAX: usize = 2048;
/// Deepest sub-directory of a file's name.
pub const NAME_COMPONENTS_MAX: usize = 64;
/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 4096;
/// Most entries of a file's metadata.
pub const META_ENTRIES_MAX: usize = 64;
/// Longest metadata, names and values together, in bytes.
pub const META_BYTES_MAX: usize = 16 << 10;

/// Members of a cluster view.
pub const MEMBERS_MAX: usize = 16 << 10;
/// Feeds that one member consumes.
pub const FEEDS_PER_MEMBER_MAX: usize = 256;
/// Longest name of a zone, in bytes.
pub const ZONE_BYTES_MAX: usize = 64;
/// Longest `host:port` of a member, in bytes: the longest name of the domain name system and a
/// port.
pub const ADDR_BYTES_MAX: usize = 253 + 6;
/// Largest weight of a member: beyond a ratio of a million nobody means it.
pub const WEIGHT_MAX: u32 = 1_000_000;
/// How much is kept of a reason that a peer or a disk gives, in characters: it goes into the log.
pub const REASON_CHARS_MAX: usize = 500;
/// Consumers of one placement.
pub const REPLICAS_MAX: usize = 1024;

/// Largest control message or frame header, in bytes.
pub const FRAME_HEADER_BYTES_MAX: usize = 4 << 20;
/// Largest payload of one frame, in bytes: a chunk, or a frame of small files.
pub const FRAME_PAYLOAD_BYTES_MAX: usize = CHUNK_BYTES_MAX as usize;
/// Ranges of slots in one message or record; more go into further ones.
pub const RANGES_PER_MESSAGE_MAX: usize = 4096;

/// Slots of which one message says `saved`, and so leaves of one receipt, which is kept whole in one
/// record of the log: 128 KiB. As many as are under way at once, so that it seldom splits a batch.
pub const RECEIPT_SLOTS_MAX: usize = 4096;
/// Longest signature of a receipt, in bytes: of an RSA key of 8192 bits, which is the longest.
pub const SIGNATURE_BYTES_MAX: usize = 1024;
/// Longest certificate of a node with those above it, together, in bytes: it goes into the log with
/// every receipt. Most have half a kilobyte.
pub const CERTIFICATES_BYTES_MAX: usize = 32 << 10;

/// How long an `Open` may stay unanswered before the consumer is left out of the chain, in ms.
pub const OPEN_DEADLINE_MS: u64 = 5_000;
/// How long a member of a chain may make no progress before it is bypassed, in ms.
pub const PROGRESS_DEADLINE_MS: u64 = 30_000;
/// How long a `Commit` may stay unanswered, in ms. Long: a slow disk may need it for its sync.
pub const COMMIT_DEADLINE_MS: u64 = 120_000;
/// How long those that commit are waited for while the file is owed to another that could take it, in
/// ms: longer than most syncs take, so that an attempt is seldom begun in vain.
pub const COMMIT_ALONE_MS: u64 = 10_000;
/// First delay before something is tried again, in ms.
pub const RETRY_DELAY_MIN_MS: u64 = 200;
/// Longest delay before something is tried again, in ms.
pub const RETRY_DELAY_MAX_MS: u64 = 30_000;
/// How often the delay before a peer that was connected is dialled again is doubled: up to 3.2 s. A try
/// costs a packet or two, and files wait for it.
pub const REDIAL_DOUBLINGS_MAX: u32 = 4;
/// How long a consumer without space asks producers to stay away, in ms.
pub const NO_SPACE_RETRY_MS: u64 = 5_000;
/// How often the low watermarks of closed slots are told to consumers, in ms.
pub const SETTLE_EVERY_MS: u64 = 1_000;

/// Transfers that are asked for at once in an audit, and entries of one answer: some 200 KiB, read
/// from the catalogue in a few milliseconds.
pub const AUDIT_ENTRIES_MAX: usize = 500;
/// Bytes of one answer in an audit past which no further entry goes into it. One entry with the longest
/// names is far smaller than what is left below [`FRAME_HEADER_BYTES_MAX`].
pub const AUDIT_ANSWER_BYTES_AIM: usize = 1 << 20;
/// Entries of one transfer at one consumer: each placement there is one, and who was given a file and
/// lost it so often is lying or broken.
pub const AUDIT_ENTRIES_PER_TRANSFER_MAX: u32 = 64;
/// Files of one consumer that the producer's ledger does not know, after which its audit ends: a
/// consumer that makes files up keeps nobody busy for ever.
pub const AUDIT_STRANGERS_MAX: u64 = 1_000_000;

/// Size to which log segments are preallocated, in bytes.
pub const SEGMENT_BYTES: u64 = 16 << 20;
/// Largest batch of the log, in bytes; bounds what recovery holds in memory.
pub const BATCH_BYTES_MAX: u64 = 4 << 20;
/// Largest encoded record, without its payload, in bytes.
pub const RECORD_BYTES_MAX: usize = 1 << 20;

/// What a live record is counted as when the log is found too long, in bytes: more than most take
/// with their names, so that what is long because much is live is left alone.
pub const RECORD_BYTES_COUNTED: u64 = 1 << 10;
/// Bytes of the log that may be dead before what is live is written anew.
pub const LOG_SPARE_BYTES: u64 = 4 * SEGMENT_BYTES;
/// How long the oldest segment may stay although what is live in it was asked to be written anew,
/// before that is asked again, in ms.
pub const CARRY_AGAIN_MS: u64 = 5_000;

/// The chunk size for a file of `size` bytes: the smallest power of two that keeps the number of
/// chunks near [`CHUNKS_PER_FILE_AIM`].
#[must_use]
pub fn chunk_bytes_for(size: u64) -> u64 {
    let mut chunk = CHUNK_BYTES_MIN;
    while chunk < CHUNK_BYTES_MAX && size.div_ceil(chunk) > CHUNKS_PER_FILE_AIM {
        chunk *= 2;
    }
    chunk
}

/// How long to wait before something is tried again that has gone wrong `tries` times before, in
/// ms: doubling, and drawn by `random` from the upper half, so that a cluster does not fall upon a
/// restarted node at once.
#[must_use]
pub fn retry_delay_ms(tries: u32, random: u64) -> u64 {
    let full = RETRY_DELAY_MIN_MS
        .saturating_mul(1 << tries.min(16))
        .min(RETRY_DELAY_MAX_MS);
    full / 2 + random % (full / 2 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_their_limit_and_differ() {
        assert_eq!(retry_delay_ms(0, 0), RETRY_DELAY_MIN_MS / 2);
        assert_eq!(
            retry_delay_ms(0, RETRY_DELAY_MIN_MS / 2),
            RETRY_DELAY_MIN_MS
        );
        assert_ne!(retry_delay_ms(0, 0), retry_delay_ms(0, 17));
        assert_eq!(retry_delay_ms(1, 0), RETRY_DELAY_MIN_MS);
        for random in [0, 17, u64::MAX] {
            let longest = retry_delay_ms(u32::MAX, random);
            let upper_half = RETRY_DELAY_MAX_MS / 2..=RETRY_DELAY_MAX_MS;
            assert!(upper_half.contains(&longest), "{longest}");
        }
    }

    #[test]
    fn chunk_sizes_stay_in_bounds() {
        assert_eq!(chunk_bytes_for(0), 1 << 20);
        assert_eq!(chunk_bytes_for(64 << 30), 1 << 20);
        assert_eq!(chunk_bytes_for((64 << 30) + 1), 2 << 20);
        assert_eq!(chunk_bytes_for(FILE_BYTES_MAX), CHUNK_BYTES_MAX);
    }
}
