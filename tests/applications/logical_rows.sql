# key.converter.schemas.enable = true
# value.converter.schemas.enable = true
# value.converter.replace.null.with.default = false
# key.converter.replace.null.with.default = false
# transforms = logical,unwrap
# transforms.logical.type = io.debezium.transforms.ByLogicalTableRouter
# transforms.logical.topic.regex = (.*)_shard_(\d+)
# transforms.logical.topic.replacement = $1_all
# transforms.logical.key.field.name = shard
# transforms.logical.key.field.regex = .*_shard_(\d+)
# transforms.logical.key.field.replacement = no$1
# transforms.unwrap.type = io.debezium.transforms.ExtractNewRecordState
# transforms.unwrap.add.fields = table
# message.key.columns = .*\.listed_.*:k
CREATE TABLE c_shard_1 (id int PRIMARY KEY, v text DEFAULT 'd');
CREATE TABLE c_shard_2 (id int PRIMARY KEY, v text DEFAULT 'd');
CREATE TABLE listed_shard_2 (id int PRIMARY KEY, k text DEFAULT 'd');
CREATE TABLE other (id int PRIMARY KEY);
--- rows
INSERT INTO c_shard_1 VALUES (1, 'x'), (2, NULL);
INSERT INTO c_shard_2 VALUES (1, 'x'), (2, NULL);
UPDATE c_shard_2 SET id = 12 WHERE id = 2;
DELETE FROM c_shard_1;
INSERT INTO listed_shard_2 VALUES (1, 'x'), (2, NULL);
UPDATE listed_shard_2 SET k = 'd';
DELETE FROM listed_shard_2;
INSERT INTO other VALUES (1);
