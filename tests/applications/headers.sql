# value.converter.schemas.enable = true
# key.converter.schemas.enable = true
# transforms = unwrap,val,keyh,text,number,null,drop
# transforms.unwrap.type = io.debezium.transforms.ExtractNewRecordState
# transforms.unwrap.delete.tombstone.handling.mode = rewrite
# transforms.unwrap.add.headers = op
# transforms.val.type = org.apache.kafka.connect.transforms.HeaderFrom$Value
# transforms.val.fields = v,f,b
# transforms.val.headers = hv,hf,hb
# transforms.val.operation = move
# transforms.keyh.type = org.apache.kafka.connect.transforms.HeaderFrom$Key
# transforms.keyh.fields = id
# transforms.keyh.headers = id
# transforms.keyh.operation = move
# transforms.text.type = org.apache.kafka.connect.transforms.InsertHeader
# transforms.text.header = text
# transforms.text.value.literal = two: words, and 1.50
# transforms.number.type = org.apache.kafka.connect.transforms.InsertHeader
# transforms.number.header = number
# transforms.number.value.literal = 01.50
# transforms.null.type = org.apache.kafka.connect.transforms.InsertHeader
# transforms.null.header = null
# transforms.null.value.literal = null
# transforms.drop.type = org.apache.kafka.connect.transforms.DropHeaders
# transforms.drop.headers = __debezium.context.taskId,__debezium.newkey,hb,nosuch
CREATE TABLE t (id int, k text, v text DEFAULT 'd', f float8, b bool, PRIMARY KEY (id, k));
--- rows
INSERT INTO t VALUES (1, 'x', 'ü"', 1e20, true), (2, 'y', NULL, NULL, NULL);
UPDATE t SET id = 12 WHERE id = 2;
DELETE FROM t;
