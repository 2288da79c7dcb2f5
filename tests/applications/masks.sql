# column.mask.with.7.chars = app.person.(name|code|age|nick)
# column.mask.with.0.chars = app.person.empty
# column.truncate.to.4.chars = app.person.long,.*\.tags,.*\.js
# column.mask.hash.SHA-256.with.salt.CzQMA0cB5K = app.person.mail,app.person.ci
# column.mask.hash.v2.MD5.with.salt.x = .*\.secret
# column.propagate.source.type = .*\.(name|n|t|ch|e|arr)
# datatype.propagate.source.type = pg_catalog.timestamptz,.*\.numeric,.*VARCHAR.*
# value.converter.schemas.enable = false
CREATE EXTENSION citext;
CREATE TYPE en AS ENUM ('aaaaaaaaa', 'b');
CREATE TABLE person (id int PRIMARY KEY, name varchar(20) NOT NULL, nick varchar(3), code char(5), age int, empty text, long text, tags text[], js jsonb, mail text, ci citext, secret varchar, n numeric(5,2), t timestamptz(3), ch char(4), e en, arr varchar(9)[], b bytea);
ALTER TABLE person REPLICA IDENTITY FULL;
--- rows
INSERT INTO person VALUES (1, 'Jürgen', 'abc', 'ab', 42, 'full', 'abcdefgh', '{abcdefgh}', '{"a": 1}', 'm@x', 'M@x', 'geheim', 1.5, now(), 'c', 'aaaaaaaaa', '{a}', '\x00');
INSERT INTO person (id, name) VALUES (2, '');
UPDATE person SET long = '😀😀😀😀😀', mail = 'ü', name = 'x' WHERE id = 1;
DELETE FROM person;
