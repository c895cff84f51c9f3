-- The catalogue of consign: an index over the intent log, and the history of what is done.
-- May be deleted at any time. Times are milliseconds since the Unix epoch.

CREATE TABLE position (
    only     INTEGER PRIMARY KEY CHECK (only = 1),
    applied  INTEGER NOT NULL          -- last log position that is in here, as the bits of a u64
);

CREATE TABLE completeness (
    only     INTEGER PRIMARY KEY CHECK (only = 1),
    since    INTEGER NOT NULL          -- what ended before may be missing; 0: nothing is
);

CREATE TABLE starts (
    ordinal  INTEGER PRIMARY KEY,
    start    TEXT NOT NULL UNIQUE      -- 16 hexadecimal digits
);

CREATE TABLE nodes (
    id       INTEGER PRIMARY KEY,
    name     TEXT NOT NULL UNIQUE
);

-- Files that this node produces.
CREATE TABLE transfers (
    id            INTEGER PRIMARY KEY, -- ordinal of the start << 40 | sequence
    feed          TEXT NOT NULL,
    name          TEXT NOT NULL,
    key           TEXT,                -- NULL: the name
    size          INTEGER NOT NULL,
    digest        BLOB,                -- BLAKE3, 32 bytes, once it is known
    state         INTEGER NOT NULL,    -- 0 submitted, 1 placed, 2 done, 3 failed, 4 cancelled
    attempt       INTEGER NOT NULL,
    priority      INTEGER NOT NULL,
    origin        TEXT,                -- path that it was taken from; NULL: it came as bytes
    kept          INTEGER NOT NULL,    -- 1 when the file stayed there meanwhile
    submitted_at  INTEGER NOT NULL,
    placed_at     INTEGER,             -- the first placement
    placement     TEXT,                -- what the first placement said
    ended_at      INTEGER,             -- done or cancelled
    released_at   INTEGER,             -- the source was deleted, archived or kept
    error         TEXT,                -- why it failed
    given_back    TEXT AS (            -- what becomes of the file when it is cancelled
        CASE WHEN origin IS NULL THEN 'its bytes were handed over, there is no file to give back'
             WHEN kept THEN 'the file stays at ' || origin
             ELSE 'the file goes back to ' || origin ||
                  ', or into failed/ of the data directory if that place is taken' END)
);
CREATE INDEX transfers_failed ON transfers (id) WHERE state = 3;

-- Consumers of each transfer.
CREATE TABLE legs (
    transfer             INTEGER NOT NULL,
    node                 INTEGER NOT NULL,
    place                INTEGER NOT NULL,  -- in the chain, from 0
    slot                 INTEGER NOT NULL,  -- ordinal of the slot's start << 40 | slot
    rung                 INTEGER NOT NULL,  -- 0 owed, 1 saved, 2 abandoned, 3 refused, 4 abandoning
    bytes                INTEGER NOT NULL,  -- what it was known to hold when last asked
    since                INTEGER NOT NULL,  -- of the rung
    error                TEXT,              -- why it refused
    receipt_incarnation  INTEGER,           -- the consumer's, in its receipt
    receipt_at           INTEGER,           -- by the consumer's clock
    replaced             INTEGER NOT NULL,  -- 1 when the placement names it only as one to be told so
    PRIMARY KEY (transfer, node)
) WITHOUT ROWID;
CREATE INDEX legs_by_slot ON legs (node, slot);

-- What happened to a transfer and cannot be told from its rows: later placements, attempts,
-- failures, retries. `mark` tells two events of one kind apart, so that none is entered twice.
CREATE TABLE events (
    transfer  INTEGER NOT NULL,
    kind      TEXT NOT NULL,
    mark      TEXT NOT NULL,
    at        INTEGER NOT NULL,
    node      INTEGER,
    text      TEXT NOT NULL,
    PRIMARY KEY (transfer, kind, mark)
) WITHOUT ROWID;

-- Files that this node consumes.
CREATE TABLE deliveries (
    id            INTEGER PRIMARY KEY, -- ordinal of the slot's start << 40 | slot
    producer      INTEGER NOT NULL,
    transfer      INTEGER NOT NULL,    -- ordinal of the transfer's start << 40 | sequence
    feed          TEXT NOT NULL,
    name          TEXT NOT NULL,
    size          INTEGER NOT NULL,
    digest        BLOB,
    state         INTEGER NOT NULL,    -- 0 receiving, 1 received, 2 saved, 3 published, 4 abandoned
    bytes         INTEGER NOT NULL,    -- synced in staging
    path          TEXT,                -- under the inbox, once it is chosen
    mtime_ns      INTEGER,             -- that its copy is given, ns; NULL: that of its writing
    submitted_at  INTEGER NOT NULL,    -- by the producer's clock
    saved_at      INTEGER,
    ended_at      INTEGER              -- published or abandoned
);
CREATE INDEX deliveries_by_transfer ON deliveries (transfer);

-- Each time that a producer opened a large file here. A small one comes at once and has none.
CREATE TABLE openings (
    delivery     INTEGER NOT NULL,
    incarnation  INTEGER NOT NULL,     -- the producer's
    attempt      INTEGER NOT NULL,
    at           INTEGER NOT NULL,
    bytes        INTEGER NOT NULL,     -- synced in staging then, and not sent again
    PRIMARY KEY (delivery, incarnation, attempt)
) WITHOUT ROWID;

-- Sums over the two tables, changed in the same transactions, so that status never scans. (No
-- triggers: they would cost more than the rows themselves.)
CREATE TABLE transfer_counts (
    feed   TEXT NOT NULL,
    state  INTEGER NOT NULL,
    files  INTEGER NOT NULL,
    bytes  INTEGER NOT NULL,
    PRIMARY KEY (feed, state)
) WITHOUT ROWID;

CREATE TABLE delivery_counts (
    feed   TEXT NOT NULL,
    state  INTEGER NOT NULL,
    files  INTEGER NOT NULL,
    bytes  INTEGER NOT NULL,
    PRIMARY KEY (feed, state)
) WITHOUT ROWID;

-- The story of each file that this node consumes.
CREATE VIEW arrival (delivery, at, step, kind, node, text) AS
    SELECT openings.delivery, openings.at, 0, 'opened', deliveries.producer,
           'attempt ' || openings.attempt || ' of its incarnation ' || openings.incarnation ||
               CASE openings.bytes WHEN 0 THEN ''
                    ELSE ', from byte ' || openings.bytes || ', which is synced here' END
        FROM openings JOIN deliveries ON deliveries.id = openings.delivery
    UNION ALL
    SELECT id, saved_at, 4, 'saved', NULL, 'synced, and certain to be published'
        FROM deliveries WHERE saved_at IS NOT NULL
    UNION ALL
    SELECT id, ended_at, 5, 'published', NULL, 'in the inbox as ' || coalesce(path, name)
        FROM deliveries WHERE state = 3
    UNION ALL
    SELECT id, ended_at, 5, 'abandoned', NULL, 'it will not be published here'
        FROM deliveries WHERE state = 4;

-- The whole story of each transfer. `step` orders what happened in the same millisecond.
CREATE VIEW timeline (transfer, at, step, kind, node, text) AS
    SELECT id, submitted_at, 0, 'submitted', NULL,
           CASE WHEN origin IS NULL THEN 'its bytes were handed over' ELSE 'from ' || origin END
        FROM transfers
    UNION ALL
    SELECT id, placed_at, 1, 'placed', NULL, placement FROM transfers WHERE placed_at IS NOT NULL
    UNION ALL
    SELECT transfer, at,
           CASE kind WHEN 'placed' THEN 1 WHEN 'attempt' THEN 2 WHEN 'digest' THEN 3
                     WHEN 'refused' THEN 5 WHEN 'abandoned' THEN 5 WHEN 'failed' THEN 6
                     WHEN 'retried' THEN 7 ELSE 8 END,
           kind, node, text
        FROM events
    UNION ALL
    SELECT transfer, since, 4, 'saved', node,
           CASE WHEN receipt_at IS NULL THEN ''
                ELSE 'receipt of its incarnation ' || receipt_incarnation END
        FROM legs WHERE rung = 1
    UNION ALL
    SELECT id, ended_at, 9, 'done', NULL, 'every consumer has it' FROM transfers WHERE state = 2
    UNION ALL
    SELECT id, released_at, 10, 'released', NULL,
           CASE state WHEN 4 THEN given_back ELSE 'the source was let go' END
        FROM transfers WHERE released_at IS NOT NULL;
