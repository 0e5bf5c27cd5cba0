-- Why a worker gets no new work, if an operator wants it so.
ALTER TABLE worker_registry ADD COLUMN cordon TEXT;
