-- Statements that cannot be captured do what they do on a plain table; so do those after and between them.
\ir ../tools/twins.psql
SELECT * FROM no_plan();

SELECT make_twins($$
  CREATE TABLE t (id int PRIMARY KEY, v text, n int DEFAULT 0);
  CREATE TABLE log (id int, what text);
  CREATE TABLE twice (a int);
$$, '{t,log,twice}');
-- ON CONFLICT, every form.
SELECT same($$INSERT INTO t VALUES (1, 'one')$$);
SELECT same_rows();
SELECT same($$INSERT INTO t VALUES (1, 'again'), (2, 'two') ON CONFLICT DO NOTHING RETURNING *$$, 'plain');
SELECT same($$INSERT INTO t VALUES (1, 'again'), (3, 'three') ON CONFLICT (id) DO UPDATE SET v = excluded.v || '!', n = t.n + 1 RETURNING *$$, 'plain');
SELECT same($$INSERT INTO t VALUES (1, 'x') ON CONFLICT ON CONSTRAINT t_pkey DO UPDATE SET n = 9 WHERE t.n > 100$$, 'plain');
SELECT same_error($$INSERT INTO t VALUES (9, 'x'), (9, 'y') ON CONFLICT (id) DO UPDATE SET v = excluded.v$$, '21000');
SELECT same_error($$INSERT INTO t VALUES (9) ON CONFLICT (v) DO NOTHING$$, '42P10');
SELECT same_rows('t', 3);
-- Data-modifying CTEs, with the table in them or around them.
SELECT same($$WITH i AS (INSERT INTO t VALUES (10, 'in a CTE') RETURNING *) INSERT INTO log SELECT id, v FROM i RETURNING *$$, 'plain');
SELECT same($$WITH i AS (INSERT INTO t VALUES (11, 'not read')) SELECT 1$$, 'plain');
SELECT same($$WITH u AS (UPDATE t SET n = n + 1 WHERE id = 1 RETURNING id, n) INSERT INTO log SELECT id, 'n is ' || n FROM u RETURNING *$$, 'plain');
SELECT same($$WITH d AS (DELETE FROM t WHERE id = 11 RETURNING *) SELECT * FROM d$$, NULL);
SELECT same($$WITH a AS (INSERT INTO twice VALUES (1) RETURNING a), b AS (INSERT INTO twice SELECT a + 1 FROM a RETURNING a) INSERT INTO twice SELECT a + 1 FROM b RETURNING a$$, 'plain');
SELECT same_rows('t', 4);
SELECT same_rows('log', 2);
SELECT same_rows('twice', 3);
-- Other commands.
SELECT same($$UPDATE t SET v = upper(v) WHERE id < 3 RETURNING *$$, NULL);
SELECT same($$DELETE FROM t WHERE id = 3$$, NULL);
SELECT same($$MERGE INTO t USING (VALUES (1, 'm'), (40, 'm')) s (id, v) ON t.id = s.id WHEN MATCHED THEN UPDATE SET v = s.v WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.v)$$, NULL);
SELECT same($$SELECT * FROM t ORDER BY id FOR UPDATE$$, NULL);
SELECT same_rows('t', 4);
SELECT same($$CREATE TABLE t2 AS TABLE t$$, NULL);
SELECT same($$SELECT count(*) FROM t2$$, NULL);

-- The session's switches.
SET writecache.capture = off;
SELECT same($$INSERT INTO log VALUES (50, 'capture off') RETURNING *$$, 'aside');
SELECT is((SELECT count(*) FROM captured.log WHERE id = 50), 1::bigint, 'stored at once');
RESET writecache.capture;
SET writecache.bulk_bypass = 0;
SELECT same($$INSERT INTO log VALUES (51, 'bulk_bypass 0') RETURNING *$$, 'aside');
SELECT is((SELECT count(*) FROM captured.log WHERE id = 51), 1::bigint, 'stored at once');
RESET writecache.bulk_bypass;
SET default_transaction_isolation = 'serializable';
SELECT same($$INSERT INTO log VALUES (52, 'serializable') RETURNING *$$, 'aside');
SELECT is((SELECT count(*) FROM captured.log WHERE id = 52), 1::bigint, 'stored at once');
SET default_transaction_isolation = 'repeatable read';
SELECT same($$INSERT INTO log VALUES (53, 'repeatable read') RETURNING *$$);
RESET default_transaction_isolation;
SELECT same($$INSERT INTO log VALUES (54, 'and captured again') RETURNING *$$);
SET default_transaction_read_only = on;
SELECT throws_ok($$INSERT INTO captured.log VALUES (60)$$, '25006', 'cannot execute INSERT in a read-only transaction');
SELECT throws_ok($$SELECT writecache.insert(ROW(60, 'x')::captured.log)$$, '25006', 'cannot execute INSERT in a read-only transaction');
SELECT throws_ok($$SELECT writecache.insert('captured.log', '{}')$$, '25006', 'cannot execute INSERT in a read-only transaction');
SELECT throws_ok($$COPY captured.log FROM PROGRAM 'echo 60'$$, '25006', 'cannot execute COPY FROM in a read-only transaction');
SET default_transaction_read_only = off;
SELECT same_rows('log', 7);

SELECT * FROM finish();
