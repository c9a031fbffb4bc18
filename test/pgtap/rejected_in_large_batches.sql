-- A batch of many rows is stored in parts and in the order of an index: rows that the table refuses are rejected alone,
-- and of rows that exclude each other the first one to arrive is stored.
\ir ../tools/twins.psql
SELECT * FROM no_plan();

CREATE ROLE pgtap_large_first;
CREATE ROLE pgtap_large_second;
CREATE SCHEMA l;
GRANT USAGE ON SCHEMA l TO PUBLIC;
-- Row n of 20,000 has the key (n * 7919) % 20011, so neighbours are far apart and no two of them are equal.
CREATE FUNCTION l.key(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT (n * 7919) % 20011';
CREATE TABLE l.by_key (n int, key int PRIMARY KEY, pad text);
CREATE TABLE l.by_other (n int PRIMARY KEY, key int, other int, UNIQUE (other), pad text);
CREATE INDEX ON l.by_other (key);
CREATE TABLE l.by_text (n int, key text COLLATE "C" NOT NULL, day date, pad text, UNIQUE (key, day));
CREATE TABLE l.none (n int, key int, pad text);
CREATE INDEX ON l.none (key, (1 / (n - 5000)));
GRANT INSERT ON ALL TABLES IN SCHEMA l TO pgtap_large_first, pgtap_large_second;
SELECT writecache.attach(t, 'write_back', flush_interval => '1 day', flush_rows => 1000000, flush_bytes => 1000000000)
  FROM unnest('{l.by_key,l.by_other,l.by_text,l.none}'::regclass[]) t;

INSERT INTO l.by_key VALUES (0, l.key(77), 'was there');
INSERT INTO l.by_other VALUES (-77, 0, -77, 'was there');
SELECT writecache.flush() >= 0 AS flushed;

SET ROLE pgtap_large_first;
INSERT INTO l.by_key SELECT n, l.key(n), repeat('x', 100) FROM generate_series(1, 12000) n;
INSERT INTO l.by_other SELECT n, l.key(n), n, repeat('x', 100) FROM generate_series(1, 12000) n;
INSERT INTO l.by_text SELECT n, 'a common beginning ' || l.key(n), date '2026-01-01' + n % 2, repeat('x', 100) FROM generate_series(1, 12000) n;
INSERT INTO l.none SELECT n, l.key(n), repeat('x', 100) FROM generate_series(1, 20000) n;
SET ROLE pgtap_large_second;
INSERT INTO l.by_key SELECT n, l.key(n), repeat('x', 100) FROM generate_series(12001, 20000) n;
INSERT INTO l.by_other SELECT n, l.key(n), n, repeat('x', 100) FROM generate_series(12001, 20000) n;
INSERT INTO l.by_text SELECT n, 'a common beginning ' || l.key(n), date '2026-01-01' + n % 2, repeat('x', 100) FROM generate_series(12001, 20000) n;
-- Twenty rows again, with another number: they come too late, whatever the order in which they are stored.
INSERT INTO l.by_key SELECT 100000 + n, l.key(n), 'late' FROM generate_series(1000, 20000, 1000) n;
INSERT INTO l.by_other SELECT 100000 + n, 20011 - l.key(n), n, 'late' FROM generate_series(1000, 20000, 1000) n;
INSERT INTO l.by_text SELECT 100000 + n, 'a common beginning ' || l.key(n), date '2026-01-01' + n % 2, 'late' FROM generate_series(1000, 20000, 1000) n;
RESET ROLE;
SELECT is((SELECT sum(rows_pending) FROM writecache.stat_write_back), 80060::numeric, 'all wait for one flush each');
SELECT writecache.flush() >= 0 AS flushed;

SELECT is((SELECT count(*) FROM writecache.rejected WHERE relation = 'l.by_key'::regclass), 21::bigint, 'sorted by the key: as many as are there twice');
SELECT results_eq($$SELECT (row->>'n')::int, sqlstate, staged_by::text FROM writecache.rejected WHERE relation = 'l.by_key'::regclass ORDER BY 1$$,
  $$SELECT 77, '23505', 'pgtap_large_first' UNION ALL SELECT 100000 + n, '23505', 'pgtap_large_second' FROM generate_series(1000, 20000, 1000) n ORDER BY 1$$, '... those that came later');
SELECT is((SELECT count(*) FROM l.by_key WHERE pad <> 'late'), 20000::bigint, '... all others are stored');
SELECT results_eq($$SELECT (row->>'n')::int, sqlstate FROM writecache.rejected WHERE relation = 'l.by_other'::regclass ORDER BY 1$$,
  $$SELECT 100000 + n, '23505' FROM generate_series(1000, 20000, 1000) n ORDER BY 1$$, 'sorted by another index: those that came later');
SELECT is((SELECT count(*) FROM l.by_other WHERE pad <> 'late'), 20001::bigint, '... all others are stored');
SELECT results_eq($$SELECT (row->>'n')::int, sqlstate, staged_by::text FROM writecache.rejected WHERE relation = 'l.by_text'::regclass ORDER BY 1$$,
  $$SELECT 100000 + n, '23505', 'pgtap_large_second' FROM generate_series(1000, 20000, 1000) n ORDER BY 1$$, 'sorted by two columns: those that came later');
SELECT is((SELECT count(*) FROM l.by_text WHERE pad <> 'late'), 20000::bigint, '... all others are stored');
SELECT results_eq($$SELECT (row->>'n')::int, sqlstate, staged_by::text FROM writecache.rejected WHERE relation = 'l.none'::regclass$$,
  $$VALUES (5000, '22012', 'pgtap_large_first')$$, 'an index expression that fails');
SELECT is((SELECT count(*) FROM l.none), 19999::bigint, '... all others are stored');
-- In order on disk: but for what was cut up around the bad rows, each key has its smaller neighbour before it.
SELECT cmp_ok((SELECT count(*) FROM (SELECT key < lag(key) OVER (ORDER BY ctid) AS wrong FROM l.by_key) s WHERE wrong), '<', 100::bigint, 'a batch is in order over all its parts');
SELECT cmp_ok((SELECT count(*) FROM (SELECT key < lag(key) OVER (ORDER BY ctid) AS wrong FROM l.by_text) s WHERE wrong), '<', 100::bigint, '... also by text');

SELECT * FROM finish();
DROP SCHEMA l CASCADE;
DROP ROLE pgtap_large_first, pgtap_large_second;
