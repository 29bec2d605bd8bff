DROP FUNCTION create_week_partitions(timestamptz, integer);
DROP TABLE parked;
DROP TABLE work_items;
DROP TABLE payloads;
DROP TABLE steps;
DROP TABLE runs;
