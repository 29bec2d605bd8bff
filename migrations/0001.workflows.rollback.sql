DROP TABLE triggers;
DROP TABLE versions;
DROP TABLE drafts;
DROP TABLE workflows;
