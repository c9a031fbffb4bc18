-- Cursors over rows that come from the cache: where they stand is where the row is, so UPDATE and DELETE WHERE CURRENT OF
-- change that row; they go to and fro, and keep their snapshot. Materialized views without rows have none in the cache.
SET client_min_messages = warning;
SELECT * FROM no_plan();
CREATE SCHEMA cu;
SET search_path = cu, public;
\ir ../tools/cached.psql

CREATE TABLE t (id int PRIMARY KEY, v text, w int) WITH (fillfactor = 50);
INSERT INTO t SELECT n, 'v' || n, n FROM generate_series(1, 1000) n;
CREATE TABLE p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
CREATE TABLE p2 (v text, id int NOT NULL);
ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM (10) TO (20);
INSERT INTO p SELECT n, 'v' || n FROM generate_series(1, 19) n;
CREATE MATERIALIZED VIEW m AS SELECT * FROM t;
CREATE UNIQUE INDEX ON m (id);
ANALYZE t, p, m;
SELECT writecache.attach('t', 'write_around'), writecache.attach('p', 'write_around'), writecache.attach('m', 'write_around', key => '{id}');
CALL settle();
CREATE FUNCTION counter(query text, name text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE plan json;
BEGIN
  EXECUTE 'EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) ' || query INTO plan;
  RETURN plan #>> ARRAY['0', 'Plan', name];
END $$;

-- Read from the table; from the cache, proved by the page; proved by the place.
SELECT is(counter('SELECT * FROM t WHERE id = 3', 'Cache Misses'), 1, 'not in the cache');
SELECT is(counter('SELECT * FROM t WHERE id = 3', 'Proofs by Page'), 1, 'proved by its page');
SELECT writecache.invalidate('t');
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM t WHERE id = 3;
FETCH c \gset
UPDATE t SET v = 'missed' WHERE CURRENT OF c;
COMMIT;
SELECT is((SELECT string_agg(id::text, ' ') FROM t WHERE v = 'missed'), '3', 'UPDATE of a row that was not in the cache');
SELECT is((SELECT v FROM t WHERE id = 3), 'missed') FROM generate_series(1, 2);
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM t WHERE id = 3;
FETCH c \gset
UPDATE t SET v = 'page' WHERE CURRENT OF c;
COMMIT;
SELECT is((SELECT string_agg(id::text, ' ') FROM t WHERE v = 'page'), '3', 'UPDATE of a row that its page proved');
SELECT is((SELECT v FROM t WHERE id = 3), 'page');
UPDATE t SET w = w + 1 WHERE id = 4;
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM t WHERE id = 3;
FETCH c \gset
UPDATE t SET v = 'place' WHERE CURRENT OF c;
COMMIT;
SELECT is((SELECT string_agg(id::text, ' ') FROM t WHERE v = 'place'), '3', 'UPDATE of a row that its place proved');
-- Several rows, with a condition and columns of its own.
SELECT count(*) FROM t WHERE id = ANY (ARRAY[10, 11, 12, 13]);
BEGIN;
DECLARE c CURSOR FOR SELECT w + 1, v FROM t WHERE id = ANY (ARRAY[10, 11, 12, 13]) AND w <> 11;
FETCH 2 FROM c;
UPDATE t SET v = 'second' WHERE CURRENT OF c;
FETCH 1 FROM c;
DELETE FROM t WHERE CURRENT OF c RETURNING id;
COMMIT;
SELECT is((SELECT string_agg(id || v, ' ' ORDER BY id) FROM t WHERE id = ANY (ARRAY[10, 11, 12, 13])), '10v10 11v11 12second', 'several rows');
DO $$
DECLARE r record; c CURSOR FOR SELECT * FROM t WHERE id = ANY (ARRAY[20, 21, 22]);
BEGIN
  FOR r IN c LOOP UPDATE t SET v = v || ' ' || r.id WHERE CURRENT OF c; END LOOP;
END $$;
SELECT is((SELECT string_agg(v, ', ' ORDER BY id) FROM t WHERE id = ANY (ARRAY[20, 21, 22])), 'v20 20, v21 21, v22 22', 'a loop of PL/pgSQL');
-- Partitions.
SELECT count(*) FROM p WHERE id = ANY (ARRAY[3, 4, 13, 14]);
BEGIN;
DECLARE c CURSOR FOR SELECT v FROM p WHERE id = ANY (ARRAY[3, 13]);
FETCH 2 FROM c;
UPDATE p SET v = 'current' WHERE CURRENT OF c;
COMMIT;
SELECT is((SELECT string_agg(id::text, ' ') FROM p WHERE v = 'current'), '13', 'a partition');

-- To and fro, in the snapshot of the cursor.
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT id, v FROM t WHERE id = ANY (ARRAY[30, 31, 32]);
SELECT results_eq('FETCH 2 FROM c', $$VALUES (30, 'v30'), (31, 'v31')$$);
UPDATE t SET v = 'new' WHERE id = ANY (ARRAY[30, 31, 32]);
DELETE FROM t WHERE id = 32;
SELECT results_eq('FETCH BACKWARD ALL FROM c', $$VALUES (30, 'v30')$$, 'backward');
SELECT results_eq('FETCH ALL FROM c', $$VALUES (30, 'v30'), (31, 'v31'), (32, 'v32')$$, 'forward');
DECLARE h CURSOR WITH HOLD FOR SELECT id, v FROM t WHERE id = ANY (ARRAY[30, 31, 32]);
COMMIT;
UPDATE t SET v = 'newer' WHERE id = 30;
SELECT results_eq('FETCH ALL FROM h', $$VALUES (30, 'new'), (31, 'new')$$, 'a cursor that is held');

-- Where PostgreSQL lets a cursor go back although it was not declared so, it does.
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM t WHERE id = ANY (ARRAY[3, 5000, 1, 2, 6000]);
SELECT is_empty('FETCH BACKWARD 1 FROM c', 'before the first');
SELECT results_eq('FETCH 2 FROM c', 'VALUES (3), (1)');
SELECT results_eq('FETCH PRIOR FROM c', 'VALUES (3)');
SELECT is_empty('FETCH PRIOR FROM c');
SELECT is_empty('FETCH PRIOR FROM c');
SELECT results_eq('FETCH ALL FROM c', 'VALUES (3), (1), (2)');
SELECT is_empty('FETCH NEXT FROM c');
SELECT is_empty('FETCH NEXT FROM c');
SELECT results_eq('FETCH BACKWARD 2 FROM c', 'VALUES (2), (1)');
SELECT results_eq('FETCH NEXT FROM c', 'VALUES (2)', 'there and back');
SELECT results_eq('FETCH LAST FROM c', 'VALUES (2)');
SELECT results_eq('FETCH ABSOLUTE 2 FROM c', 'VALUES (1)');
SELECT results_eq('FETCH RELATIVE 0 FROM c', 'VALUES (1)');
DECLARE o CURSOR FOR SELECT id, v FROM t WHERE id = 40 AND w > 0;
SELECT results_eq('FETCH NEXT FROM o', $$VALUES (40, 'v40')$$, 'one key');
SELECT is_empty('FETCH NEXT FROM o');
SELECT results_eq('FETCH PRIOR FROM o', $$VALUES (40, 'v40')$$);
SELECT is_empty('FETCH PRIOR FROM o');
SELECT results_eq('FETCH NEXT FROM o', $$VALUES (40, 'v40')$$);
DECLARE x SCROLL CURSOR FOR SELECT id, v FROM t WHERE id = ANY (ARRAY[41, 42, 43]) AND w <> 42;
SELECT results_eq('FETCH ALL FROM x', $$VALUES (41, 'v41'), (43, 'v43')$$);
FETCH BACKWARD 2 FROM x;
UPDATE t SET v = 'went back' WHERE CURRENT OF x;
COMMIT;
SELECT is((SELECT string_agg(id::text, ' ') FROM t WHERE v = 'went back'), '41', 'UPDATE where a scrolling cursor stands');
SELECT is((SELECT v FROM t WHERE id = 41), 'went back');

-- No rows yet, or no more.
SELECT is((SELECT v FROM m WHERE id = 1), 'v1');
SELECT is((writecache.get(NULL::m, 1)).v, 'v1');
REFRESH MATERIALIZED VIEW m WITH NO DATA;
SELECT throws_ok(q, '55000', 'materialized view "m" has not been populated', q) FROM unnest(ARRAY['SELECT * FROM m WHERE id = 1', 'SELECT writecache.get(NULL::m, 1)',
  'SELECT * FROM writecache.get_many(NULL::m, ARRAY[1])', $$SELECT writecache.warm('m')$$]) q;
REFRESH MATERIALIZED VIEW m;
SELECT is((writecache.get(NULL::m, 30)).v, 'newer', 'again');
SELECT is((SELECT v FROM m WHERE id = 30), 'newer');

SELECT * FROM finish();
DROP SCHEMA cu CASCADE;
