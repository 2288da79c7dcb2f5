# transforms = a,b,c
# transforms.a.type = org.apache.kafka.connect.transforms.ExtractField$Value
# transforms.a.field = after
# transforms.b.type = org.apache.kafka.connect.transforms.ReplaceField$Value
# transforms.b.exclude = j
# transforms.c.type = org.apache.kafka.connect.transforms.TimestampConverter$Value
# transforms.c.field = t
# transforms.c.target.type = Timestamp
# transforms.c.unix.precision = microseconds
# value.converter.schemas.enable = true
CREATE TABLE things (id int PRIMARY KEY, n text DEFAULT 'x', j jsonb, t timestamp);
---
INSERT INTO things VALUES (1, 'a', '{}', '2020-01-01');
UPDATE things SET n = NULL;
UPDATE things SET id = 2;
DELETE FROM things;
