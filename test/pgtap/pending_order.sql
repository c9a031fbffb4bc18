-- ORDER BY … LIMIT over pending rows: blocks are read in the order of what they hold, only as far as needed, and the rows
-- come in the right order whatever they hold.
SET client_min_messages = warning;
SELECT * FROM no_plan();
CREATE TABLE plain (id int PRIMARY KEY, at timestamptz, place text, level float8, n int NOT NULL);
CREATE INDEX ON plain (at);
CREATE INDEX ON plain (level, place);
CREATE INDEX ON plain (n DESC, id);
CREATE INDEX ON plain (place, at);
CREATE TABLE buffered (LIKE plain INCLUDING ALL);
SELECT writecache.attach('buffered', 'write_back', flush_interval => '1 day', flush_rows => 1000000000, flush_bytes => 1000000000000);

-- Rows in the table and in the buffer; later ones have later times, with some disorder; nulls and NaN here and there.
CREATE FUNCTION add(first int, last int) RETURNS void LANGUAGE sql AS $$
  INSERT INTO plain SELECT g, CASE WHEN g % 501 <> 0 THEN timestamptz '2026-01-01' + (g + g % 7) * interval '1 s' END,
    'place ' || g % 10 || repeat('x', 60), CASE WHEN g % 1009 = 0 THEN 'NaN'::float8 WHEN g % 1013 = 0 THEN NULL ELSE (g * 7919) % 10007 - 5000 END, g / 100
    FROM generate_series(first, last) g;
  INSERT INTO buffered SELECT * FROM plain WHERE id BETWEEN first AND last
$$;
SELECT add(1, 3000);
SELECT writecache.flush('buffered');
SELECT add(n, n + 999) FROM generate_series(3001, 19001, 1000) n;
ANALYZE plain;
ANALYZE buffered;
SELECT add(n, n + 999) FROM generate_series(20001, 30001, 1000) n;
SELECT cmp_ok((SELECT blocks FROM writecache.buffer_queues()), '>', 10, 'a number of blocks is pending');

CREATE FUNCTION rows_of(query text, t text) RETURNS SETOF text LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY EXECUTE format('SELECT x::text FROM (' || query || ') x', t); END $$;
CREATE FUNCTION same(query text) RETURNS text LANGUAGE sql AS $$
  SELECT results_eq(format('SELECT rows_of(%L, %L)', query, 'buffered'), format('SELECT rows_of(%L, %L)', query, 'plain'), query) $$;
CREATE FUNCTION read_by(query text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
  FOR line IN EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) ' || query LOOP
    IF line ~ 'Pending Rows Read' THEN RETURN substring(line FROM '\d+$'); END IF;
  END LOOP;
END $$;
CREATE FUNCTION plan(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY EXECUTE 'EXPLAIN (COSTS OFF) ' || query; END $$;
SELECT ok('    Pending Order: at DESC' IN (SELECT trim(trailing FROM regexp_replace(p, '^ +', '    ')) FROM plan('SELECT * FROM buffered WHERE at IS NOT NULL ORDER BY at DESC NULLS FIRST LIMIT 10') p), 'EXPLAIN says so');
SELECT is((SELECT count(*) FROM plan('SELECT * FROM buffered ORDER BY at DESC LIMIT 10') p WHERE p ~ '(->  |^)Sort'), 0::bigint, 'nothing is sorted');
SELECT is((SELECT count(*) FROM plan('SELECT * FROM buffered ORDER BY at DESC') p WHERE p ~ 'Pending Order'), 0::bigint, 'without LIMIT PostgreSQL sorts');

SELECT same('SELECT * FROM %I ORDER BY id DESC LIMIT 10');
SELECT cmp_ok(read_by('SELECT * FROM buffered ORDER BY id DESC LIMIT 10'), '<', 3000::bigint, 'the second time two blocks are enough');
SELECT same(q) FROM unnest(ARRAY[
  'SELECT * FROM %I ORDER BY id LIMIT 10', 'SELECT * FROM %I ORDER BY id OFFSET 2990 LIMIT 20', 'SELECT * FROM %I ORDER BY id DESC OFFSET 25000 LIMIT 20',
  'SELECT at FROM %I ORDER BY at LIMIT 30', 'SELECT at FROM %I ORDER BY at DESC LIMIT 100', 'SELECT at, id FROM %I ORDER BY at DESC NULLS LAST, id DESC LIMIT 50',
  'SELECT at, id FROM %I ORDER BY at NULLS FIRST, id LIMIT 70', 'SELECT level, id FROM %I ORDER BY level, place, id LIMIT 50', 'SELECT level, place FROM %I ORDER BY level DESC, place DESC LIMIT 50',
  'SELECT level, place FROM %I ORDER BY level, place LIMIT 5000', 'SELECT * FROM %I ORDER BY n DESC, id LIMIT 200', 'SELECT * FROM %I ORDER BY n, id DESC LIMIT 200',
  'SELECT * FROM %I WHERE n = 250 ORDER BY n DESC, id LIMIT 7', 'SELECT id FROM %I WHERE id > 29000 AND place LIKE ''place 3%%'' ORDER BY id LIMIT 5',
  'SELECT id FROM %I WHERE id < 0 ORDER BY id LIMIT 5', 'SELECT id FROM %I WHERE at < ''2026-01-01 06:00'' ORDER BY id DESC LIMIT 5',
  'SELECT place, at FROM %I ORDER BY place, at LIMIT 20', 'SELECT max(id), min(id), max(at), min(at), max(level), min(n) FROM %I',
  'SELECT (SELECT b.id FROM %1$I b WHERE b.n <= a.n ORDER BY b.n DESC, b.id LIMIT 1) FROM generate_series(0, 290, 29) a (n)',
  'SELECT o.* FROM generate_series(1, 3) g, LATERAL (SELECT id FROM %I WHERE n >= g * 90 ORDER BY n DESC, id LIMIT 2) o']) q;
SET work_mem = '64kB';
SELECT same(q) FROM unnest(ARRAY['SELECT * FROM %I ORDER BY id DESC OFFSET 25000 LIMIT 20', 'SELECT level, id FROM %I ORDER BY level, place, id LIMIT 50', 'SELECT level, place FROM %I ORDER BY level DESC, place DESC LIMIT 7000',
  'SELECT o.* FROM generate_series(1, 3) g, LATERAL (SELECT level, place FROM %I WHERE level >= g * 90 ORDER BY level, place LIMIT 2) o']) q;
RESET work_mem;
-- More rows behind what the summaries know; a cursor that goes on while rows are flushed.
SELECT add(40001, 40010);
SELECT same('SELECT * FROM %I ORDER BY id DESC LIMIT 10');
BEGIN;
SET LOCAL cursor_tuple_fraction = 0.001;
DECLARE c CURSOR FOR SELECT id FROM buffered ORDER BY id DESC LIMIT 20000;
FETCH 2 FROM c;
SELECT results_eq('FETCH 3 FROM c', 'VALUES (40008), (40007), (40006)');
MOVE 9995 FROM c;
SELECT results_eq('FETCH 2 FROM c', 'SELECT id FROM plain ORDER BY id DESC OFFSET 10000 LIMIT 2');
COMMIT;
CREATE TABLE p (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (1000);
CREATE TABLE p2 (v int, gone int, id int NOT NULL);
ALTER TABLE p2 DROP COLUMN gone;
ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM (1000) TO (100000);
SELECT writecache.attach('p', 'write_back', flush_interval => '1 day', flush_rows => 1000000000, flush_bytes => 1000000000000);
INSERT INTO p SELECT g * 37 % 20000, g FROM generate_series(1, 19999) g;
SELECT results_eq('SELECT id FROM p ORDER BY id LIMIT 3', 'VALUES (1), (2), (3)', 'a partitioned table');
SELECT results_eq('SELECT id FROM p ORDER BY id DESC LIMIT 2', 'VALUES (19999), (19998)');
SELECT results_eq('SELECT id FROM p2 ORDER BY id LIMIT 2', 'VALUES (1000), (1001)', 'a partition by its name');
SELECT results_eq('SELECT id FROM p1 ORDER BY id DESC LIMIT 2', 'VALUES (999), (998)');
SELECT * FROM finish();
