-- Columns that are masked, cut, renamed or compared. One statement a line.
INSERT INTO activity.person VALUES (1, 'Ada Lovelace', 'ada@example.org', 'London', 'abc', 36, 1.5, '2026-01-02 03:04:05.678', '{a,b}', '{"a": 1}')
INSERT INTO activity.person (id, email) VALUES (2, NULL)
INSERT INTO activity.person VALUES (3, '', '', NULL, '', NULL, NULL, NULL, NULL, NULL)
INSERT INTO activity.person VALUES (4, 'Größe 😀 straße', 'é😀😀', 'Zürich', 'ü', 0, 0, 'infinity', '{}', '[]')
UPDATE activity.person SET email = 'x@y.z' WHERE id = 1
UPDATE activity.person SET id = 11 WHERE id = 1
DELETE FROM activity.person WHERE id = 2
INSERT INTO activity."odd-näme" VALUES (1, 'one', 2, 'dot', 'under', '{}')
UPDATE activity."odd-näme" SET "id-1" = 2
DELETE FROM activity."odd-näme"
INSERT INTO activity.whole VALUES (1, 'a', 'b')
UPDATE activity.whole SET a = a
UPDATE activity.whole SET a = 'c'
UPDATE activity.whole SET b = 'd'
UPDATE activity.whole SET a = NULL, b = 'd'
UPDATE activity.whole SET a = NULL
DELETE FROM activity.whole
