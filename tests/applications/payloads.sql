# transforms = outbox
# transforms.outbox.type = io.debezium.transforms.outbox.EventRouter
# transforms.outbox.table.expand.json.payload = true
# value.converter.schemas.enable = true
# table.include.list = app.outbox
CREATE TABLE outbox (id int PRIMARY KEY, aggregatetype text NOT NULL, aggregateid text NOT NULL, type text NOT NULL, payload json);
--- rows
INSERT INTO outbox VALUES (1, 'A', '1', 't', '{"a-b": 1}'), (2, 'A', '1', 't', '{"1x": "y"}'), (3, 'A', '1', 't', '{"": 2}'), (4, 'A', '1', 't', '{"a.b": 2, "ü": 1}'), (5, 'A', '1', 't', '{" ": 2}'), (6, 'A', '1', 't', '{"o": {"": 3}}'), (7, 'A', '1', 't', '{"o": {}}'), (8, 'A', '1', 't', '{"o": [{"": 1}]}'), (9, 'A', '1', 't', '  {"o": [{}, {"a": 1}]}'), (10, 'A', '1', 't', '{"o": [null, 1]}'), (11, 'A', '1', 't', '{"o": [null]}'), (14, 'A', '1', 't', '{"o": [1, 3000000000]}'), (15, 'A', '1', 't', '{"o": [true, null]}'), (16, 'A', '1', 't', '{"o": 1.0, "p": 1e2, "s": 0.1e-7}'), (17, 'A', '1', 't', '{"z": -0, "l": [-0, 1], "d": -0.0}'), (18, 'A', '1', 't', '[]'), (19, 'A', '1', 't', '{"a": 1e400}'), (20, 'A', '1', 't', ' [1]');
