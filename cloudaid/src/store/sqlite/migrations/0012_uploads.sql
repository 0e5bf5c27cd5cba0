-- Where the content of a small file begins in a blob that it shares with others; none: it has the blob to itself.
ALTER TABLE file_metadata ADD COLUMN start INTEGER;

-- Uploads of output files that have not ended: what stands in file_metadata of these runs is for nobody to see yet.
CREATE TABLE uploads (
    task    TEXT NOT NULL,
    idx     INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    fence   INTEGER NOT NULL,
    record  TEXT NOT NULL,
    PRIMARY KEY (task, idx, attempt)
) STRICT, WITHOUT ROWID;
