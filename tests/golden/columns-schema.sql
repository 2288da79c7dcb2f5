CREATE TABLE activity.person (id int PRIMARY KEY, name varchar(20) NOT NULL DEFAULT 'nobody', email text, city varchar(10) DEFAULT 'Nowhere', code char(6), age int, score numeric(5,2), born timestamp(3), tags text[], doc jsonb)
CREATE TABLE activity."odd-näme" ("id-1" int PRIMARY KEY, "1st" text, "größe" int, "a.b" text, "under_score" text, "x y" jsonb)
CREATE TABLE activity.whole (id int PRIMARY KEY, a text, b text)
ALTER TABLE activity.whole REPLICA IDENTITY FULL
