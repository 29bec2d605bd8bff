DROP TABLE pinned;
