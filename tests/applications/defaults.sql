CREATE EXTENSION "uuid-ossp";
CREATE TYPE lvl AS ENUM ('low', 'high');
CREATE DOMAIN dd AS int DEFAULT 7 NOT NULL;
CREATE DOMAIN dt AS text DEFAULT 'domain';
CREATE SEQUENCE sq;
CREATE FUNCTION myid() RETURNS bigint LANGUAGE sql AS $$ SELECT 5::bigint $$;
CREATE TABLE d1 (id bigint PRIMARY KEY DEFAULT nextval('sq'), a uuid DEFAULT uuid_generate_v4(), b uuid NOT NULL DEFAULT gen_random_uuid(), c text DEFAULT ('a' || 'b'), d varchar(5) DEFAULT 'it''s', e numeric(6,2) DEFAULT -12.5, f numeric DEFAULT 1e10, g float8 DEFAULT 1e-5, h real DEFAULT 3.14159265, i date DEFAULT CURRENT_DATE, j time DEFAULT '12:34:56.789', k timestamptz DEFAULT '2020-01-01 00:00:00+02', l timestamp DEFAULT '2020-01-01', m interval DEFAULT '1 day', n jsonb DEFAULT '{}', o json DEFAULT '[]'::json, p text[] DEFAULT '{}', q int[] DEFAULT ARRAY[1,2], r lvl DEFAULT 'low', s lvl NOT NULL DEFAULT 'high'::lvl, t bool DEFAULT (1 > 0), u bool NOT NULL DEFAULT false, v bigint DEFAULT myid(), w inet DEFAULT '127.0.0.1', x bytea DEFAULT '\xdead', y bit(3) DEFAULT B'101', z dd);
CREATE TABLE d2 (id int PRIMARY KEY, a dt, b dt DEFAULT 'own', c dd DEFAULT 9, d text DEFAULT current_user, e timestamptz NOT NULL DEFAULT date_trunc('day', now()), f int DEFAULT (2 + 3) * 4, g bigint DEFAULT (extract(epoch FROM now()))::bigint, h text DEFAULT E'line\nbreak\ttab\\', i text DEFAULT $x$do"l'lar$x$, j char(3) DEFAULT 'x', k "char" DEFAULT 'c', l name DEFAULT 'nm', m xml DEFAULT '<a/>', n money DEFAULT 1.5, o point DEFAULT '(1,2)', p int4range DEFAULT '[1,2)', q smallint DEFAULT '3', r numeric(3,0) DEFAULT 5, s numeric(20,10) NOT NULL DEFAULT 0, t float8 DEFAULT 'Infinity', u timestamp(0) DEFAULT now(), v time with time zone DEFAULT '10:00+02', w varbit DEFAULT B'1', x lvl[] DEFAULT '{low}', y text DEFAULT lower('ABC'), z text NOT NULL DEFAULT '');
--- rows
INSERT INTO d1 DEFAULT VALUES;
INSERT INTO d1 (a, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, t, v, w, x, y) VALUES (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO d2 (id) VALUES (1);
INSERT INTO d2 VALUES (2, NULL, NULL, 1, NULL, now(), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1, NULL, NULL, NULL, NULL, NULL, NULL, 'z');
DELETE FROM d1;
DELETE FROM d2;
