-- Foreign keys between attached and plain tables: a row is there for those that refer to it from its commit on, whichever
-- of them are pending and whichever is flushed first.
\ir ../tools/twins.psql
SELECT * FROM no_plan();

CREATE TABLE a (id int PRIMARY KEY);
CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a);
CREATE TABLE c (id int PRIMARY KEY, a int REFERENCES a, b int REFERENCES b);
CREATE TABLE plain_table (id int, a int REFERENCES a, b int REFERENCES b ON DELETE CASCADE);
SELECT writecache.attach(r, 'write_back', flush_interval => '1 day') FROM unnest('{c,b,a}'::regclass[]) r;
CREATE FUNCTION ids(name text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE r text;
BEGIN
  EXECUTE format('SELECT string_agg(id::text, '' '' ORDER BY id) FROM %I', name) INTO r;
  RETURN r;
END $$;

-- The table that refers is flushed first.
INSERT INTO a VALUES (1);
INSERT INTO b VALUES (1, 1);
INSERT INTO c VALUES (1, 1, 1);
SELECT is(writecache.flush('c'), 1::bigint, 'flushed first');
SELECT is(ids('a') || ids('b') || ids('c'), '111', 'with what it refers to');
INSERT INTO a VALUES (2);
INSERT INTO b VALUES (2, 2), (20, 20);
INSERT INTO c VALUES (2, 2, 2), (3, 2, 20), (4, NULL, NULL);
SELECT is(writecache.flush() >= 0, true);
SELECT is(ids('a') || ',' || ids('b') || ',' || ids('c'), '1 2,1 2,1 2 4', 'those that refer to nothing are rejected');
SELECT results_eq($$SELECT relation::text, row->>'id', constraint_name FROM writecache.rejected ORDER BY 1, 2$$, $$VALUES ('b', '20', 'b_a_fkey'), ('c', '3', 'c_b_fkey')$$, 'and only those');
INSERT INTO a VALUES (20);
SELECT is(writecache.retry_rejected('b'), 1::bigint, 'until they do, stored or pending');
SELECT is(writecache.retry_rejected('c'), 1::bigint);

-- Plain rows that refer to pending ones.
INSERT INTO a VALUES (5);
INSERT INTO b VALUES (5, 5);
SELECT is(error_of('INSERT INTO plain_table VALUES (5, 5, 5)'), NULL, 'they are there');
SELECT is(left(error_of('INSERT INTO plain_table VALUES (6, 6, NULL)'), 5), '23503', 'others are not');
INSERT INTO b VALUES (7, 5);
SELECT is(left(error_of('DELETE FROM a WHERE id = 5'), 5), '23503', 'what pending rows refer to cannot be deleted');
DELETE FROM plain_table;
INSERT INTO c VALUES (8, 5, 5);
SELECT is(left(error_of('DELETE FROM b WHERE id = 5'), 5), '23503', 'by way of another table');
DELETE FROM c WHERE id = 8;
DELETE FROM b WHERE a = 5;
SELECT is(error_of('DELETE FROM a WHERE id = 5'), NULL, 'now it can');

-- DDL, detach and rows that a transaction has to store itself.
INSERT INTO a VALUES (9);
INSERT INTO b VALUES (9, 9);
ALTER TABLE b ADD x int;
INSERT INTO a VALUES (10);
INSERT INTO b VALUES (10, 10);
BEGIN;
INSERT INTO c VALUES (10, 10, 10);
SELECT is((SELECT count(*) FROM c WHERE id = 10), 1::bigint, 'its own row');
COMMIT;
BEGIN;
INSERT INTO a VALUES (11);
INSERT INTO b VALUES (11, 11);
INSERT INTO c VALUES (11, 11, 11);
SELECT is((SELECT count(*) FROM a JOIN b ON b.a = a.id JOIN c ON c.b = b.id WHERE a.id = 11), 1::bigint, 'rows of one transaction refer to each other');
COMMIT;
INSERT INTO a VALUES (12);
INSERT INTO b VALUES (12, 12);
INSERT INTO c VALUES (12, 12, 12);
SELECT writecache.detach('c');
SELECT is(ids('c'), '1 2 3 4 10 11 12', 'detached with all rows');
SELECT is((SELECT count(*) FROM writecache.rejected), 0::bigint, 'none of them rejected');

-- In a circle, and to itself.
CREATE TABLE x (id int PRIMARY KEY, y int);
CREATE TABLE y (id int PRIMARY KEY, x int REFERENCES x);
ALTER TABLE x ADD FOREIGN KEY (y) REFERENCES y;
CREATE TABLE tree (id int PRIMARY KEY, parent int REFERENCES tree);
SELECT writecache.attach(r, 'write_back', flush_interval => '1 day') FROM unnest('{x,y,tree}'::regclass[]) r;
INSERT INTO x VALUES (1, NULL);
INSERT INTO y VALUES (1, 1);
INSERT INTO tree VALUES (1, NULL);
INSERT INTO tree VALUES (2, 1), (3, 2);
SELECT is(writecache.flush() >= 0, true, 'a circle ends');
SELECT is(ids('x') || ids('tree'), '11 2 3', 'stored');

SELECT * FROM finish();
