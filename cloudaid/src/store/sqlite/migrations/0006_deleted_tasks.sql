-- Submissions that are no more, but whose logs and files may still be on disk.
CREATE TABLE unswept (
    task TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;
