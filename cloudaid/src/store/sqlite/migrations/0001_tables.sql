-- Ids are text as people see them, times are milliseconds since 1970 in UTC, and what no query looks into is JSON.

-- One row: what counts the commits, and what would be slow to count.
CREATE TABLE cluster (
    id            INTEGER PRIMARY KEY CHECK (id = 1),
    cluster       TEXT,
    epoch         INTEGER,
    position      INTEGER NOT NULL,
    last_sequence INTEGER NOT NULL,
    -- Elements by final state: kept with every result, because counting the results takes seconds.
    completed     INTEGER NOT NULL,
    failed        INTEGER NOT NULL,
    cancelled     INTEGER NOT NULL
) STRICT;
INSERT INTO cluster VALUES (1, NULL, NULL, 0, 0, 0, 0, 0);

CREATE TABLE users (
    name          TEXT PRIMARY KEY,
    password_hash TEXT NOT NULL,
    role          TEXT NOT NULL,
    created_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE worker_registry (
    id            TEXT PRIMARY KEY,
    facts         TEXT NOT NULL,
    registered_at INTEGER NOT NULL,
    seen_at       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Submissions. The sequence is the rowid: new ones are appended, and newest first is the table backwards.
CREATE TABLE tasks (
    sequence     INTEGER PRIMARY KEY,
    id           TEXT NOT NULL UNIQUE,
    user         TEXT NOT NULL,
    count        INTEGER NOT NULL,
    key          TEXT,
    digest       BLOB,
    submitted_at INTEGER NOT NULL,
    -- What changes: state is the summary of progress, here for the index.
    state        TEXT NOT NULL,
    started_at   INTEGER,
    finished_at  INTEGER,
    progress     TEXT NOT NULL,
    -- Last: it may be long, and what stands before it is read without it.
    spec         TEXT NOT NULL
) STRICT;
-- Each index ends in the sequence by itself. By state: for listings, and for what has not ended at the start. It is the
-- only one that a change of progress touches.
CREATE INDEX tasks_by_state ON tasks (state);
-- For listings of one user: one append per submission.
CREATE INDEX tasks_by_user ON tasks (user);
-- For listings since a time, without reading everything older: one append per submission, nearly always at the end.
CREATE INDEX tasks_by_time ON tasks (submitted_at);
-- Two requests with one key are one submission. Costs nothing where there is no key.
CREATE UNIQUE INDEX tasks_by_key ON tasks (user, key) WHERE key IS NOT NULL;

-- Runs. The sequence of the submission is repeated here for the index by worker.
CREATE TABLE assignments (
    task                    TEXT NOT NULL,
    idx                     INTEGER NOT NULL,
    attempt                 INTEGER NOT NULL,
    sequence                INTEGER NOT NULL,
    fence                   INTEGER NOT NULL,
    worker                  TEXT NOT NULL,
    state                   TEXT NOT NULL,
    verdict                 TEXT,
    infrastructure_failures INTEGER NOT NULL,
    placed_at               INTEGER NOT NULL,
    started_at              INTEGER,
    finished_at             INTEGER,
    PRIMARY KEY (task, idx, attempt)
) STRICT, WITHOUT ROWID;
-- What runs at the start, without reading all that ever ran. Small: a run leaves it when it ends.
CREATE INDEX assignments_live ON assignments (task) WHERE state <> 'ended';
-- For listings of one worker, newest first. One entry per run, which no later change touches.
CREATE INDEX assignments_by_worker ON assignments (worker, sequence);

CREATE TABLE results (
    task        TEXT NOT NULL,
    idx         INTEGER NOT NULL,
    verdict     TEXT NOT NULL,
    attempt     INTEGER NOT NULL,
    worker      TEXT,
    started_at  INTEGER,
    finished_at INTEGER NOT NULL,
    outcome     TEXT,
    PRIMARY KEY (task, idx)
) STRICT, WITHOUT ROWID;

CREATE TABLE file_metadata (
    task    TEXT NOT NULL,
    idx     INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    path    BLOB NOT NULL,
    size    INTEGER NOT NULL,
    blake3  BLOB NOT NULL,
    PRIMARY KEY (task, idx, attempt, path)
) STRICT, WITHOUT ROWID;
