-- Transactions, truncates and logical messages. One statement a line.
INSERT INTO activity.a VALUES (1, 'one')
BEGIN; INSERT INTO activity.a VALUES (2, 'two'), (3, 'three'); INSERT INTO activity.b VALUES (1, 'b'); UPDATE activity.a SET v = 'x' WHERE id = 2; DELETE FROM activity.a WHERE id = 3; COMMIT
INSERT INTO activity.hidden VALUES (1)
BEGIN; INSERT INTO activity.hidden VALUES (2); INSERT INTO activity.b VALUES (2, 'c'); COMMIT
UPDATE activity.a SET id = 20 WHERE id = 2
TRUNCATE activity.keyless
INSERT INTO activity.keyless VALUES ('k')
TRUNCATE activity.a, activity.b, activity.hidden
TRUNCATE activity.b RESTART IDENTITY CASCADE
SELECT pg_logical_emit_message(false, 'foo', 'bar')
SELECT pg_logical_emit_message(true, 'foo', 'trans')
SELECT pg_logical_emit_message(true, 'other', E'\\x00ff10fb'::bytea)
SELECT pg_logical_emit_message(false, '', '')
BEGIN; INSERT INTO activity.a VALUES (5, 'm'); SELECT pg_logical_emit_message(true, 'foo', 'within'); INSERT INTO activity.a VALUES (6, 'm'); SELECT pg_logical_emit_message(false, 'foo', 'beside'); COMMIT
BEGIN; SELECT pg_logical_emit_message(true, 'other', 'a'); SELECT pg_logical_emit_message(true, 'foo', 'b'); INSERT INTO activity.b VALUES (7, 'm'); COMMIT
UPDATE activity.a SET v = 'y' WHERE id = 5
BEGIN; TRUNCATE activity.b; INSERT INTO activity.b VALUES (8, 'm'); COMMIT
DELETE FROM activity.a WHERE id = 6
CREATE TABLE activity.unpublished_now (id int)
INSERT INTO activity.b VALUES (9, 'last')
