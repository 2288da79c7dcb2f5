# transforms = unwrap,a
# transforms.unwrap.type = io.debezium.transforms.ExtractNewRecordState
# transforms.a.type = org.apache.kafka.connect.transforms.Cast$Value
# transforms.a.spec = i2:int8, i4:INT16,i8:int32,f4:int64,f8:int32,n:float64,b:string,t:int32,ts:string,d:string,by:string,u:string,n2:string,n3:int8,f42:string,f82:string,b2:int8,i42:boolean,t2:boolean,t3:float32,i82:float32,i43:string,f83:int8,nosuch:string,j:string,tz:string,tm:int64,n4:boolean,f84:float32,f43:float64
# value.converter.schemas.enable = true
CREATE TABLE casts (id int PRIMARY KEY, i2 smallint DEFAULT 300, i4 int NOT NULL DEFAULT 70000, i8 bigint, f4 real, f8 double precision, n numeric(20,5), b boolean, t text, ts timestamp, d date, by bytea, u uuid, n2 numeric(20,8), n3 numeric(20,2), f42 real, f82 double precision, b2 boolean DEFAULT true, i42 int, t2 text, t3 text, i82 bigint, i43 int, f83 double precision, j jsonb, tz timestamptz, tm time, n4 numeric(5,2), f84 double precision, f43 real);
---
INSERT INTO casts VALUES (1, 127, 32767, 2147483647, 1.9, -1.9, 12345.67890, true, '17', '2018-06-20 13:37:03.123456', '2018-06-20', '\xdeadbeef', '5b1b2f2e-0000-4000-8000-00000000000a', 0.00000001, 128.99, 1.1, 0.002, false, 0, 'TRUE', ' 1.5 ', 16777217, -5, 1e300, '{"a": 1}', '2018-06-20 13:37:03+00', '10:00', 0.99, 1e40, 1.1);
INSERT INTO casts VALUES (2, 300, 70000, 9223372036854775807, 'NaN', 'Infinity', -0.00001, false, '-5', '1960-01-01', '1960-01-01', '', NULL, 12345678901.1, -129.5, 1e10, 1e7, true, 7, 'yes', '-1e3', -1, 2147483647, -300.7, '[]', NULL, NULL, 1.00, -0.0, 'NaN');
INSERT INTO casts (id) VALUES (3);
INSERT INTO casts (id, i2, i4) VALUES (4, NULL, 5);
INSERT INTO casts (id, f42, f82, f4, f8) VALUES (5, 1e-3, 123456789.125, 1e30, 1e30), (6, 'Infinity', 'NaN', '-Infinity', 'NaN');
UPDATE casts SET i8 = 5 WHERE id = 1;
DELETE FROM casts WHERE id = 2;
