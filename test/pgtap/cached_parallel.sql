-- Parallel plans that read through the cache, in workers and their leader: the rows are those of the table, and EXPLAIN ANALYZE
-- counts what all of them found.
SET client_min_messages = warning;
SELECT * FROM no_plan();
CREATE SCHEMA cp;
SET search_path = cp, public;
\ir ../tools/cached.psql

CREATE TABLE t (id int PRIMARY KEY, v text, w int) WITH (fillfactor = 50);
INSERT INTO t SELECT n, 'v' || n, n FROM generate_series(1, 2000) n;
CREATE TABLE outside (k int) WITH (parallel_workers = 2);
INSERT INTO outside SELECT n FROM generate_series(1, 1500) n;
ANALYZE t, outside;
SELECT writecache.attach('t', 'write_around');
CALL settle();
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET enable_memoize = off;
CREATE FUNCTION plan(query text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE plan jsonb;
BEGIN
  EXECUTE 'EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) ' || query INTO plan;
  RETURN plan;
END $$;
-- Hits by page, by TID, misses of all nodes that read through the cache; -1: no Gather.
CREATE FUNCTION counters(query text) RETURNS text LANGUAGE sql AS $$
  SELECT CASE WHEN p::text NOT LIKE '%"Gather"%' THEN 'no Gather' ELSE (
    SELECT concat_ws(' ', sum((n ->> 'Proofs by Page')::int), sum((n ->> 'Proofs by TID')::int), sum((n ->> 'Cache Misses')::int))
      FROM jsonb_path_query(p, 'strict $.**?(@."Custom Plan Provider" == "RowCache")') n) END
    FROM plan(query) p $$;

CREATE TEMP TABLE queries AS SELECT 'SELECT count(*), sum(length(t.v)) FROM outside o JOIN t ON t.id = o.k WHERE o.k > 0' AS joined,
  'SELECT count(t.v), count(*) FROM outside o LEFT JOIN t ON t.id = o.k AND t.w % 2 = 0' AS outer_joined;
SELECT is(counters(joined), '0 0 1500', 'not in the cache') FROM queries;
SELECT is(counters(joined), '1500 0 0', 'proved by their pages') FROM queries;
SELECT is(counters(outer_joined), '1500 0 0', 'an outer join') FROM queries;
UPDATE t SET w = w + 1;
SELECT is((SELECT sum(n::int) FROM regexp_split_to_table(counters(joined), ' ') n), 1500::bigint, 'after an update') FROM queries;
SELECT is(counters(joined), '1500 0 0', 'again') FROM queries;
SELECT results_eq(joined, 'SELECT count(*), sum(length(t.v)) FROM outside o JOIN t TABLESAMPLE SYSTEM (100) ON t.id = o.k WHERE o.k > 0', 'the rows') FROM queries;
-- The leader alone, workers alone, and a plan that runs several times.
SET max_parallel_workers = 0;
SELECT is(counters(joined), '1500 0 0', 'no worker is to be had') FROM queries;
RESET max_parallel_workers;
SET parallel_leader_participation = off;
SELECT is(counters(joined), '1500 0 0', 'workers alone') FROM queries;
SELECT is(counters('SELECT (SELECT count(*) FROM outside o JOIN t ON t.id = o.k WHERE o.k > x) FROM generate_series(1, 3) x'), 'no Gather', 'depends on an outer row');
RESET parallel_leader_participation;
SELECT is(counters('SELECT * FROM (SELECT count(*) FROM outside o JOIN t ON t.id = o.k) a, (SELECT count(*) FROM outside o JOIN t ON t.id = o.k + 1) b'), '2999 0 1', 'two in one query, of which one asks for a key that no other did');
-- One worker runs all of it.
SELECT set_config((SELECT name FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query') ORDER BY 1 LIMIT 1), 'on', false);
SELECT is(counters('SELECT * FROM t WHERE id = 5'), '1 0 0', 'one row');
SELECT is(counters('SELECT * FROM t WHERE id = ANY (ARRAY[5, 6, 7, 5, 5000])'), '3 0 1', 'a few rows');
SELECT is((SELECT array_agg(id || v ORDER BY id) FROM t WHERE id = ANY (ARRAY[5, 6, 7, 5, 5000])), ARRAY['5v5', '6v6', '7v7'], 'the rows');
-- What the transaction itself has written.
BEGIN;
UPDATE t SET v = 'own' WHERE id < 4;
DELETE FROM t WHERE id = 4;
SELECT is((SELECT array_agg(v ORDER BY id) FROM t WHERE id = ANY (ARRAY[1, 2, 3, 4, 5])), ARRAY['own', 'own', 'own', 'v5'], 'own changes');
SAVEPOINT s;
UPDATE t SET v = 'back' WHERE id < 4;
SELECT is((SELECT array_agg(v ORDER BY id) FROM t WHERE id = ANY (ARRAY[1, 2, 3, 4, 5])), ARRAY['back', 'back', 'back', 'v5'], 'in a savepoint');
ROLLBACK TO s;
SELECT is((SELECT array_agg(v ORDER BY id) FROM t WHERE id = ANY (ARRAY[1, 2, 3, 4, 5])), ARRAY['own', 'own', 'own', 'v5'], 'after its end');
ROLLBACK;
SELECT is((SELECT array_agg(v ORDER BY id) FROM t WHERE id = ANY (ARRAY[1, 2, 3, 4, 5])), ARRAY['v1', 'v2', 'v3', 'v4', 'v5'], 'after a rollback');

SELECT * FROM finish();
DROP SCHEMA cp CASCADE;
