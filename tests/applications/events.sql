# transforms = outbox
# transforms.outbox.type = io.debezium.transforms.outbox.EventRouter
# table.include.list = app.outbox
# transforms.outbox.table.field.event.id = id
# transforms.outbox.table.field.event.key = tenant
# transforms.outbox.table.field.event.payload = payload
# transforms.outbox.route.by.field = type
# transforms.outbox.route.topic.regex = Order(.*)
# transforms.outbox.route.topic.replacement = ord-$1
# transforms.outbox.table.fields.additional.placement = type:header:eventType,tenant:header,version:envelope,extra:envelope:x,flag:header:Flag,aggregatetype:envelope:agg
# transforms.outbox.route.tombstone.on.empty.payload = true
CREATE TABLE outbox (id uuid PRIMARY KEY, aggregatetype varchar(255) NOT NULL, aggregateid varchar(255) NOT NULL, type varchar(255) NOT NULL, payload jsonb, tenant text, version int, at timestamptz DEFAULT '2020-01-01 00:00+00', extra numeric(6,2), flag bool, tracingspancontext text);
CREATE TABLE other (id int PRIMARY KEY, v text);
--- rows
INSERT INTO outbox VALUES ('00000000-0000-0000-0000-000000000001', 'Order', '1', 'OrderCreated', '{"id": 1, "a": [1, 2], "n": {"x": 1.5, "y": null}}', 't1', 1, '2021-01-01 00:00:00.5+00', 1.5, true, NULL);
INSERT INTO outbox VALUES ('00000000-0000-0000-0000-000000000002', 'Customer', 'c-2', 'Changed', '{"z": [1, 2]}', NULL, 2, '2021-01-01 00:00+00', NULL, false, NULL);
INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload, version) VALUES ('00000000-0000-0000-0000-000000000003', 'Order', '1', 'Nulled', NULL, 3);
INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload, version) VALUES ('00000000-0000-0000-0000-000000000004', 'Order', '', 'Text', '"text"', 3), ('00000000-0000-0000-0000-000000000005', 'Order', 'ü', 'Number', '12.50', 3), ('00000000-0000-0000-0000-000000000006', 'Order', 'x', 'Empty', '{}', 3), ('00000000-0000-0000-0000-000000000007', 'Order', 'x', 'Bool', 'true', 3), ('00000000-0000-0000-0000-000000000008', 'Order', 'x', 'Null', 'null', 3);
UPDATE outbox SET type = 'Updated' WHERE version = 1;
DELETE FROM outbox;
BEGIN; INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload, version) VALUES ('00000000-0000-0000-0000-000000000009', 'Order', '9', 'Same', '{"a": 1}', 3); DELETE FROM outbox; COMMIT;
