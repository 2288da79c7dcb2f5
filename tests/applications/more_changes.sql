# value.converter.schemas.enable = true
CREATE TABLE t1 (id int PRIMARY KEY, a int, b text, c timestamp);
CREATE TABLE t2 (id int PRIMARY KEY, a int);
CREATE TYPE en AS ENUM ('a');
CREATE DOMAIN dm AS int;
CREATE TABLE p (id int, k int, v text, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
--- first
INSERT INTO t1 VALUES (1, 1, 'b', '2020-01-01');
INSERT INTO t2 VALUES (1, 1);
INSERT INTO p VALUES (1, 1, 'x');
--- new table and type mid stream
CREATE TYPE en2 AS ENUM ('x', 'y');
CREATE DOMAIN dm2 AS numeric(8,3) NOT NULL;
CREATE TABLE t3 (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, e en2 DEFAULT 'y', d dm2, arr en2[], o en);
INSERT INTO t3 (d, arr, o) VALUES (1.5, '{x,y}', 'a');
DELETE FROM t3;
--- enum label of a type seen late
ALTER TYPE en2 ADD VALUE 'z';
ALTER TABLE t3 ADD COLUMN e2 en2 NOT NULL DEFAULT 'z';
INSERT INTO t3 (d, e) VALUES (2, 'z');
--- partition
CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2);
INSERT INTO p VALUES (2, 2, 'y');
UPDATE p SET k = 2 WHERE id = 1;
ALTER TABLE p ADD COLUMN n int DEFAULT 4;
INSERT INTO p VALUES (3, 1, 'z');
--- drop and create again
DROP TABLE t1;
CREATE TABLE t1 (id uuid PRIMARY KEY, z text DEFAULT 'new');
INSERT INTO t1 (id) VALUES ('00000000-0000-0000-0000-000000000001');
