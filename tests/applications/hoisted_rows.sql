# transforms = unwrap,describe,flat,hoist
# transforms.unwrap.type = io.debezium.transforms.ExtractNewRecordState
# transforms.unwrap.delete.tombstone.handling.mode = rewrite-with-tombstone
# transforms.describe.type = org.apache.kafka.connect.transforms.SetSchemaMetadata$Value
# transforms.describe.schema.name = com.example.Thing
# transforms.describe.schema.version = 7
# transforms.flat.type = org.apache.kafka.connect.transforms.Flatten$Value
# transforms.flat.delimiter = _
# transforms.hoist.type = org.apache.kafka.connect.transforms.HoistField$Value
# transforms.hoist.field = row
# value.converter.schemas.enable = true
CREATE TABLE things (id int PRIMARY KEY, n text DEFAULT 'x', p point, a int[], nn numeric, def int NOT NULL DEFAULT 3);
---
INSERT INTO things VALUES (1, 'a', '(1,2)', '{1,2}', 1.5);
INSERT INTO things VALUES (2, NULL, NULL, NULL, NULL);
UPDATE things SET id = 3 WHERE id = 2;
DELETE FROM things;
