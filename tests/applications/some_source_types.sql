# transforms = unwrap
# transforms.unwrap.type = io.debezium.transforms.ExtractNewRecordState
# transforms.unwrap.add.fields = op,after.b,before.n
# column.propagate.source.type = app.p.(a|b|c|e)
# datatype.propagate.source.type = .+\.numeric, .*\.(mood|"?app"?\."?mood"?),app.p._int4
# column.mask.with.4.chars = .*\.b
# column.truncate.to.3.chars = .*\.c
# column.mask.hash.SHA-256.with.salt.x = .*\.(e|f|n)
# field.name.adjustment.mode = avro
CREATE TYPE mood AS ENUM ('x', 'y');
CREATE DOMAIN dn AS numeric(5,1);
CREATE TABLE p (id serial PRIMARY KEY, a text DEFAULT 'd', b varchar(10), c text, e varchar(5), f text, n numeric(4,2), m mood NOT NULL DEFAULT 'y', arr int[], d dn, "x-y" numeric);
--- rows
INSERT INTO p (b, c, e, f, n, arr) VALUES ('bbb', 'ccccc', 'eee', 'fff', 1.5, '{1}');
UPDATE p SET id = 5;
DELETE FROM p;
--- retype
ALTER TABLE p ALTER COLUMN n TYPE numeric(9,3), ADD COLUMN a2 numeric(3);
INSERT INTO p DEFAULT VALUES;
