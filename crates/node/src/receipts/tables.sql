-- The archive of receipts of consign: what consumers have signed for the files of this node.
-- Only ever added to, but for what is older than the node's history. Cannot be made again from
-- anything else. Times are milliseconds since the Unix epoch; starts, slots and sequences are the bits of
-- a u64.

CREATE TABLE position (
    only     INTEGER PRIMARY KEY CHECK (only = 1),
    applied  INTEGER NOT NULL          -- last log position that is in here, as the bits of a u64
) STRICT;

CREATE TABLE nodes (
    id       INTEGER PRIMARY KEY,
    name     TEXT NOT NULL UNIQUE
) STRICT;

-- What a receipt says of a file: it can be checked without anything else of this node.
CREATE TABLE transfers (
    start     INTEGER NOT NULL,
    seq       INTEGER NOT NULL,
    feed      TEXT NOT NULL,
    name      TEXT NOT NULL,
    size      INTEGER NOT NULL,
    digest    BLOB,                    -- BLAKE3; NULL until it is known
    ended_at  INTEGER,                 -- done or cancelled
    PRIMARY KEY (start, seq)
) STRICT, WITHOUT ROWID;

-- Whose slots they are that no consumer has answered for yet.
CREATE TABLE placed (
    consumer  INTEGER NOT NULL,
    start     INTEGER NOT NULL,        -- under which the slot was drawn
    slot      INTEGER NOT NULL,
    of_start  INTEGER NOT NULL,        -- the transfer
    of_seq    INTEGER NOT NULL,
    PRIMARY KEY (consumer, start, slot)
) STRICT, WITHOUT ROWID;

CREATE TABLE certificates (
    id       INTEGER PRIMARY KEY,
    hash     BLOB NOT NULL UNIQUE,     -- BLAKE3
    der      BLOB NOT NULL
) STRICT;

-- A consumer's certificate and those above it.
CREATE TABLE chains (
    id       INTEGER PRIMARY KEY,
    hash     BLOB NOT NULL UNIQUE      -- BLAKE3 over the hashes of its certificates
) STRICT;

CREATE TABLE links (
    chain        INTEGER NOT NULL,
    place        INTEGER NOT NULL,
    certificate  INTEGER NOT NULL,
    PRIMARY KEY (chain, place)
) STRICT, WITHOUT ROWID;

-- One signature each.
CREATE TABLE batches (
    id           INTEGER PRIMARY KEY,
    hash         BLOB NOT NULL UNIQUE, -- BLAKE3 over statement and signature
    consumer     INTEGER NOT NULL,
    incarnation  INTEGER NOT NULL,
    at           INTEGER NOT NULL,
    root         BLOB NOT NULL,
    leaves       BLOB NOT NULL,        -- 32 bytes each
    cluster      BLOB NOT NULL,
    scheme       INTEGER NOT NULL,
    signature    BLOB NOT NULL,
    chain        INTEGER NOT NULL,
    held         INTEGER NOT NULL      -- receipts that are of it; without any it goes
) STRICT;

CREATE TABLE receipts (
    start     INTEGER NOT NULL,
    seq       INTEGER NOT NULL,
    consumer  INTEGER NOT NULL,
    batch     INTEGER NOT NULL,
    place     INTEGER NOT NULL,        -- of its leaf
    PRIMARY KEY (start, seq, consumer)
) STRICT, WITHOUT ROWID;
