# snapshot.mode = initial
# time.precision.mode = isostring
# decimal.handling.mode = string
# interval.handling.mode = string
# binary.handling.mode = base64
# provide.transaction.metadata = true
# column.truncate.to.5.chars = saas.tenant.notes
# message.key.columns = saas.event:tenant_id,occurred_at
# schema.include.list = saas
CREATE SCHEMA saas;
CREATE TYPE saas.plan AS ENUM ('free', 'pro', 'enterprise');
CREATE DOMAIN saas.slug AS text CHECK (VALUE ~ '^[a-z-]+$');
CREATE DOMAIN saas.pct AS numeric(5,4) NOT NULL DEFAULT 0;
CREATE TABLE saas.tenant (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), slug saas.slug UNIQUE NOT NULL, plan saas.plan NOT NULL DEFAULT 'free', seats smallint, discount saas.pct, trial interval DEFAULT '30 days', created timestamptz(3) DEFAULT now(), notes varchar(500), logo bytea, settings jsonb DEFAULT '{}', quota int8range, tags varchar(20)[]);
CREATE TABLE saas.event (tenant_id uuid, occurred_at timestamptz NOT NULL, kind text, dur interval hour to minute, body json, amount numeric, cost money);
ALTER TABLE saas.event REPLICA IDENTITY FULL;
INSERT INTO saas.tenant (id, slug, plan, seats, notes, logo, quota, tags) VALUES ('00000000-0000-0000-0000-000000000001', 'acme', 'pro', 5, 'long notes', '\xdeadbeef', '[1,)', '{a,b}'), ('00000000-0000-0000-0000-000000000002', 'bcme', DEFAULT, NULL, NULL, NULL, NULL, NULL);
INSERT INTO saas.event VALUES ('00000000-0000-0000-0000-000000000001', '2024-03-31 01:30:00+01', 'k', '1:30', '{"a":  1}', 1.100, 5);
--- rows
UPDATE saas.tenant SET plan = 'enterprise', discount = 0.125, trial = '-1 year 2 days' WHERE slug = 'acme';
INSERT INTO saas.event VALUES ('00000000-0000-0000-0000-000000000002', 'infinity', NULL, NULL, 'null', 'NaN', NULL), (NULL, '0044-03-15 12:00:00+00 BC', 'x', '-100:00', '[]', 'Infinity', -1);
UPDATE saas.event SET kind = 'kk' WHERE amount = 'NaN';
UPDATE saas.event SET occurred_at = '2024-01-01 00:00+00' WHERE kind = 'x';
DELETE FROM saas.event;
DELETE FROM saas.tenant WHERE slug = 'bcme';
