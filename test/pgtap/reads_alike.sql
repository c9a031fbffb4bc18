-- Queries of every shape return what a plain table with the same rows returns, while some rows are stored, some pending and some the
-- session's own, whichever plan is chosen.
\ir ../tools/twins.psql
SELECT * FROM no_plan();

SELECT make_twins($$
  CREATE TABLE t (id int, a int, v text);
  CREATE UNIQUE INDEX ON t (id);
  CREATE INDEX ON t (a DESC NULLS FIRST, id);
  CREATE INDEX ON t (v);
  CREATE TABLE u (id int PRIMARY KEY, a int);
  CREATE TABLE parts (id int, a int) PARTITION BY RANGE (id);
  CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (60);
  CREATE TABLE parts_2 PARTITION OF parts DEFAULT;
  CREATE INDEX ON parts (id);
  CREATE TABLE whole (id int, a int) PARTITION BY RANGE (id);
  CREATE TABLE whole_1 PARTITION OF whole FOR VALUES FROM (0) TO (60);
  CREATE TABLE whole_2 PARTITION OF whole DEFAULT;
  CREATE TABLE base (id int, a int);
  CREATE TABLE child (extra text) INHERITS (base);
  CREATE VIEW all_of AS SELECT id, a FROM t WHERE a IS DISTINCT FROM 3;
  CREATE VIEW barrier WITH (security_barrier) AS SELECT id, a, v FROM t WHERE a < 5;
  CREATE FUNCTION sum_volatile() RETURNS bigint LANGUAGE plpgsql VOLATILE AS 'BEGIN RETURN (SELECT sum(id) FROM t); END';
  CREATE FUNCTION sum_stable() RETURNS bigint LANGUAGE plpgsql STABLE AS 'BEGIN RETURN (SELECT sum(id) FROM t); END';
  CREATE FUNCTION sum_immutable() RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN (SELECT sum(id) FROM t); END';
  CREATE FUNCTION rows_inlined(x int) RETURNS SETOF t LANGUAGE sql STABLE AS 'SELECT * FROM t WHERE t.id <= x';
  CREATE FUNCTION one_inlined(x int) RETURNS text LANGUAGE sql STABLE AS 'SELECT max(v) FROM t WHERE t.id = x';
$$, '{t,u,parts,whole_1,whole_2,base,child}', $$flush_interval => '1 day'$$);

CREATE SEQUENCE ids;
-- More rows of all tables, of both twins.
CREATE FUNCTION add(n int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  first bigint := nextval('ids');
  last bigint := setval('ids', first + n - 1);
  place text;
  name text;
BEGIN
  FOREACH place IN ARRAY '{plain,captured}'::text[] LOOP
    EXECUTE format('INSERT INTO %I.t SELECT x, nullif(x %% 11, 7), chr(97 + x %% 26) || x FROM generate_series(%s, %s) x', place, first, last);
    EXECUTE format('INSERT INTO %I.child SELECT x, x %% 5, ''e'' FROM generate_series(%s, %s) x', place, first, last);
    FOREACH name IN ARRAY '{u,parts,whole,base}'::text[] LOOP
      EXECUTE format('INSERT INTO %I.%I SELECT x, nullif(x %% 7, 5) FROM generate_series(%s, %s) x', place, name, first, last);
    END LOOP;
  END LOOP;
END $$;

-- The same answer with rows of one's own, by each of these plans.
CREATE FUNCTION alike(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
  off text;
  methods text[] := '{seqscan,indexscan,indexonlyscan,bitmapscan,hashjoin,mergejoin,nestloop,sort,hashagg,material}';
  plans text[] := '{"",seqscan,"seqscan,bitmapscan","seqscan,indexscan,indexonlyscan","hashjoin,mergejoin","hashjoin,nestloop","mergejoin,nestloop","hashagg,material,seqscan","sort,hashagg"}';
  plan text;
  expected jsonb;
  answer jsonb;
  wrong text := '';
BEGIN
  PERFORM add(1);
  FOREACH plan IN ARRAY plans LOOP
    FOREACH off IN ARRAY methods LOOP
      PERFORM set_config('enable_' || off, CASE WHEN off = ANY (string_to_array(plan, ',')) THEN 'off' ELSE 'on' END, true);
    END LOOP;
    expected := outcome('plain', query);
    answer := outcome('captured', query);
    IF answer IS DISTINCT FROM expected OR expected ? 'sqlstate' OR expected->'rows' = '[]' THEN
      wrong := wrong || format(E'\nwithout %s\n%s\n%s', plan, expected, answer);
    END IF;
  END LOOP;
  FOREACH off IN ARRAY methods LOOP
    PERFORM set_config('enable_' || off, 'on', true);
  END LOOP;
  PERFORM set_config('search_path', 'public', true);
  RETURN NEXT is(wrong, '', left(query, 150));
END $$;

SELECT add(40);
SELECT writecache.flush() >= 0;
SELECT add(40);
SELECT ok((SELECT count(*) FROM writecache.pending(NULL::captured.t)) = 40 AND (SELECT count(*) FROM ONLY captured.t) = 80, 'stored and pending');

-- CTE, subqueries, views.
SELECT alike('SELECT * FROM (WITH c AS MATERIALIZED (SELECT * FROM t) SELECT x.id, y.v FROM c x JOIN c y USING (id) ORDER BY 1) s');
SELECT alike('SELECT * FROM (WITH c AS NOT MATERIALIZED (SELECT * FROM t) SELECT x.id, y.v FROM c x JOIN c y USING (id) WHERE x.a = 2 ORDER BY 1) s');
SELECT alike('SELECT * FROM (WITH RECURSIVE r AS (SELECT min(id) AS id FROM t UNION ALL SELECT t.id FROM r JOIN t ON t.id = r.id + 1) SELECT count(*), sum(id) FROM r) s');
SELECT alike('SELECT id, (SELECT count(*) FROM t i WHERE i.a = o.a) FROM t o ORDER BY id');
SELECT alike('SELECT count(*), (SELECT max(v) FROM t) FROM (SELECT id FROM t OFFSET 0) s');
SELECT alike('SELECT * FROM all_of ORDER BY id');
SELECT alike('SELECT * FROM barrier WHERE id > 30 ORDER BY id');
SELECT alike('SELECT b.id FROM barrier b JOIN all_of USING (id, a) ORDER BY 1');

-- Joins, with the table on either side and on both; semi and anti joins; LATERAL.
SELECT alike('SELECT t.id, u.a FROM t JOIN u USING (id) ORDER BY 1');
SELECT alike('SELECT t.id, u.id FROM t LEFT JOIN u ON u.id = t.id + 5 ORDER BY 1');
SELECT alike('SELECT t.id, u.id FROM t RIGHT JOIN u ON u.id = t.id + 5 ORDER BY 2');
SELECT alike('SELECT t.id, u.id FROM t FULL JOIN u ON u.id = t.id + 5 ORDER BY 1, 2');
SELECT alike('SELECT x.id, count(y.id) FROM t x JOIN t y ON x.a = y.a AND x.id <> y.id GROUP BY 1 ORDER BY 1');
SELECT alike('SELECT g, t.id FROM generate_series(1, 100) g LEFT JOIN t ON t.id = g ORDER BY 1');
SELECT alike('SELECT count(*) FROM t, u WHERE t.id < u.id');
SELECT alike('SELECT id FROM t WHERE EXISTS (SELECT FROM u WHERE u.id = t.id AND u.a = 2) ORDER BY 1');
SELECT alike('SELECT id FROM t WHERE NOT EXISTS (SELECT FROM u WHERE u.id = t.id AND u.a = 2) ORDER BY 1');
SELECT alike('SELECT id FROM t WHERE id NOT IN (SELECT id FROM u WHERE a = 2) ORDER BY 1');
SELECT alike('SELECT id FROM t WHERE id IN (SELECT a * 12 FROM u) ORDER BY 1');
SELECT alike('SELECT u.id, l.id FROM u, LATERAL (SELECT t.id FROM t WHERE t.id >= u.id ORDER BY t.id LIMIT 2) l ORDER BY 1, 2');
SELECT alike('SELECT u.id, l.id FROM u LEFT JOIN LATERAL (SELECT max(id) AS id FROM t WHERE t.a = u.a) l ON true ORDER BY 1, 2');

-- Sets, window functions, aggregates.
SELECT alike('SELECT id FROM t UNION SELECT a FROM u ORDER BY 1 NULLS LAST');
SELECT alike('SELECT id FROM t UNION ALL SELECT a FROM u ORDER BY 1 NULLS LAST');
SELECT alike('SELECT a FROM t INTERSECT ALL SELECT a FROM u ORDER BY 1');
SELECT alike('SELECT id FROM t EXCEPT SELECT a FROM u ORDER BY 1');
SELECT alike('SELECT id, row_number() OVER w, lag(id) OVER w, sum(id) OVER (PARTITION BY a ORDER BY id) FROM t WINDOW w AS (ORDER BY a DESC NULLS FIRST, id) ORDER BY 1');
SELECT alike('SELECT a, id % 2, count(*), min(v), grouping(a, id % 2) FROM t GROUP BY GROUPING SETS ((a, id % 2), ROLLUP (a)) ORDER BY 5, 1, 2, 3');
SELECT alike('SELECT count(DISTINCT a), sum(id), string_agg(v, '','' ORDER BY v), min(id), max(id) FROM t');
SELECT alike('SELECT a, count(*) FILTER (WHERE id > 40) FROM t GROUP BY a HAVING count(*) > 2 ORDER BY 1');
SELECT alike('SELECT DISTINCT a FROM t ORDER BY 1');
SELECT alike('SELECT DISTINCT ON (a) a, id FROM t ORDER BY a DESC NULLS FIRST, id');

-- Order by index, in both directions; index-only and bitmap scans.
SELECT alike('SELECT id FROM t ORDER BY id LIMIT 50');
SELECT alike('SELECT id FROM t ORDER BY id DESC LIMIT 50 OFFSET 3');
SELECT alike('SELECT a, id FROM t ORDER BY a DESC NULLS FIRST, id LIMIT 60');
SELECT alike('SELECT a, id FROM t ORDER BY a NULLS LAST, id DESC LIMIT 60');
SELECT alike('SELECT a, id FROM t ORDER BY a NULLS FIRST, id LIMIT 60');
SELECT alike('SELECT v FROM t WHERE v > ''f'' ORDER BY v LIMIT 40');
SELECT alike('SELECT id FROM t WHERE id BETWEEN 35 AND 50 ORDER BY id');
SELECT alike('SELECT id FROM t WHERE id IN (1, 39, 41, 79, -1) ORDER BY id DESC');
SELECT alike('SELECT id FROM t WHERE a = 3 AND id > 20 OR v = ''a52'' OR a IS NULL ORDER BY id');
SELECT alike('SELECT count(*) FROM t WHERE a = 4 AND v < ''k'' AND id < 70');
SELECT alike('SELECT a, count(*) FROM t WHERE a IS NOT NULL GROUP BY a ORDER BY a LIMIT 5');
SELECT alike('SELECT count(*) FROM t TABLESAMPLE SYSTEM (100)');
SELECT alike('SELECT count(*), sum(id) FROM t TABLESAMPLE BERNOULLI (100) WHERE id > 10');

-- Partitions and inheritance.
SELECT add(40);
SELECT alike('SELECT * FROM parts ORDER BY id');
SELECT alike('SELECT count(*), sum(a) FROM parts_1');
SELECT alike('SELECT id FROM parts WHERE id BETWEEN 55 AND 65 ORDER BY id LIMIT 8');
SELECT alike('SELECT * FROM whole ORDER BY id DESC LIMIT 70');
SELECT alike('SELECT * FROM base ORDER BY id, a, tableoid::regclass::text LIKE ''%child''');
SELECT alike('SELECT count(*), sum(id) FROM ONLY base');
SELECT alike('SELECT extra, count(*) FROM child GROUP BY 1');
SET enable_partitionwise_join = on;
SET enable_partitionwise_aggregate = on;
SELECT alike('SELECT p.id, w.a FROM parts p JOIN whole w USING (id) ORDER BY 1');
SELECT alike('SELECT x.id, y.a FROM whole x JOIN whole y USING (id) ORDER BY 1');
SELECT alike('SELECT id, count(*) FROM whole GROUP BY id ORDER BY 1');
SELECT alike('SELECT id % 4, count(*) FROM parts GROUP BY 1 ORDER BY 1');
SELECT alike('SELECT tableoid::regclass::text ~ ''_1$'', count(*) FROM whole GROUP BY 1 ORDER BY 1');

-- Functions of each volatility; the immutable one may be folded when the plan is made, which is when it is run here.
SELECT alike('SELECT sum_volatile(), sum_stable(), sum_immutable()');
SELECT alike('SELECT id, a FROM rows_inlined(70) ORDER BY id');
SELECT alike('SELECT id, one_inlined(id) FROM t ORDER BY id');
SELECT alike('SELECT id FROM t WHERE sum_stable() = (SELECT sum(id) FROM t) ORDER BY id');
SELECT writecache.flush() >= 0;
SELECT alike('SELECT sum_volatile(), sum_stable(), sum_immutable()');

-- Locks of rows, and tables made from it.
SELECT add(3);
SELECT alike('SELECT id FROM t WHERE a = 3 ORDER BY id FOR UPDATE');
SELECT add(3);
SELECT alike('SELECT t.id FROM t JOIN u USING (id) WHERE t.a = 3 ORDER BY t.id FOR SHARE OF u');
SELECT add(3);
SELECT same('CREATE TABLE copied AS SELECT * FROM t', NULL);
SELECT same_rows('copied', 80);
SELECT add(3);
SELECT same('CREATE MATERIALIZED VIEW summed AS SELECT a, count(*) FROM t GROUP BY a', NULL);
SELECT same('CREATE UNIQUE INDEX ON summed (a)', NULL);
SELECT add(3);
SELECT same('REFRESH MATERIALIZED VIEW summed', NULL);
SELECT same_rows('summed', 5);
SELECT add(3);
SELECT same('REFRESH MATERIALIZED VIEW CONCURRENTLY summed', NULL);
SELECT same_rows('summed', 5);
SELECT add(3);
SELECT same('INSERT INTO t SELECT id + 1000, a, v FROM t', NULL);
SELECT same('INSERT INTO u SELECT id + 1000, a FROM u WHERE id IN (SELECT id FROM t)', NULL);
SELECT same_rows('t', 160);
SELECT same_rows('u', 160);

SELECT * FROM finish();
