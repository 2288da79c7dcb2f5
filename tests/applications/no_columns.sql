# provide.transaction.metadata = true
CREATE TABLE nothing ();
CREATE TABLE something (id int PRIMARY KEY);
ALTER TABLE nothing REPLICA IDENTITY FULL;
--- rows without a value
INSERT INTO nothing DEFAULT VALUES;
BEGIN; INSERT INTO nothing DEFAULT VALUES; INSERT INTO something VALUES (2); COMMIT;
TRUNCATE nothing;
--- a column comes
ALTER TABLE nothing ADD COLUMN a int DEFAULT 7;
INSERT INTO nothing DEFAULT VALUES;
--- and goes
ALTER TABLE nothing DROP COLUMN a;
INSERT INTO nothing DEFAULT VALUES;
INSERT INTO something VALUES (3);
