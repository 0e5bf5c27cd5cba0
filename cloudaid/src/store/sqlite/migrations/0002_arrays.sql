-- The indices of an array and how many of its elements may be with workers at a time, as JSON; none: a plain task.
ALTER TABLE tasks ADD COLUMN array TEXT;
UPDATE tasks SET array = json_object('indices', json_array(json_array(0, count))) WHERE count > 1;
-- The submission of which this one runs elements again.
ALTER TABLE tasks ADD COLUMN retry_of TEXT;
