# key.converter.schemas.enable = true
# transforms = rename,add,mask,hoist
# transforms.rename.type = org.apache.kafka.connect.transforms.ReplaceField$Key
# transforms.rename.exclude = b
# transforms.rename.renames = a:k
# transforms.add.type = org.apache.kafka.connect.transforms.InsertField$Key
# transforms.add.static.field = side
# transforms.add.static.value = here
# transforms.mask.type = org.apache.kafka.connect.transforms.MaskField$Key
# transforms.mask.fields = c
# transforms.hoist.type = org.apache.kafka.connect.transforms.HoistField$Key
# transforms.hoist.field = key
CREATE TABLE t (a int, b text, c int, v text DEFAULT 'd', PRIMARY KEY (a, b, c));
CREATE TABLE u (z uuid PRIMARY KEY);
--- rows
INSERT INTO t VALUES (1, 'x', 5, 'v'), (2, 'y', 6, NULL);
UPDATE t SET v = 'u';
UPDATE t SET a = 12 WHERE a = 2;
DELETE FROM t;
INSERT INTO u VALUES ('00000000-0000-0000-0000-00000000000a');
DELETE FROM u;
