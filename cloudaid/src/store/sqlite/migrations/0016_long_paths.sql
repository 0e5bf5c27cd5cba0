-- The BLAKE3 of a path of more than 4,096 bytes, by which clients name the file; none: the path is shorter.
ALTER TABLE file_metadata ADD COLUMN path_blake3 BLOB;
CREATE INDEX file_metadata_long ON file_metadata (task, path_blake3) WHERE path_blake3 IS NOT NULL;
