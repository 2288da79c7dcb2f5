# transforms = unwrap,a,b,c,d,e,f,g
# transforms.unwrap.type = io.debezium.transforms.ExtractNewRecordState
# transforms.unwrap.delete.tombstone.handling.mode = tombstone
# time.precision.mode = connect
# transforms.a.type = org.apache.kafka.connect.transforms.TimestampConverter$Value
# transforms.a.field = a
# transforms.a.target.type = string
# transforms.a.format = EEE, d MMMM yy hh:mm a z Z X 'o''clock'
# transforms.b.type = org.apache.kafka.connect.transforms.TimestampConverter$Value
# transforms.b.field = b
# transforms.b.target.type = Date
# transforms.c.type = org.apache.kafka.connect.transforms.TimestampConverter$Value
# transforms.c.field = c
# transforms.c.target.type = Time
# transforms.d.type = org.apache.kafka.connect.transforms.TimestampConverter$Value
# transforms.d.field = d
# transforms.d.target.type = unix
# transforms.d.unix.precision = nanoseconds
# transforms.e.type = org.apache.kafka.connect.transforms.TimestampConverter$Value
# transforms.e.field = e
# transforms.e.target.type = Timestamp
# transforms.f.type = org.apache.kafka.connect.transforms.TimestampConverter$Value
# transforms.f.field = f
# transforms.f.target.type = string
# transforms.f.format = yyyy-MM-dd
# transforms.g.type = org.apache.kafka.connect.transforms.TimestampConverter$Value
# transforms.g.field = g
# transforms.g.target.type = string
# transforms.g.format = HH:mm:ss
# transforms.g.replace.null.with.default = false
# value.converter.schemas.enable = true
CREATE TABLE times (id int PRIMARY KEY, a timestamp, b timestamp DEFAULT '2021-03-04 05:06:07', c timestamp, d timestamp, e date, f date, g time DEFAULT '01:02:03');
---
INSERT INTO times VALUES (1, '2018-06-20 13:37:03.123456', '2018-06-20 13:37:03.123', '2018-06-20 13:37:03.123456', '2018-06-20 13:37:03.123456', '2018-06-20', '2018-06-20', '13:37:03.123456');
INSERT INTO times VALUES (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO times VALUES (3, '1969-12-31 23:59:59.999999', '1969-12-31 23:59:59.999999', '1969-12-31 23:59:59.999999', '1969-12-31 23:59:59.999999', '1960-12-31', '1500-12-31', '00:00:00');
DELETE FROM times WHERE id = 2;
