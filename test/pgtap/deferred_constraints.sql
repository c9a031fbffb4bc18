-- Deferred constraints are checked when rows are flushed, a batch at a time, and in a transaction of their own at its end.
\ir ../tools/twins.psql
SELECT * FROM no_plan();

SELECT make_twins($$
  CREATE TABLE tree (id int PRIMARY KEY, parent int REFERENCES tree DEFERRABLE INITIALLY DEFERRED);
$$, '{tree}', $$flush_interval => '1 day'$$);
SELECT same($$INSERT INTO tree VALUES (1, NULL), (2, 1), (3, 2)$$);
SELECT same($$INSERT INTO tree SELECT x, x - 1 FROM generate_series(4, 50) x ORDER BY -x$$);
SELECT same_rows('tree', 50);

-- A row that breaks one is rejected, its neighbours are stored.
INSERT INTO captured.tree VALUES (60, 50), (61, 999), (62, 61);
SELECT writecache.flush() >= 0;
SELECT results_eq('SELECT id FROM captured.tree WHERE id >= 60', 'VALUES (60)', 'good rows are stored');
SELECT results_eq($$SELECT row->>'id', sqlstate FROM writecache.rejected WHERE relation = 'captured.tree'::regclass ORDER BY 1$$, $$VALUES ('61', '23503'), ('62', '23503')$$);
SELECT make_twins($$CREATE TABLE u (id int UNIQUE DEFERRABLE INITIALLY DEFERRED, v text)$$, '{u}', $$flush_interval => '1 day'$$);
SELECT same($$INSERT INTO u VALUES (1, 'first'), (2, 'second')$$);
SELECT same_rows('u', 2);
INSERT INTO captured.u VALUES (1, 'again'), (3, 'third');
SELECT writecache.flush() >= 0;
SELECT results_eq('SELECT id FROM captured.u ORDER BY id', 'VALUES (1), (2), (3)', 'good rows are stored');
SELECT results_eq($$SELECT row->>'v', sqlstate, constraint_name FROM writecache.rejected WHERE relation = 'captured.u'::regclass$$, $$VALUES ('again', '23505', 'u_id_key')$$);

-- A transaction that sees its own rows has them in the table; the constraint waits for its end, as on a plain table.
BEGIN;
INSERT INTO captured.tree VALUES (71, 70);
SELECT is((SELECT count(*) FROM captured.tree WHERE id = 71), 1::bigint, 'seen, and not refused yet');
INSERT INTO captured.tree VALUES (70, NULL);
SELECT is((SELECT count(*) FROM captured.tree WHERE id IN (70, 71)), 2::bigint, 'both are seen');
COMMIT;
SELECT writecache.flush() >= 0;
SELECT is((SELECT count(*) FROM captured.tree WHERE id IN (70, 71)), 2::bigint, 'both are stored');

SELECT * FROM finish();
