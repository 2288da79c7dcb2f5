# transforms = key
# transforms.key.type = org.apache.kafka.connect.transforms.ExtractField$Key
# transforms.key.field = id
# message.key.columns = .*\.listed:id,other
CREATE TABLE orders (id bigint PRIMARY KEY, note text);
CREATE TABLE items (kind text, id uuid, amount int, PRIMARY KEY (kind, id));
CREATE TABLE listed (pk int PRIMARY KEY, id text DEFAULT 'd', other int);
CREATE TABLE keyless (id int, v text);
ALTER TABLE keyless REPLICA IDENTITY FULL;
--- rows
INSERT INTO orders VALUES (1, 'a'), (-2, NULL);
UPDATE orders SET note = 'b' WHERE id = 1;
UPDATE orders SET id = 3 WHERE id = 1;
DELETE FROM orders WHERE id = 3;
INSERT INTO items VALUES ('x', '00000000-0000-0000-0000-00000000000a', 1);
UPDATE items SET kind = 'y';
UPDATE items SET amount = 2;
DELETE FROM items;
INSERT INTO listed VALUES (1, 'ü "q"', 1), (2, NULL, 2), (3, NULL, NULL);
UPDATE listed SET other = 4 WHERE pk = 1;
INSERT INTO keyless VALUES (1, 'v');
UPDATE keyless SET v = 'w';
DELETE FROM keyless;
