CREATE TABLE activity.outbox (id uuid PRIMARY KEY, aggregatetype text NOT NULL, aggregateid text, type text NOT NULL, payload jsonb, created timestamp NOT NULL DEFAULT now(), version int NOT NULL DEFAULT 1, part int, note text DEFAULT 'n', flag boolean, score double precision, big bigint, tags text[], raw bytea, plain text)
CREATE TABLE activity.docs (id int PRIMARY KEY, kind varchar(9) NOT NULL DEFAULT 'doc', payload jsonb, version int NOT NULL DEFAULT 1)
CREATE TABLE activity.other (id int PRIMARY KEY, v text)
