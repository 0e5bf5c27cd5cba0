-- Where the content of a file is kept; none: under its BLAKE3. Files of inputs stand beside those of tasks, with the id of
-- the input for the task, element 0 and run 0; what has not arrived has an empty BLAKE3.
ALTER TABLE file_metadata ADD COLUMN blob TEXT;
ALTER TABLE file_metadata ADD COLUMN executable INTEGER NOT NULL DEFAULT 0;

-- What has not arrived, at the start. Small: a file leaves it when it arrives.
CREATE INDEX file_metadata_missing ON file_metadata (task) WHERE blake3 = x'';

CREATE TABLE inputs (
    id         TEXT PRIMARY KEY,
    user       TEXT NOT NULL,
    bytes      INTEGER NOT NULL,
    files      INTEGER NOT NULL,
    missing    INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    used_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What users keep, outputs and inputs together.
CREATE TABLE file_usage (
    user  TEXT PRIMARY KEY,
    bytes INTEGER NOT NULL,
    files INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO file_usage
    SELECT t.user, sum(f.size), count(*) FROM file_metadata f JOIN tasks t ON t.id = f.task GROUP BY t.user;

-- Not only tasks leave something.
ALTER TABLE unswept RENAME COLUMN task TO leftover;
