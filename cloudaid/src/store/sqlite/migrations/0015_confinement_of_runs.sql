-- What a run was kept from, as JSON, where the pool of its worker made that more than its task is kept from elsewhere.
ALTER TABLE assignments ADD COLUMN confinement TEXT;
