# schema.name.adjustment.mode = avro
# field.name.adjustment.mode = avro_unicode
CREATE SCHEMA "Mein Schéma";
CREATE TABLE "Mein Schéma"."Täble ""x"" $1" ("ID" int PRIMARY KEY, "1a" text DEFAULT 'x', "a-b.c" int, "_u" int, "ключ" text, "select" bool, "x y z" numeric(4,1), "tab	x" int);
CREATE TABLE "aVeryLongTableNameThatIsExactlySixtyThreeCharactersLong_abcdefg" ("aVeryLongColumnNameThatIsExactlySixtyThreeCharactersLong_abcdef" int PRIMARY KEY);
CREATE TABLE "UPPER" ("A" int, "B" int, "C" int, PRIMARY KEY ("B", "A"));
CREATE TABLE "日本語" ("名前" text PRIMARY KEY, "日本語" int, "x😀" int);
CREATE TABLE "emoji😀" (id int PRIMARY KEY);
--- rows
INSERT INTO "Mein Schéma"."Täble ""x"" $1" VALUES (1, 'a', 2, 3, 'ж', true, 1.5, 7);
UPDATE "Mein Schéma"."Täble ""x"" $1" SET "ID" = 2;
INSERT INTO "aVeryLongTableNameThatIsExactlySixtyThreeCharactersLong_abcdefg" VALUES (1);
INSERT INTO "UPPER" VALUES (1, 2, 3);
UPDATE "UPPER" SET "A" = 5;
INSERT INTO "日本語" VALUES ('太郎', 1, 2);
DELETE FROM "日本語";
INSERT INTO "emoji😀" VALUES (1);
