-- Personal tokens. Of each there is only a digest.
CREATE TABLE tokens (
    id         TEXT PRIMARY KEY,
    user       TEXT NOT NULL,
    name       TEXT NOT NULL,
    digest     BLOB NOT NULL,
    role       TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at    INTEGER
) STRICT, WITHOUT ROWID;
