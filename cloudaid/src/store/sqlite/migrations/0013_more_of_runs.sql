-- Bytes of memory that a run had, where that is more than its task asks for.
ALTER TABLE assignments ADD COLUMN memory INTEGER;
-- The GPUs that it had, as JSON, where they are known one by one.
ALTER TABLE assignments ADD COLUMN gpus TEXT;
