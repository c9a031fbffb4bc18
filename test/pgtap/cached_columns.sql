-- Cached rows have the columns that the table has: of partitions, after columns came and went, committed or not.
SET client_min_messages = warning;
SELECT * FROM no_plan();
CREATE SCHEMA cc;
SET search_path = cc, public;
\ir ../tools/cached.psql

-- Partitions that the query does not name: columns behind the key, system columns, whole rows, other column orders.
CREATE TABLE p (id int PRIMARY KEY, a text, b int) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (1000);
CREATE TABLE p2 (gone int, b int, id int NOT NULL, a text);
ALTER TABLE p2 DROP gone;
ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM (1000) TO (2000);
INSERT INTO p SELECT g, 'a' || g, g * 10 FROM generate_series(1, 1999) g;
ANALYZE p;
SELECT writecache.attach('p', 'write_around');
SELECT ok(cached('SELECT b, a FROM p WHERE id = 5'), 'a partition is read through the cache');
SELECT results_eq('SELECT b, a FROM p WHERE id = ANY (''{5,1500}'') ORDER BY b', $$VALUES (50, 'a5'), (15000, 'a1500')$$, 'filled')
  FROM generate_series(1, 2);
SELECT results_eq('SELECT p FROM p WHERE id = ANY (''{5,1500}'') ORDER BY id', $$VALUES ('(5,a5,50)'::p), ('(1500,a1500,15000)')$$, 'whole rows');
SELECT results_eq('SELECT id FROM p WHERE id = ANY (''{5,1500}'') AND b > 50', 'VALUES (1500)', 'a condition on a later column');
SELECT results_eq('SELECT tableoid::regclass::text FROM p WHERE id = 1500', $$VALUES ('p2')$$, 'tableoid');
SELECT ok(NOT cached('SELECT ctid FROM p WHERE id = 5'), 'system columns come from the table');
SELECT ok(NOT cached('SELECT xmin FROM p1 WHERE id = 5'), 'system columns come from the table');
SELECT is((SELECT ctid FROM p WHERE id = 500), (SELECT ctid FROM p1 WHERE a = 'a500'));
SELECT is(writecache.get(NULL::p, 1500), '(1500,a1500,15000)'::p, 'get');

-- Joins of partitions, each with its own.
CREATE TABLE q (id int PRIMARY KEY, r int) PARTITION BY RANGE (id);
CREATE TABLE q1 PARTITION OF q FOR VALUES FROM (0) TO (1000);
CREATE TABLE q2 PARTITION OF q FOR VALUES FROM (1000) TO (2000);
INSERT INTO q SELECT g * 100, g FROM generate_series(1, 19) g;
ANALYZE q;
SET enable_partitionwise_join = on;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SELECT ok(cached('SELECT q.r, p.b FROM q JOIN p USING (id) WHERE q.r IN (2, 12)'), 'joined by partitions');
SELECT results_eq('SELECT q.r, p.b, p.a FROM q JOIN p USING (id) WHERE q.r IN (2, 12) ORDER BY 1',
  $$VALUES (2, 2000, 'a200'), (12, 12000, 'a1200')$$, 'a join of partitions') FROM generate_series(1, 2);
SELECT results_eq('SELECT q.r, p.b FROM q LEFT JOIN p ON p.id = q.id + 1 AND p.id = ANY (ARRAY[q.id + 1, 7]) WHERE q.r IN (2, 12) ORDER BY 1',
  $$VALUES (2, 2010), (12, 12010)$$, 'not by partitions');
RESET enable_partitionwise_join;
RESET enable_hashjoin;
RESET enable_mergejoin;

-- A column that came later has its value in the catalog only.
CREATE TABLE t (id int PRIMARY KEY, v text);
INSERT INTO t VALUES (1, 'x'), (2, repeat('y', 5000));
SELECT writecache.attach('t', 'write_around');
SELECT is((SELECT count(*) FROM writecache.get_many(NULL::t, '{1,2}'::int[])), 2::bigint, 'filled');
ALTER TABLE t ADD d int DEFAULT 42;
SELECT results_eq('SELECT id, length(v), d FROM writecache.get_many(NULL::t, ''{1,2,1}''::int[])', 'VALUES (1, 1, 42), (2, 5000, 42), (1, 1, 42)', 'get_many')
  FROM generate_series(1, 2);
SELECT results_eq('SELECT id, length(v), d FROM t WHERE id = ANY (''{1,2}'') ORDER BY 1', 'VALUES (1, 1, 42), (2, 5000, 42)', 'SELECT');
SELECT is(writecache.get(NULL::t, 1), '(1,x,42)'::t, 'get');
SELECT is((writecache.get(NULL::t, 2)).d, 42, 'get');
CREATE TABLE kept AS SELECT row_to_json(g) AS j, g.d FROM (SELECT (writecache.get(NULL::t, 1)).*) g;
SELECT is((SELECT j::text FROM kept), '{"id":1,"v":"x","d":42}');
ALTER TABLE t ALTER d SET DEFAULT 43;
INSERT INTO t (id, v) VALUES (3, 'z');
SELECT results_eq('SELECT id, d FROM t WHERE id = ANY (''{1,3}'') ORDER BY 1', 'VALUES (1, 42), (3, 43)', 'another default for new rows');
ALTER TABLE t DROP d;
ALTER TABLE t ADD d text DEFAULT 'new';
SELECT results_eq('SELECT id, d FROM t WHERE id = ANY (''{1,2,3}'') ORDER BY 1', $$VALUES (1, 'new'), (2, 'new'), (3, 'new')$$, 'another column of that name');
ALTER TABLE t ALTER d DROP DEFAULT, ALTER d TYPE bytea USING d::bytea;
SELECT results_eq('SELECT id, d FROM t WHERE id = ANY (''{1,2,3}'') ORDER BY 1', $$VALUES (1, 'new'::bytea), (2, 'new'), (3, 'new')$$, 'of another type');
ALTER TABLE t DROP v;
SELECT results_eq('SELECT * FROM t WHERE id = 2', $$VALUES (2, 'new'::bytea)$$, 'a dropped column');
SELECT is(writecache.get(NULL::t, 2), ROW(2, 'new'::bytea)::t, 'a dropped column');

-- A rewritten table: what is cached has other columns, also before the key.
CREATE TABLE r (v text, w int, id text PRIMARY KEY, x text);
INSERT INTO r SELECT repeat('v', g), g, 'key' || g, 'x' FROM generate_series(1, 50) g;
SELECT writecache.attach('r', 'write_around');
SELECT is((SELECT sum(w) FROM r WHERE id = ANY (SELECT 'key' || g FROM generate_series(1, 50) g)), 1275::bigint, 'filled');
SELECT is((SELECT sum(w) FROM writecache.get_many(NULL::r, ARRAY(SELECT 'key' || g FROM generate_series(1, 50) g))), 1275::bigint, 'filled');
ALTER TABLE r ALTER v TYPE int USING length(v), ALTER w TYPE text;
SELECT is((SELECT sum(w::int) FROM writecache.get_many(NULL::r, ARRAY(SELECT 'key' || g FROM generate_series(1, 50) g))), 1275::bigint, 'get_many');
ALTER TABLE r ALTER v TYPE text USING repeat('v', 1000), ALTER w TYPE numeric USING w::numeric;
SELECT is((SELECT sum(w) FROM r WHERE id = ANY (ARRAY(SELECT 'key' || g FROM generate_series(1, 50) g))), 1275::numeric, '= ANY');

-- Columns that change under a query that is running.
CREATE FUNCTION change_r(what text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'ALTER TABLE r ' || what; RETURN 1; END $$;
SELECT throws_ok($$SELECT g.* FROM (SELECT change_r('ALTER x TYPE int USING 7') OFFSET 0) a, LATERAL writecache.get_many(NULL::r, ARRAY['key1']) g$$,
  '42804', 'function return row and query-specified return row do not match', 'get_many');
SELECT throws_ok($$SELECT g.* FROM (SELECT change_r('DROP w, ADD y int') OFFSET 0) a, LATERAL writecache.get_many(NULL::r, ARRAY['key1']) g$$,
  '42804', 'columns of "r" were dropped after the query was planned', 'get_many');

-- A column that never came, and then another one in its place. Compressed rows are made anew for the cache.
CREATE TABLE u (id int PRIMARY KEY, v text);
INSERT INTO u VALUES (1, repeat('y', 5000)), (2, 'x');
SELECT writecache.attach('u', 'write_around');
BEGIN;
ALTER TABLE u ADD x int DEFAULT 5;
SELECT results_eq('SELECT x FROM u WHERE id = ANY (''{1,2}'')', 'VALUES (5), (5)', 'filled') FROM generate_series(1, 2);
ROLLBACK;
ALTER TABLE u ADD y text DEFAULT 'new';
SELECT results_eq('SELECT length(v), y FROM u WHERE id = ANY (''{1,2}'') ORDER BY id', $$VALUES (5000, 'new'), (1, 'new')$$, 'after a rollback');
SELECT is((writecache.get(NULL::u, 1)).y, 'new');
BEGIN;
SAVEPOINT s;
ALTER TABLE u DROP v, ADD z int DEFAULT 1;
SELECT results_eq('SELECT z FROM u WHERE id = ANY (''{1,2}'')', 'VALUES (1), (1)', 'filled') FROM generate_series(1, 2);
ROLLBACK TO s;
SELECT results_eq('SELECT length(v), y FROM u WHERE id = ANY (''{1,2}'') ORDER BY id', $$VALUES (5000, 'new'), (1, 'new')$$, 'after a rollback to a savepoint');
COMMIT;

-- The index remembers dead rows that it met until it has left their page.
CREATE TABLE dead (id int PRIMARY KEY, w int);
CREATE INDEX ON dead (w);
INSERT INTO dead SELECT g, 0 FROM generate_series(1, 3000) g;
SELECT writecache.attach('dead', 'write_around');
UPDATE dead SET w = 1;
UPDATE dead SET w = 2;
SELECT results_eq('SELECT count(*), sum(w) FROM dead WHERE id = ANY (ARRAY(SELECT g FROM generate_series(1, 3000, 3) g))', 'VALUES (1000::bigint, 2000::bigint)');
UPDATE dead SET w = 3;
SELECT results_eq('SELECT count(*), sum(w) FROM writecache.get_many(NULL::dead, ARRAY(SELECT g FROM generate_series(2, 3000, 3) g))', 'VALUES (1000::bigint, 3000::bigint)');

SELECT * FROM finish();
DROP SCHEMA cc CASCADE;
