-- Who has done what. Rows are only ever added; the seal of each covers the one before it.
CREATE TABLE audit (
    sequence   INTEGER PRIMARY KEY,
    at         INTEGER NOT NULL,
    user       TEXT,
    via        TEXT NOT NULL,
    address    TEXT,
    request_id TEXT NOT NULL,
    action     TEXT NOT NULL,
    object     TEXT NOT NULL,
    outcome    TEXT NOT NULL,
    seal       BLOB NOT NULL
) STRICT;
