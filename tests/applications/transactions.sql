# provide.transaction.metadata = true
# tombstones.on.delete = false
# message.prefix.exclude.list = noise.*
# skipped.operations = none
# value.converter.schemas.enable = false
# key.converter.schemas.enable = false
CREATE SCHEMA s2;
CREATE TABLE a (id int PRIMARY KEY, v text);
CREATE TABLE s2.a (id int PRIMARY KEY REFERENCES app.a ON UPDATE CASCADE ON DELETE CASCADE, v text);
CREATE TABLE ev (id serial PRIMARY KEY, what text, at text);
CREATE TABLE hidden (id int);
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO app.ev (what, at) VALUES (TG_OP, to_jsonb(COALESCE(NEW, OLD))::text); RETURN NULL; END $$;
CREATE TRIGGER t AFTER INSERT OR UPDATE OR DELETE ON a FOR EACH ROW EXECUTE FUNCTION audit();
CREATE CONSTRAINT TRIGGER ct AFTER INSERT ON s2.a DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit();
CREATE PUBLICATION dbz_publication FOR TABLE a, s2.a, ev;
--- rows
INSERT INTO a VALUES (1, 'x'), (2, 'y');
BEGIN; INSERT INTO s2.a VALUES (1, 'z'); INSERT INTO hidden VALUES (1); UPDATE a SET id = 11 WHERE id = 1; COMMIT;
INSERT INTO hidden VALUES (2);
BEGIN; COMMIT;
BEGIN; DELETE FROM a; SAVEPOINT x; INSERT INTO a VALUES (5, 's'); ROLLBACK TO x; INSERT INTO a VALUES (6, 't'); RELEASE x; COMMIT;
BEGIN; INSERT INTO a SELECT i, 'bulk' FROM generate_series(100, 130) i; UPDATE a SET v = 'b2' WHERE id > 120; COMMIT;
TRUNCATE a CASCADE;
BEGIN; TRUNCATE ev; INSERT INTO ev (what) VALUES ('after'); COMMIT;
WITH w AS (INSERT INTO a VALUES (7, 'cte') RETURNING id) INSERT INTO s2.a SELECT id, 'cte' FROM w;
INSERT INTO a VALUES (7, 'dup') ON CONFLICT (id) DO UPDATE SET v = EXCLUDED.v || '!' WHERE a.v <> 'no';
SELECT pg_logical_emit_message(true, 'noise.a', 'x');
