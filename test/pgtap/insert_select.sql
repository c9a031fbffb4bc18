-- A captured INSERT … SELECT gives what a plain one gives, whatever it selects from.
\ir ../tools/twins.psql
SELECT * FROM no_plan();

SELECT make_twins($$
  CREATE TABLE src (id int PRIMARY KEY, grp int, txt text);
  INSERT INTO src SELECT x, x % 7, 'row ' || x FROM generate_series(1, 500) x;
  CREATE TABLE empty (id int);
  CREATE TABLE t (id bigint, txt text, num numeric);
  ANALYZE src;
$$);
SELECT same($$INSERT INTO t SELECT id, txt, grp FROM src$$);
SELECT same($$INSERT INTO t (txt, id) SELECT txt, id FROM src ORDER BY grp DESC, id LIMIT 20 RETURNING id, txt$$);
SELECT same($$INSERT INTO t (id) SELECT id FROM src ORDER BY txt || grp RETURNING id$$);
SELECT same($$INSERT INTO t (id) SELECT id FROM src ORDER BY random()$$);
SELECT same($$INSERT INTO t SELECT grp, string_agg(txt, ',' ORDER BY id DESC), avg(id) FROM src GROUP BY grp HAVING count(*) > 2 ORDER BY max(id) RETURNING *$$);
SELECT same($$INSERT INTO t (id, num) SELECT id, sum(id) OVER (PARTITION BY grp ORDER BY id) FROM src$$);
SELECT same($$INSERT INTO t (id) SELECT id FROM src UNION SELECT id + 1000 FROM src EXCEPT SELECT 5$$);
SELECT same($$INSERT INTO t (id) SELECT generate_series(1, 5) FROM src WHERE id < 3$$);
SELECT same($$INSERT INTO t (id, txt) SELECT DISTINCT ON (grp) grp, txt FROM src ORDER BY grp, id DESC RETURNING *$$);
SELECT same($$INSERT INTO t SELECT a.id, b.txt, c.n FROM src a JOIN src b ON b.id = a.id + 1 LEFT JOIN LATERAL (SELECT count(*) n FROM src WHERE grp = a.grp) c ON true WHERE a.id < 40$$);
SELECT same($$INSERT INTO t SELECT * FROM (VALUES (1, 'v', 1.5), (2, 'w', 2.5)) v RETURNING *$$);
SELECT same($$INSERT INTO t (id, num, txt) TABLE src$$);
SELECT same($$INSERT INTO t (id) SELECT id FROM empty$$);
SELECT same($$INSERT INTO t (id) SELECT id FROM empty RETURNING *$$);
SELECT same($$INSERT INTO t (id) SELECT 1 WHERE false$$);
SELECT same($$INSERT INTO t SELECT$$);
SELECT same($$INSERT INTO t SELECT FROM src WHERE id < 4 RETURNING *$$);
SELECT same($$INSERT INTO t (id) SELECT id FROM src TABLESAMPLE SYSTEM (100)$$);
SELECT same($$INSERT INTO t (id, txt) SELECT x, y FROM ROWS FROM (generate_series(1, 3), unnest('{a,b}'::text[])) r (x, y) RETURNING *$$);
SELECT same($$INSERT INTO t (id) SELECT x::int FROM jsonb_array_elements_text('[1, 2, 3]') x RETURNING *$$);

-- CTEs that only read, also recursive, also used twice.
SELECT same($$WITH c AS (SELECT id, txt FROM src WHERE id < 10) INSERT INTO t (id, txt) SELECT c.id, d.txt FROM c JOIN c d USING (id)$$);
SELECT same($$WITH c AS MATERIALIZED (SELECT id FROM src) INSERT INTO t (id) SELECT id FROM c ORDER BY -id LIMIT 3 RETURNING id, (SELECT count(*) FROM c)$$);
SELECT same($$INSERT INTO t (id) WITH RECURSIVE r (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM r WHERE n < 20) SELECT n FROM r$$);

-- Sub-selects, evaluated once or for each row.
SELECT same($$INSERT INTO t (id, txt) SELECT id, (SELECT max(txt) FROM src) FROM src WHERE id > (SELECT avg(id) FROM src)$$);
SELECT same($$INSERT INTO t (id, txt) VALUES ((SELECT min(id) FROM src), (SELECT txt FROM src WHERE id = 3)), ((SELECT 8), NULL) RETURNING *$$);
SELECT same($$INSERT INTO t (id, num) SELECT id, (SELECT count(*) FROM src s WHERE s.grp = src.grp) FROM src WHERE EXISTS (SELECT FROM src e WHERE e.id = src.id * 2)$$);
SELECT same($$INSERT INTO t (id) VALUES ((SELECT 1)) RETURNING id, (SELECT count(*) FROM src), (SELECT txt FROM src WHERE src.id = t.id), id IN (SELECT id FROM src)$$);
SELECT same_error($$INSERT INTO t (id) VALUES ((SELECT id FROM src))$$, '21000');
SELECT same_error($$INSERT INTO t (id) SELECT 10 / (id - 300) FROM src$$, '22012');
SELECT same_error($$INSERT INTO t (id) SELECT txt FROM src$$, '42804');
SELECT same_error($$INSERT INTO t (id) SELECT id, txt FROM src$$);
SELECT same_rows('t', 3000);

-- From itself: what is stored already doubles.
SELECT same($$INSERT INTO t SELECT * FROM t$$);
SELECT same_rows('t', 6000);
SELECT same($$WITH c AS (SELECT count(*) AS n FROM t) INSERT INTO t (id) SELECT n FROM c RETURNING *$$);
SELECT same_rows('t', 6000);
SELECT same($$INSERT INTO t (num) VALUES ((SELECT sum(id) FROM t)) RETURNING num$$, NULL);
SELECT same_rows('t', 6000);

-- Sources that would run in parallel.
SET min_parallel_table_scan_size = 0;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SELECT same($$INSERT INTO t (id) SELECT count(*) FROM src$$);
SELECT same($$INSERT INTO t (id, num) SELECT grp, sum(id) FROM src GROUP BY grp$$);
SELECT same_rows('t', 6000);
RESET ALL;
SET client_min_messages = warning;
SELECT cmp_ok(rows_captured(), '>', 3000::bigint, 'they went through the write buffer');

SELECT * FROM finish();
