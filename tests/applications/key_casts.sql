# key.converter.schemas.enable = true
# transforms = cast
# transforms.cast.type = org.apache.kafka.connect.transforms.Cast$Key
# transforms.cast.spec = a:string,c:int64
CREATE TABLE t (a int, b text, c int, v text DEFAULT 'd', PRIMARY KEY (a, b, c));
--- rows
INSERT INTO t VALUES (1, 'x', 5, 'v'), (2, 'y', 6, NULL);
UPDATE t SET a = 12 WHERE a = 2;
DELETE FROM t;
