-- What a worker proves itself with, as JSON. Those from before have nothing, and have to join.
ALTER TABLE worker_registry ADD COLUMN admission TEXT NOT NULL DEFAULT '"none"';

-- What lets workers join. Of each there is only a digest; nothing is looked up in the record.
CREATE TABLE join_tokens (
    id     TEXT PRIMARY KEY,
    record TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Workers that wait to be let in.
CREATE TABLE pending_workers (
    id     TEXT PRIMARY KEY,
    record TEXT NOT NULL
) STRICT, WITHOUT ROWID;
