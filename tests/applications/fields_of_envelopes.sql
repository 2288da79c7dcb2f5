# transforms = drop,add
# transforms.drop.type = org.apache.kafka.connect.transforms.ReplaceField$Value
# transforms.drop.exclude = source,transaction,ts_us,ts_ns
# transforms.add.type = org.apache.kafka.connect.transforms.InsertField$Value
# transforms.add.static.field = origin
# transforms.add.static.value = here
# skipped.operations = none
# provide.transaction.metadata = true
CREATE EXTENSION hstore;
CREATE TYPE mood AS ENUM ('a', 'b');
CREATE TABLE t (id int, k text NOT NULL DEFAULT 'k', n numeric(6,0) NOT NULL DEFAULT 1, v text DEFAULT 'dv', m mood, ts timestamptz(3), arr int[], js jsonb, fl float8, bo bool, sm smallint, bi bigint, h hstore, PRIMARY KEY (id, k));
CREATE TABLE f (id int PRIMARY KEY, v text, b bool NOT NULL DEFAULT true, d date DEFAULT '2020-01-01');
ALTER TABLE f REPLICA IDENTITY FULL;
--- rows
INSERT INTO t VALUES (1, 'x', 2, NULL, 'a', '2020-01-01 00:00:00.123+00', '{1,NULL}', '{"a": 1}', 1.5, true, 3, 4, 'a=>1');
INSERT INTO t (id) VALUES (2);
UPDATE t SET v = 'u';
UPDATE t SET id = 12 WHERE id = 2;
DELETE FROM t;
INSERT INTO f VALUES (1, 'x', false, NULL), (2, NULL, true, '2020-02-02');
UPDATE f SET v = 'y', b = true;
UPDATE f SET id = 11 WHERE id = 1;
DELETE FROM f;
TRUNCATE t, f;
SELECT pg_logical_emit_message(true, 'pre', 'msg');
ALTER TABLE f ADD COLUMN z int NOT NULL DEFAULT 4;
INSERT INTO f VALUES (3, 'z', true, NULL, 5);
DELETE FROM f;
