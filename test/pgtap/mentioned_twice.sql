-- A statement that mentions a table twice: in one place it reads what is pending by merging, in another it cannot, and all pending rows count in both.
\ir ../tools/twins.psql
SELECT * FROM no_plan();

SELECT make_twins($$
  CREATE TABLE t (id int, a int);
  CREATE TABLE part (id int, a int) PARTITION BY RANGE (id);
  CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (50);
  CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM (50) TO (100);
  CREATE TABLE other (id int, a int);
$$, '{t,part,other}', $$flush_interval => '1 day'$$);

CREATE FUNCTION rows_for(name text, first int) RETURNS SETOF text LANGUAGE sql AS $$
  SELECT same(format('INSERT INTO %s SELECT x, x %% 3 FROM generate_series(%s, %s) x', name, first, first + 9)) $$;

SELECT rows_for('t', 1);
SELECT same($$UPDATE t SET a = n FROM (SELECT count(*) AS n FROM t) s RETURNING id, t.a$$, NULL);
SELECT rows_for('t', 11);
SELECT same($$DELETE FROM t WHERE id IN (SELECT max(id) FROM t) RETURNING *$$, NULL);
SELECT rows_for('t', 21);
SELECT same($$SELECT (SELECT count(*) FROM t TABLESAMPLE SYSTEM (100)), (SELECT count(*) FROM t)$$, NULL);
SELECT rows_for('t', 31);
SELECT same($$SELECT count(*) FROM t q JOIN (SELECT max(id) AS id FROM t) p USING (id) WHERE q.xmin IS NOT NULL$$, NULL);
SELECT rows_for('t', 41);
SELECT same($$MERGE INTO t USING (SELECT max(id) AS id FROM t) s ON t.id = s.id WHEN MATCHED THEN DELETE$$, NULL);
SELECT same_rows('t', 48);

SELECT rows_for('other', 1);
SELECT rows_for('t', 51);
SELECT same($$UPDATE t SET a = -1 FROM other o WHERE o.id + 50 = t.id AND o.a < (SELECT max(a) FROM other) RETURNING t.id$$, NULL);

SELECT rows_for('part', 1);
SELECT rows_for('part', 61);
SELECT same($$UPDATE part SET a = n FROM (SELECT count(*) AS n FROM part) s RETURNING id, part.a$$, NULL);
SELECT rows_for('part', 21);
SELECT same($$DELETE FROM part_1 WHERE id IN (SELECT max(id) - 1 FROM part_1 UNION ALL SELECT max(id) FROM part WHERE id < 50) RETURNING *$$, NULL);
SELECT rows_for('part', 31);
SELECT same($$SELECT (SELECT count(*) FROM part_1 TABLESAMPLE SYSTEM (100)), (SELECT count(*) FROM part)$$, NULL);
SELECT same_rows('part', 38);

SELECT * FROM finish();
