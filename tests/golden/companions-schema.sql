CREATE TABLE activity.a (id int PRIMARY KEY, v text)
CREATE TABLE activity.b (id int PRIMARY KEY, v text)
CREATE TABLE activity.keyless (v text)
CREATE TABLE activity.hidden (id int PRIMARY KEY)
