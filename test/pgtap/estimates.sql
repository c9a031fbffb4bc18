-- What the planner expects of a query counts the rows that are pending, and is a plain table's when there are none.
\ir ../tools/twins.psql
SELECT * FROM no_plan();
SET client_min_messages = warning;

CREATE FUNCTION plan_of(query text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE plan jsonb;
BEGIN
  EXECUTE 'EXPLAIN (FORMAT JSON) ' || query INTO plan;
  RETURN plan #> '{0,Plan}';
END $$;
-- Whether so many rows are expected, give or take a half.
CREATE FUNCTION expects(query text, n float8) RETURNS text LANGUAGE sql AS $$
  SELECT ok((plan ->> 'Plan Rows')::float8 BETWEEN n / 2 AND n * 2, query || ': about ' || n || ', not ' || (plan ->> 'Plan Rows')) FROM plan_of(query) AS plan
$$;

SELECT make_twins($$
  CREATE TABLE t (id int PRIMARY KEY, a int);
  CREATE INDEX ON t (a);
  CREATE TABLE u (id int PRIMARY KEY, a int);
  CREATE TABLE p (id int, a int) PARTITION BY RANGE (id);
  CREATE TABLE p_1 PARTITION OF p FOR VALUES FROM (0) TO (2000);
  CREATE TABLE p_2 PARTITION OF p DEFAULT;
  CREATE TABLE q (id int, a int) PARTITION BY RANGE (id);
  CREATE TABLE q_1 PARTITION OF q FOR VALUES FROM (0) TO (2000);
  CREATE TABLE q_2 PARTITION OF q DEFAULT;
$$, '{t,u,p,q_1,q_2}', $$flush_interval => '1 day'$$);
SET search_path = captured, public;
INSERT INTO t SELECT g, g % 1000 FROM generate_series(1, 500) AS g;
SELECT writecache.flush();
ANALYZE t, u, p, q;
INSERT INTO t SELECT g, g % 1000 FROM generate_series(501, 4000) AS g;
INSERT INTO u SELECT g, g % 1000 FROM generate_series(1, 4000) AS g;
INSERT INTO p SELECT g, g % 1000 FROM generate_series(1, 4000) AS g;
INSERT INTO q_1 SELECT g, g % 1000 FROM generate_series(1, 1999) AS g;
INSERT INTO q_2 SELECT g, g % 1000 FROM generate_series(2000, 4000) AS g;
SELECT is((SELECT sum(rows_pending) FROM writecache.stat_write_back)::int, 15500, 'pending');
SELECT expects('SELECT * FROM t', 4000);
SELECT expects('SELECT * FROM t JOIN u USING (id)', 4000);
SELECT expects('SELECT * FROM t x JOIN t y ON x.id = y.id JOIN u ON u.id = x.id', 4000);
SELECT expects('SELECT * FROM p', 4000);
SELECT expects('SELECT * FROM q', 4000);
SELECT expects('SELECT * FROM (SELECT id FROM t UNION ALL SELECT id FROM u) AS s', 8000);
SELECT ok((plan_of(query) ->> 'Node Type') <> 'Nested Loop', query) FROM unnest(ARRAY[
  'SELECT * FROM t JOIN u USING (id)', 'SELECT * FROM t JOIN p USING (id)', 'SELECT * FROM p JOIN q USING (id)',
  'SELECT * FROM u JOIN (SELECT id FROM t UNION ALL SELECT id FROM u) AS s USING (id)']) AS query;
SELECT ok((plan_of('SELECT * FROM t WHERE id = 5') ->> 'Plan Rows')::float8 < 50, 'few of them have one key');
SELECT is((SELECT count(*) FROM t JOIN u USING (id)), 4000::bigint, 'and the rows are right');
-- Groups.
SELECT expects('SELECT id, count(*) FROM u GROUP BY id', 4000);

-- Nothing pending: the numbers of a plain table. A plan that is kept reads the buffer, and a node of no rows counts as one.
SELECT writecache.flush();
SET search_path = plain, public;
INSERT INTO t SELECT * FROM captured.t;
INSERT INTO u SELECT * FROM captured.u;
VACUUM ANALYZE t, u;
VACUUM ANALYZE captured.t, captured.u;
SET search_path = captured, public;
CREATE FUNCTION rows_in(place text, query text) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('search_path', place || ', public', true);
  RETURN (plan_of(query) ->> 'Plan Rows')::int;
END $$;
SELECT ok(rows_in('captured', query) - rows_in('plain', query) BETWEEN 0 AND 1, query) FROM unnest(ARRAY[
  'SELECT * FROM t', 'SELECT * FROM t WHERE a = 5', 'SELECT * FROM t JOIN u USING (a)', 'SELECT a, count(*) FROM t GROUP BY a']) AS query;

SELECT * FROM finish();
