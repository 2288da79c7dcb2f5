# transforms = a
# transforms.a.type = org.apache.kafka.connect.transforms.Flatten$Value
# value.converter.schemas.enable = true
CREATE TABLE things (id int PRIMARY KEY, n text DEFAULT 'x', p point, a int[], nn numeric, def int NOT NULL DEFAULT 3);
---
INSERT INTO things VALUES (1, 'a', '(1,2)', '{1,2}', 1.5);
INSERT INTO things VALUES (2, NULL, NULL, NULL, NULL);
UPDATE things SET n = 'd' WHERE id = 1;
DELETE FROM things;
