# key.converter = org.apache.kafka.connect.storage.StringConverter
# header.converter = org.apache.kafka.connect.storage.StringConverter
CREATE TABLE a (id int, k text, b bytea, n numeric(5,2), d date, u uuid, f float8, bo bool, PRIMARY KEY (id, k, n, d, u, f, bo));
CREATE TABLE one (k text PRIMARY KEY);
--- rows
INSERT INTO a VALUES (1, 'x "y" ü', '\x00ff', 1.5, '2020-01-01', '00000000-0000-0000-0000-00000000000a', 1e20, true);
UPDATE a SET id = 2;
INSERT INTO one VALUES ('a'), ('');
DELETE FROM one;
