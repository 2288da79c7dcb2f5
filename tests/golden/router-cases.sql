-- What an outbox can hold, and what a table beside it does. One statement a line.
INSERT INTO activity.outbox VALUES ('00000000-0000-0000-0000-000000000001', 'Order', 'o-1', 'OrderPlaced', '{"b": 1, "a": "é😀"}', '2026-01-02 03:04:05.678901', 1, 0, 'first', true, 1.5, 9007199254740993, '{a,b}', '\x7f4142', 'plain one')
INSERT INTO activity.outbox VALUES ('00000000-0000-0000-0000-000000000002', 'Customer', 'c "1"', 'Registered', '["x", "y"]', '2026-01-02 03:04:05', 2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)
INSERT INTO activity.outbox VALUES ('00000000-0000-0000-0000-000000000003', 'Order', 'o-1', 'OrderPaid', NULL, '1969-12-31 23:59:59.999999', 1, 0, 'n', false, 'NaN', -1, '{}', '\x', '')
INSERT INTO activity.outbox VALUES ('00000000-0000-0000-0000-000000000004', 'Order', 'o-2', 'OrderPaid', '"text"', '2026-01-02 03:04:05.001', 1, 0, 'tab' || chr(9) || 'bed', false, 1e23, 0, NULL, '\x20', '  ')
INSERT INTO activity.outbox VALUES ('00000000-0000-0000-0000-000000000005', 'Order', NULL, 'OrderPaid', '{}', '2026-01-02 03:04:05.001', 1, 0, 'n', false, -0.0, 0, NULL, '\x41', 'x')
UPDATE activity.outbox SET note = 'changed' WHERE id = '00000000-0000-0000-0000-000000000001'
UPDATE activity.outbox SET id = '00000000-0000-0000-0000-000000000011' WHERE id = '00000000-0000-0000-0000-000000000001'
DELETE FROM activity.outbox WHERE id = '00000000-0000-0000-0000-000000000002'
BEGIN; INSERT INTO activity.outbox (id, aggregatetype, aggregateid, type, payload, raw, plain) VALUES ('00000000-0000-0000-0000-000000000021', 'Order', 'o-4', 'OrderPaid', '{"a": 1}', '\x45', 'p'); DELETE FROM activity.outbox WHERE id = '00000000-0000-0000-0000-000000000021'; COMMIT
INSERT INTO activity.other VALUES (1, 'one')
UPDATE activity.other SET v = 'two'
DELETE FROM activity.other
INSERT INTO activity.docs VALUES (1, 'doc', '{"b": 1, "a": {"x": [1, 2], "y": null, "z": "é😀"}, "list": [], "c": 1.50, "big": 12345678901, "objects": [{"p": 1}, {"p": 2, "q": "w"}]}')
INSERT INTO activity.docs VALUES (2, 'doc', '"text"')
INSERT INTO activity.docs VALUES (3, 'doc', NULL)
INSERT INTO activity.docs VALUES (4, 'paper', '{"mixed": [{"a": null}, {"a": 1}], "empty": {}, "t": true, "f": [1.5, 2.5]}')
INSERT INTO activity.docs VALUES (5, 'paper', '{"mixed": [1, "a"]}')
INSERT INTO activity.docs VALUES (6, 'paper', '{"nested": [[{"a": 1}], [{"a": 2}]], "nulls": [null, 1], "strings": [null, "s"], "deep": {"er": {"still": false}}}')
INSERT INTO activity.docs VALUES (7, 'paper', '{"b": 2, "a": {"x": [3], "y": null, "z": ""}, "list": [], "c": 2.5, "big": -12345678901, "objects": [{"p": 1}, {"p": 2, "q": "w"}]}')
INSERT INTO activity.docs VALUES (8, 'doc', '{}')
INSERT INTO activity.docs VALUES (9, 'doc', '{"all": [null, null], "n": null}')
