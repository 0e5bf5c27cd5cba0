-- Bytes of memory that a run had, where that is more than its task asks for.
ALTER TABLE assignments ADD COLUMN memory INTEGER;
