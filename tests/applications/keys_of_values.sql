# transforms = unwrap,createKey
# key.converter.schemas.enable = true
# value.converter.schemas.enable = true
# key.converter.replace.null.with.default = false
# transforms.unwrap.type = io.debezium.transforms.ExtractNewRecordState
# transforms.unwrap.delete.tombstone.handling.mode = rewrite
# transforms.unwrap.add.fields = op,table,source.schema
# transforms.createKey.type = org.apache.kafka.connect.transforms.ValueToKey
# transforms.createKey.fields = customer,__op,__table
CREATE TABLE o (id bigint PRIMARY KEY, customer int, note text DEFAULT 'n');
CREATE TABLE d (a int, customer text NOT NULL DEFAULT 'none', PRIMARY KEY (a));
CREATE TABLE n (customer numeric(8,2), v text);
ALTER TABLE n REPLICA IDENTITY FULL;
ALTER TABLE o REPLICA IDENTITY FULL;
ALTER TABLE d REPLICA IDENTITY FULL;
--- rows
INSERT INTO o VALUES (1, 7, 'x'), (2, NULL, NULL), (3, 8, 'z');
UPDATE o SET customer = 9 WHERE id = 1;
UPDATE o SET id = 11 WHERE id = 1;
DELETE FROM o;
INSERT INTO d VALUES (1, 'ü "q"'), (2, DEFAULT), (3, '');
UPDATE d SET customer = 'y' WHERE a = 1;
UPDATE d SET a = 5 WHERE a = 2;
DELETE FROM d;
INSERT INTO n VALUES (1.5, 'a'), (NULL, 'b');
UPDATE n SET customer = 2 WHERE v = 'b';
DELETE FROM n;
