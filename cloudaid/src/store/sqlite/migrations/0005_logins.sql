-- Logins end by themselves now: no number in the account has to outdate them.
ALTER TABLE users DROP COLUMN generation;

CREATE TABLE logins (
    id         TEXT PRIMARY KEY,
    user       TEXT NOT NULL,
    kind       TEXT NOT NULL,
    address    TEXT,
    serial     INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    renewed_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Wrong passwords in a row, by name and known place; an empty place: from everywhere else.
CREATE TABLE guesses (
    name          TEXT NOT NULL,
    place         TEXT NOT NULL,
    failures      INTEGER NOT NULL,
    blocked_until INTEGER NOT NULL,
    PRIMARY KEY (name, place)
) STRICT, WITHOUT ROWID;
