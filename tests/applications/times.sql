# transforms = unwrap,m,t,z,none,tm
# transforms.unwrap.type = io.debezium.transforms.ExtractNewRecordState
# transforms.unwrap.delete.tombstone.handling.mode = rewrite-with-tombstone
# transforms.m.type = org.apache.kafka.connect.transforms.TimestampConverter$Value
# transforms.m.field = m
# transforms.m.target.type = string
# transforms.m.format = yyyy-MM-dd HH:mm:ss.SSS
# transforms.m.unix.precision = microseconds
# transforms.t.type = org.apache.kafka.connect.transforms.TimestampConverter$Value
# transforms.t.field = t
# transforms.t.target.type = Timestamp
# transforms.z.type = org.apache.kafka.connect.transforms.TimestampConverter$Value
# transforms.z.field = z
# transforms.z.target.type = unix
# transforms.z.format = yyyy-MM-dd'T'HH:mm:ss.SSSSSSX
# transforms.z.unix.precision = seconds
# transforms.none.type = org.apache.kafka.connect.transforms.TimestampConverter$Value
# transforms.none.field = nosuch
# transforms.none.target.type = Date
# transforms.tm.type = org.apache.kafka.connect.transforms.TimestampConverter$Value
# transforms.tm.field = tm
# transforms.tm.target.type = Time
# transforms.tm.unix.precision = microseconds
# value.converter.schemas.enable = true
CREATE TABLE times (id int PRIMARY KEY, m timestamp NOT NULL, t timestamp(3), z timestamptz, tm time(6), d date DEFAULT '2020-01-01');
---
INSERT INTO times VALUES (1, '2018-06-20 13:37:03.123456', '2018-06-20 13:37:03.123', '2018-06-20 13:37:03.123456+02', '13:37:03.123456', '2018-06-20');
INSERT INTO times VALUES (2, '1969-12-31 23:59:59.999999', NULL, NULL, NULL, NULL);
INSERT INTO times VALUES (3, '1582-10-14 00:00:00', '0001-01-01', '1000-02-03 04:05:06.5+00', '00:00:00', '0001-01-01');
INSERT INTO times VALUES (4, '4713-01-01 00:00:00 BC', '4713-01-01 BC', '9999-12-31 00:00:00.000001+00', '24:00:00', '4713-01-01 BC');
UPDATE times SET m = '2024-02-29 12:00:00' WHERE id = 1;
UPDATE times SET id = 9 WHERE id = 1;
DELETE FROM times WHERE id = 2;
