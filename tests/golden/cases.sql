-- Everything that activity.event_outbox can hold, and every type that the envelope writer has. One statement a line.
INSERT INTO activity.event_outbox (event_id, aggregate_id, aggregate_type, event_type, payload) VALUES ('00000000-0000-0000-0000-000000000001', 'a0000000-0000-0000-0000-000000000001', 'User', 'UserCreated', '{"email": "a@example.org", "first_name": "Ada"}')
INSERT INTO activity.event_outbox VALUES ('00000000-0000-0000-0000-000000000002', 4200000000, 'a0000000-0000-0000-0000-000000000002', 'Activity', 'ActivityCreated', '{"title": "Größe \"quoted\" \\ / 😀", "n": [1, 2.50, -3e10, null, true]}', 'failed', 3, E'line one\nline two\ttab \u000b\u001f\u007f end', '10000000-0000-0000-0000-000000000001', '2026-01-02 03:04:05.6+00', '2026-01-02 03:04:06+00')
INSERT INTO activity.event_outbox (event_id, aggregate_id, aggregate_type, event_type, payload, created_at, published_at) VALUES ('00000000-0000-0000-0000-000000000003', 'a0000000-0000-0000-0000-000000000003', '', '', '[]', 'infinity', '-infinity'), ('00000000-0000-0000-0000-000000000004', 'a0000000-0000-0000-0000-000000000003', 'T', 'T', '"text"', '4713-12-31 23:59:59.999999+00 BC', '21016-11-04 13:51:30.123456+00'), ('00000000-0000-0000-0000-000000000005', 'a0000000-0000-0000-0000-000000000003', 'T', 'T', 'null', '0001-01-01 00:00:00+00', '0001-12-31 00:00:00.000001+00 BC')
UPDATE activity.event_outbox SET status = 'processing', lock_id = '20000000-0000-0000-0000-000000000002' WHERE event_id = '00000000-0000-0000-0000-000000000001'
UPDATE activity.event_outbox SET status = 'processed', lock_id = NULL, retry_count = -1, published_at = '2026-01-02 03:04:05.123456+00' WHERE event_id = '00000000-0000-0000-0000-000000000001'
INSERT INTO activity.event_outbox (event_id, aggregate_id, aggregate_type, event_type, payload) SELECT '00000000-0000-0000-0000-000000000006', 'a0000000-0000-0000-0000-000000000006', 'User', 'UserUpdated', jsonb_build_object('bio', string_agg(md5(i::text), '')) FROM generate_series(1, 300) i
UPDATE activity.event_outbox SET status = 'processed' WHERE event_id = '00000000-0000-0000-0000-000000000006'
UPDATE activity.event_outbox SET aggregate_id = 'a0000000-0000-0000-0000-00000000000f' WHERE event_id = '00000000-0000-0000-0000-000000000002'
UPDATE activity.event_outbox SET event_id = '00000000-0000-0000-0000-000000000012' WHERE event_id = '00000000-0000-0000-0000-000000000002'
DELETE FROM activity.event_outbox WHERE event_id IN ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-000000000006')
BEGIN; INSERT INTO activity.event_outbox (event_id, aggregate_id, aggregate_type, event_type, payload) VALUES ('00000000-0000-0000-0000-000000000007', 'a0000000-0000-0000-0000-000000000007', 'T', 'T', '{}'); ROLLBACK
BEGIN; INSERT INTO activity.event_outbox (event_id, aggregate_id, aggregate_type, event_type, payload) VALUES ('00000000-0000-0000-0000-000000000008', 'a0000000-0000-0000-0000-000000000008', 'T', 'T', '{}'); SAVEPOINT s; DELETE FROM activity.event_outbox; ROLLBACK TO s; UPDATE activity.event_outbox SET last_error = 'x' WHERE event_id = '00000000-0000-0000-0000-000000000008'; COMMIT
TRUNCATE activity.types
INSERT INTO activity.types (id) VALUES (1)
INSERT INTO activity.types VALUES (2, true, -32768, 2147483647, -9223372036854775808, 'ab', 'text with ''quotes''', 'char', 'var', '{"b": 1,  "a": 2}', '{"b": 1,  "a": 2}', 'aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee', '2026-06-01 12:00:00.1234567+02', '2026-06-01 12:00:00.6+00', false, 7, 'given', '2026-06-01 12:00:00+00')
UPDATE activity.types SET n_bool = NULL, n_int4 = NULL, n_text = NULL, n_at = NULL WHERE id = 2
DELETE FROM activity.types WHERE id = 1
UPDATE activity.types SET id = 3 WHERE id = 2
ALTER TABLE activity.event_outbox REPLICA IDENTITY FULL
INSERT INTO activity.event_outbox (event_id, aggregate_id, aggregate_type, event_type, payload) SELECT '00000000-0000-0000-0000-000000000009', 'a0000000-0000-0000-0000-000000000009', 'User', 'UserUpdated', jsonb_build_object('bio', string_agg(md5(i::text), '')) FROM generate_series(1, 300) i
UPDATE activity.event_outbox SET status = 'processed' WHERE event_id = '00000000-0000-0000-0000-000000000009'
UPDATE activity.event_outbox SET aggregate_id = 'a0000000-0000-0000-0000-00000000000e' WHERE event_id = '00000000-0000-0000-0000-000000000009'
DELETE FROM activity.event_outbox WHERE event_id = '00000000-0000-0000-0000-000000000009'
CREATE UNIQUE INDEX event_outbox_sequence_key ON activity.event_outbox (sequence_id)
ALTER TABLE activity.event_outbox REPLICA IDENTITY USING INDEX event_outbox_sequence_key
UPDATE activity.event_outbox SET status = 'failed' WHERE event_id = '00000000-0000-0000-0000-000000000003'
UPDATE activity.event_outbox SET sequence_id = 99 WHERE event_id = '00000000-0000-0000-0000-000000000003'
DELETE FROM activity.event_outbox WHERE event_id = '00000000-0000-0000-0000-000000000003'
ALTER TABLE activity.event_outbox REPLICA IDENTITY DEFAULT
ALTER TABLE activity.event_outbox ADD COLUMN note text DEFAULT 'none'
INSERT INTO activity.event_outbox (event_id, aggregate_id, aggregate_type, event_type, payload) VALUES ('00000000-0000-0000-0000-00000000000a', 'a0000000-0000-0000-0000-00000000000a', 'T', 'T', '{}')
UPDATE activity.event_outbox SET note = NULL WHERE event_id = '00000000-0000-0000-0000-00000000000a'
DELETE FROM activity.event_outbox WHERE event_id = '00000000-0000-0000-0000-00000000000a'
INSERT INTO activity.fillers VALUES (1, true, 1, 1, 'c', 't', '1', '1', 'aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee', '2026-06-01 12:00:00+00', '2026-06-01 12:00:00+00', 'n')
DELETE FROM activity.fillers
