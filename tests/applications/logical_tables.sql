# key.converter.schemas.enable = true
# value.converter.schemas.enable = true
# transforms = logical
# transforms.logical.type = io.debezium.transforms.ByLogicalTableRouter
# transforms.logical.topic.regex = (.*)\.(.*)_shard_(\d+)
# transforms.logical.topic.replacement = $1.$2-all
# transforms.logical.schema.name.adjustment.mode = avro
CREATE TABLE c_shard_1 (id int PRIMARY KEY, v text DEFAULT 'd');
CREATE TABLE c_shard_2 (id int PRIMARY KEY, v text DEFAULT 'd');
CREATE TABLE n_shard_1 (id int, v text);
ALTER TABLE n_shard_1 REPLICA IDENTITY FULL;
CREATE TABLE other (id int PRIMARY KEY);
--- rows
INSERT INTO c_shard_1 VALUES (1, 'x'), (2, NULL);
INSERT INTO c_shard_2 VALUES (1, 'x'), (2, NULL);
UPDATE c_shard_1 SET v = 'u';
UPDATE c_shard_2 SET id = 12 WHERE id = 2;
DELETE FROM c_shard_1;
DELETE FROM c_shard_2;
INSERT INTO n_shard_1 VALUES (1, 'x');
DELETE FROM n_shard_1;
INSERT INTO other VALUES (1);
DELETE FROM other;
