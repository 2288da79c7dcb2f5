# value.converter.replace.null.with.default = false
# value.converter.schemas.enable = false
# transforms = unwrap
# transforms.unwrap.type = io.debezium.transforms.ExtractNewRecordState
# transforms.unwrap.delete.tombstone.handling.mode = rewrite
# transforms.unwrap.add.fields = op,source.snapshot,after.a
# provide.transaction.metadata = true
CREATE TYPE mood AS ENUM ('a', 'b');
CREATE TABLE t (id int PRIMARY KEY, a text DEFAULT 'x', b int DEFAULT 5, c int NOT NULL DEFAULT 6, d numeric(5,2) DEFAULT 1.5, e mood DEFAULT 'b', f text NOT NULL, g timestamptz DEFAULT '2020-01-01 00:00+00', h int[] DEFAULT '{1}', big text DEFAULT 'big', n numeric(1000,2) DEFAULT 3);
ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
CREATE TABLE f (id int PRIMARY KEY, a text DEFAULT 'x', b int DEFAULT 5, c int NOT NULL DEFAULT 6);
ALTER TABLE f REPLICA IDENTITY FULL;
CREATE TABLE k (a int DEFAULT 1, b text DEFAULT 'kb', c int NOT NULL DEFAULT 3, v text DEFAULT 'v');
CREATE UNIQUE INDEX k_i ON k (a, b, c);
ALTER TABLE k REPLICA IDENTITY FULL;
CREATE TABLE m (id int PRIMARY KEY, v text DEFAULT 'mask me', w text DEFAULT 'cut me');
INSERT INTO t (id, a, b, f) VALUES (100, NULL, NULL, 'f');
--- rows
INSERT INTO t (id, f) VALUES (1, 'f');
INSERT INTO t VALUES (2, NULL, NULL, 7, NULL, NULL, 'f', NULL, NULL, repeat('x', 5000), NULL);
UPDATE t SET b = 8 WHERE id = 2;
DELETE FROM t;
INSERT INTO f VALUES (1, NULL, NULL, 9);
UPDATE f SET a = 'y';
UPDATE f SET a = NULL;
DELETE FROM f;
INSERT INTO k VALUES (NULL, NULL, 5, NULL), (1, NULL, 3, 'w');
UPDATE k SET v = 'z';
UPDATE k SET a = 1 WHERE a IS NULL;
UPDATE k SET b = 'kb' WHERE c = 5;
UPDATE k SET a = NULL, b = 'q' WHERE c = 5;
DELETE FROM k;
INSERT INTO m VALUES (1, NULL, NULL), (2, 'secret', 'long');
DELETE FROM m;
SELECT pg_logical_emit_message(true, 'p', 'm');
