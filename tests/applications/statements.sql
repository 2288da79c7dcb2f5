# snapshot.mode = initial
# database.initial.statements = SET extra_float_digits = 0; SET work_mem = '8MB'
CREATE TABLE read (id int PRIMARY KEY, f float8, g float4, a float8[], d date, t timestamptz, i interval, b bytea);
INSERT INTO read VALUES (1, 0.1::float8 + 0.2, 1.1::float4 / 3, ARRAY[0.1::float8 + 0.2], '2024-02-01', '2024-01-01 10:00:00+00', '1 day 02:03:04', '\x00ff');
--- stream
INSERT INTO read VALUES (2, 0.1::float8 + 0.2, 1.1::float4 / 3, ARRAY[0.1::float8 + 0.2], '2024-02-01', '2024-01-01 10:00:00+00', '1 day 02:03:04', '\x00ff');
