# column.propagate.source.type = .*
# include.unknown.datatypes = true
# snapshot.mode = initial
CREATE EXTENSION IF NOT EXISTS hstore;
CREATE EXTENSION IF NOT EXISTS citext;
CREATE EXTENSION IF NOT EXISTS ltree;
CREATE EXTENSION IF NOT EXISTS isn;
CREATE EXTENSION IF NOT EXISTS cube;
CREATE TYPE mood AS ENUM ('sad', 'ok', 'very happy', 'a,b', 'it''s');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN d_int AS int CHECK (VALUE < 1000000);
CREATE DOMAIN d_text AS varchar(20);
CREATE DOMAIN d_numeric AS numeric(6,2);
CREATE DOMAIN d_numeric_free AS numeric;
CREATE DOMAIN d_nested AS d_numeric;
CREATE DOMAIN d_bit AS bit(3);
CREATE DOMAIN d_varbit AS varbit(3);
CREATE DOMAIN d_timestamp AS timestamp(3);
CREATE DOMAIN d_timestamptz AS timestamptz(2);
CREATE DOMAIN d_time AS time(2);
CREATE DOMAIN d_money AS money;
CREATE DOMAIN d_interval AS interval;
CREATE DOMAIN d_array AS int[];
CREATE DOMAIN d_uuid AS uuid;
CREATE DOMAIN d_json AS jsonb;
CREATE DOMAIN d_bytea AS bytea;
CREATE DOMAIN d_inet AS inet;
CREATE DOMAIN d_hstore AS hstore;
CREATE DOMAIN d_citext AS citext;
CREATE DOMAIN d_range AS int4range;
CREATE DOMAIN d_box AS box;
CREATE TYPE vector; CREATE FUNCTION vector_in(cstring) RETURNS vector AS 'textin' LANGUAGE internal IMMUTABLE STRICT; CREATE FUNCTION vector_out(vector) RETURNS cstring AS 'textout' LANGUAGE internal IMMUTABLE STRICT; CREATE TYPE vector (INPUT = vector_in, OUTPUT = vector_out, STORAGE = extended);
CREATE TYPE halfvec; CREATE FUNCTION halfvec_in(cstring) RETURNS halfvec AS 'textin' LANGUAGE internal IMMUTABLE STRICT; CREATE FUNCTION halfvec_out(halfvec) RETURNS cstring AS 'textout' LANGUAGE internal IMMUTABLE STRICT; CREATE TYPE halfvec (INPUT = halfvec_in, OUTPUT = halfvec_out, STORAGE = extended);
CREATE TYPE sparsevec; CREATE FUNCTION sparsevec_in(cstring) RETURNS sparsevec AS 'textin' LANGUAGE internal IMMUTABLE STRICT; CREATE FUNCTION sparsevec_out(sparsevec) RETURNS cstring AS 'textout' LANGUAGE internal IMMUTABLE STRICT; CREATE TYPE sparsevec (INPUT = sparsevec_in, OUTPUT = sparsevec_out, STORAGE = extended);
CREATE TYPE geometry; CREATE FUNCTION geometry_in(cstring) RETURNS geometry AS 'textin' LANGUAGE internal IMMUTABLE STRICT; CREATE FUNCTION geometry_out(geometry) RETURNS cstring AS 'textout' LANGUAGE internal IMMUTABLE STRICT; CREATE TYPE geometry (INPUT = geometry_in, OUTPUT = geometry_out, STORAGE = extended);
CREATE TYPE geography; CREATE FUNCTION geography_in(cstring) RETURNS geography AS 'textin' LANGUAGE internal IMMUTABLE STRICT; CREATE FUNCTION geography_out(geography) RETURNS cstring AS 'textout' LANGUAGE internal IMMUTABLE STRICT; CREATE TYPE geography (INPUT = geography_in, OUTPUT = geography_out, STORAGE = extended);
CREATE TABLE allt (id int PRIMARY KEY, c0 boolean, c1 smallint, c2 integer, c3 bigint, c4 oid, c5 real, c6 double precision, c7 numeric(3,2), c8 numeric(4), c9 numeric(6,4), c10 numeric(38,10), c11 numeric(38,0), c12 numeric(5,-2), c13 numeric(3,5), c14 numeric, c15 money, c16 text, c17 varchar(2), c18 varchar, c19 char(4), c20 bpchar, c21 "char", c22 name, c23 citext, c24 json, c25 jsonb, c26 xml, c27 uuid, c28 ltree, c29 mood, c30 tsvector, c31 isbn, c32 ean13, c33 tsquery, c34 pg_lsn, c35 xid, c36 xid8, c37 cid, c38 tid, c39 jsonpath, c40 regclass, c41 regtype, c42 int2vector, c43 oidvector, c44 txid_snapshot, c45 pg_snapshot, c46 refcursor, c47 cube, c48 pair, c49 inet, c50 cidr, c51 macaddr, c52 macaddr8, c53 bytea, c54 bit(1), c55 bit(2), c56 bit(7), c57 bit(3), c58 bit(33), c59 varbit(1), c60 varbit(2), c61 varbit(24), c62 varbit(64), c63 varbit(8), c64 varbit, c65 date, c66 time, c67 time(0), c68 time(3), c69 time(6), c70 timetz, c71 timetz(3), c72 timetz(0), c73 timestamp, c74 timestamp(0), c75 timestamp(1), c76 timestamp(2), c77 timestamp(3), c78 timestamp(4), c79 timestamp(5), c80 timestamp(6), c81 timestamptz, c82 timestamptz(0), c83 timestamptz(2), c84 timestamptz(3), c85 timestamptz(6), c86 interval, c87 interval(3), c88 interval day to second, c89 tsrange, c90 tstzrange, c91 daterange, c92 int4range, c93 numrange, c94 int8range, c95 int4multirange, c96 point, c97 box, c98 circle, c99 line, c100 lseg, c101 path, c102 polygon, c103 geometry, c104 geography, c105 vector, c106 halfvec, c107 sparsevec, c108 hstore, c109 hstore[], c110 int[], c111 smallint[], c112 bigint[], c113 oid[], c114 real[], c115 double precision[], c116 boolean[], c117 text[], c118 varchar(10)[], c119 char(10)[], c120 "char"[], c121 name[], c122 date[], c123 numeric(10,2)[], c124 numeric[], c125 citext[], c126 inet[], c127 cidr[], c128 macaddr[], c129 macaddr8[], c130 tsrange[], c131 tstzrange[], c132 daterange[], c133 int4range[], c134 numrange[], c135 int8range[], c136 int4multirange[], c137 uuid[], c138 json[], c139 jsonb[], c140 bytea[], c141 time[], c142 time(3)[], c143 timetz[], c144 timestamp[], c145 timestamp(3)[], c146 timestamptz[], c147 timestamptz(3)[], c148 ltree[], c149 mood[], c150 money[], c151 interval[], c152 bit(3)[], c153 varbit(3)[], c154 xml[], c155 point[], c156 box[], c157 tsvector[], c158 d_int[], c159 d_text[], c160 pair[], c161 geometry[], c162 vector[], c163 isbn[], c164 d_int, c165 d_text, c166 d_numeric, c167 d_numeric_free, c168 d_nested, c169 d_bit, c170 d_varbit, c171 d_timestamp, c172 d_timestamptz, c173 d_time, c174 d_money, c175 d_interval, c176 d_array, c177 d_uuid, c178 d_json, c179 d_bytea, c180 d_inet, c181 d_hstore, c182 d_citext, c183 d_range, c184 d_box, c185 serial, c186 bigserial, c187 smallserial, c188 numeric(10), c189 time(1), c190 timetz(2), c191 varchar(7)[], c192 numeric(4,1)[], c193 char, c194 bit, c195 timestamp(1)[], c196 interval year, c197 interval second(2), c198 d_range[], c199 int GENERATED ALWAYS AS IDENTITY, c200 char(3)[], c201 int, c202 varchar(65535), c203 float(10), c204 dec(5,1), c205 text COLLATE "C");
CREATE TABLE sm ("Some Id" bigserial, k uuid, e mood, "E x" mood[] NOT NULL DEFAULT '{}', v varchar(3) NOT NULL, PRIMARY KEY (k, "Some Id"));
INSERT INTO allt (id) VALUES (1);
INSERT INTO sm (k, v) VALUES ('00000000-0000-0000-0000-000000000001', 'v');
--- rows
INSERT INTO allt (id) VALUES (2);
ALTER TABLE sm ADD COLUMN z numeric(5,2);
INSERT INTO sm (k, v) VALUES ('00000000-0000-0000-0000-000000000002', 'v');
