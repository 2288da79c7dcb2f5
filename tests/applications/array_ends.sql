# time.precision.mode = adaptive
CREATE TABLE t (id int PRIMARY KEY, a timestamp[], b timestamptz[], c date[], d timestamp(3)[], e timestamptz(0)[]);
--- rows
INSERT INTO t (id, b) VALUES (1, '{infinity,-infinity,2020-01-01 00:00+00}'), (2, '{-infinity}');
INSERT INTO t (id, e) VALUES (3, '{-infinity,infinity}');
--- others
INSERT INTO t (id, a) VALUES (4, '{infinity}');
--- o
INSERT INTO t (id, a) VALUES (5, '{-infinity,2020-01-01}');
--- o
INSERT INTO t (id, c) VALUES (6, '{infinity,-infinity}');
--- o
INSERT INTO t (id, d) VALUES (7, '{-infinity}');
--- o
INSERT INTO t (id, a, b, c) VALUES (8, '{12345-01-01,0044-03-15 BC}', '{12345-01-01 00:00+00,0044-03-15 00:00+00 BC}', '{12345-01-01,0044-03-15 BC}');
