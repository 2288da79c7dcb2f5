# unavailable.value.placeholder = n/a "ü"
# binary.handling.mode = hex
CREATE EXTENSION hstore;
CREATE EXTENSION citext;
CREATE TYPE mood AS ENUM ('a', 'b');
CREATE DOMAIN dt AS text;
CREATE DOMAIN dj AS jsonb;
CREATE FUNCTION big(n int) RETURNS text LANGUAGE sql AS $$ SELECT string_agg(md5(i::text), '') FROM generate_series(1, n) i $$;
CREATE TABLE t (id int PRIMARY KEY, n int, a text NOT NULL, b varchar(40000), c bytea, d jsonb NOT NULL, e json, f xml, g text[], h jsonb[], i int[], j bigint[] NOT NULL, k uuid[], l date[], m timestamptz[], o hstore, p citext, q tsvector, r dt, s dj, u bytea[], v mood[], w char(20000), x numeric, y varbit, z float4[]);
CREATE TABLE tf (LIKE t INCLUDING ALL);
ALTER TABLE tf REPLICA IDENTITY FULL;
CREATE TABLE ti (LIKE t INCLUDING ALL);
ALTER TABLE ti ALTER n SET NOT NULL;
CREATE UNIQUE INDEX ti_n ON ti (n);
ALTER TABLE ti REPLICA IDENTITY USING INDEX ti_n;
--- rows
INSERT INTO t SELECT 1, 1, big(300), big(400), decode(big(500), 'hex'), jsonb_build_object('k', big(300)), json_build_object('k', big(300)), xmlelement(name q, big(300)), array_agg(md5(i::text)), array_agg(to_jsonb(md5(i::text))), array_agg(hashint4(i)), array_agg(hashint8extended(i, 0)), array_agg(md5(i::text)::uuid), array_agg('2020-01-01'::date + hashint4(i) % 10000), array_agg(now() + hashint4(i) * '1 s'::interval), hstore('k', big(300)), big(300), array_to_tsvector(array_agg(md5(i::text))), big(300), jsonb_build_object('k', big(300)), array_agg(decode(md5(i::text), 'hex')), (SELECT array_agg(CASE WHEN hashint4(j) % 2 = 0 THEN 'a'::mood ELSE 'b' END) FROM generate_series(1, 3000) j), big(300), (SELECT string_agg((abs(hashint4(j)) % 10)::text, '')::numeric FROM generate_series(1, 9000) j), (SELECT string_agg((abs(hashint4(j)) % 2)::text, '')::varbit FROM generate_series(1, 60000) j), array_agg(hashint4(i)::float4) FROM generate_series(1, 900) i;
INSERT INTO tf SELECT * FROM t;
INSERT INTO ti SELECT * FROM t;
UPDATE t SET n = 2;
UPDATE tf SET n = 2;
UPDATE ti SET n = 2;
UPDATE t SET id = 2;
UPDATE tf SET id = 2;
UPDATE ti SET id = 2;
UPDATE tf SET a = 'short', i = '{1}', o = NULL;
UPDATE ti SET a = 'short';
DELETE FROM t;
DELETE FROM tf;
DELETE FROM ti;
