-- What of the log and the outputs of a run was not collected, as JSON, where another run came after it.
ALTER TABLE assignments ADD COLUMN notes TEXT;
