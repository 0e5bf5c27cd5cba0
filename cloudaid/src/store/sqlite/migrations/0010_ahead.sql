-- Commits that are not known to be in the store that this one follows: the last one, until the next, and all that were made
-- while this store stood in for the other.
CREATE TABLE ahead (
    position INTEGER PRIMARY KEY,
    is_alone INTEGER NOT NULL,
    changes TEXT NOT NULL
) STRICT;
