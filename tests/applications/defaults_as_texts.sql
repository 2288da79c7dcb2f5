# decimal.handling.mode = string
CREATE TABLE t (id int PRIMARY KEY, a numeric(3,1) DEFAULT '2.55', b numeric(3,1) DEFAULT 2.55, c numeric(3,1) DEFAULT 2.5, d numeric(3,1) DEFAULT '2.50', e numeric(5,2) DEFAULT 1, f numeric(5,2) DEFAULT '1.000', g numeric DEFAULT '2.50', h numeric(3,0) DEFAULT 1.5, i numeric DEFAULT .5, j numeric(3,1) DEFAULT 2, k numeric(3,1) NOT NULL DEFAULT 2.55, l float8 DEFAULT 2.55, m money DEFAULT 2.555, n numeric(20,10) DEFAULT 1e-5, o numeric DEFAULT 1e5, p numeric DEFAULT '1e5', q numeric(3,1) DEFAULT 2.55::numeric(3,2), r numeric(3,1) DEFAULT 1 + 1.25);
--- rows
INSERT INTO t (id) VALUES (1);
INSERT INTO t VALUES (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
