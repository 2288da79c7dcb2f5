# transforms = unwrap
# transforms.unwrap.type = io.debezium.transforms.ExtractNewRecordState
# transforms.unwrap.add.fields = before.v,after.n,before.d:was,op,before.nosuch,after.b
# transforms.unwrap.add.headers = before.v,after.id,before.id,after.f,after.d
# transforms.unwrap.delete.tombstone.handling.mode = rewrite
CREATE TABLE a (id int PRIMARY KEY, v text DEFAULT 'x', n numeric(5,2) NOT NULL DEFAULT 3, d date DEFAULT '2020-01-01', b bytea, f float8 DEFAULT 1.5);
ALTER TABLE a REPLICA IDENTITY FULL;
CREATE TABLE b (id int PRIMARY KEY, v text, n int);
--- rows
INSERT INTO a VALUES (1, NULL, 1.5, NULL, '\x00', 'NaN');
UPDATE a SET v = 'c "q" ü', d = '2021-01-01';
UPDATE a SET v = NULL;
UPDATE a SET n = 9, f = NULL;
UPDATE a SET id = 2;
DELETE FROM a;
INSERT INTO b VALUES (1, 'b', 2);
UPDATE b SET v = 'c';
DELETE FROM b;
