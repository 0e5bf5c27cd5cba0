-- What the cluster is known by at image registries. The passwords in it are encrypted by a key that is not here.
CREATE TABLE registries (
    id     TEXT PRIMARY KEY,
    record TEXT NOT NULL
) STRICT, WITHOUT ROWID;
