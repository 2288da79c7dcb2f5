# time.precision.mode = nanoseconds
# decimal.handling.mode = double
# binary.handling.mode = hex
# hstore.handling.mode = map
# value.converter.schemas.enable = false
# tombstones.on.delete = false
# topic.delimiter = _
CREATE EXTENSION hstore;
CREATE TABLE dev (mac macaddr PRIMARY KEY, ip inet, fw bit(12), flags bit varying(16) NOT NULL DEFAULT B'', loc point, meta hstore NOT NULL DEFAULT 'a=>1', ranges numrange, w float4[], cal double precision[][] );
CREATE TABLE reading (mac macaddr NOT NULL, at timestamp NOT NULL, at3 timestamp(3), tm time(6), v double precision, raw bytea, q "char", PRIMARY KEY (mac, at)) PARTITION BY RANGE (at);
CREATE TABLE reading_a PARTITION OF reading FOR VALUES FROM (MINVALUE) TO ('2024-01-01');
CREATE TABLE reading_b PARTITION OF reading FOR VALUES FROM ('2024-01-01') TO (MAXVALUE);
CREATE PUBLICATION dbz_publication FOR TABLE dev, reading WITH (publish_via_partition_root = true);
--- rows
INSERT INTO dev VALUES ('08:00:2b:01:02:03', '10.1.2.3/8', B'101010101010', B'1', '(1.5,2.5)', 'k=>v, n=>NULL', '[1.5,2)', '{1.1,NaN}', '{{1,2},{3,4}}');
INSERT INTO dev (mac) VALUES ('08:00:2b:01:02:04');
INSERT INTO reading VALUES ('08:00:2b:01:02:03', '2023-12-31 23:59:59.999999', '2023-12-31', '23:59:59.999999', 'NaN', '\x00ff', 'q'), ('08:00:2b:01:02:03', '2024-01-01', NULL, '24:00', 1e-300, '', '');
UPDATE reading SET at = '2025-01-01' WHERE at < '2024-01-01';
UPDATE reading SET v = 2;
DELETE FROM reading;
DELETE FROM dev;
--- new partition
CREATE TABLE reading_c (LIKE reading INCLUDING ALL);
ALTER TABLE reading DETACH PARTITION reading_b;
ALTER TABLE reading ATTACH PARTITION reading_c FOR VALUES FROM ('2024-01-01') TO (MAXVALUE);
INSERT INTO reading VALUES ('08:00:2b:01:02:03', '2024-02-01', NULL, NULL, 1, NULL, NULL);
DROP TABLE reading_a;
ALTER TABLE reading ADD COLUMN note text NOT NULL DEFAULT 'n';
UPDATE reading SET v = 3;
