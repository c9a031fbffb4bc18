-- Pending rows that a condition on an indexed column leaves out without taking them apart: the same answers as by a plain table.
\ir ../tools/twins.psql
SELECT * FROM no_plan();
SET client_min_messages = warning;
SET TimeZone = 'UTC';

CREATE FUNCTION answers(wanted regclass, condition text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE result text;
BEGIN
  EXECUTE format('SELECT string_agg(t::text, '' '' ORDER BY t::text COLLATE "C") FROM %s AS t WHERE %s', wanted, condition) INTO result;
  RETURN coalesce(result, 'none');
END $$;
CREATE FUNCTION comparisons(column_name text, type text, vals text[]) RETURNS text[] LANGUAGE sql AS $$
  SELECT array_agg(CASE WHEN turned THEN format('%L::%s %s %I', v, type, op, column_name) ELSE format('%I %s %L::%s', column_name, op, v, type) END)
  FROM unnest(vals) AS v, unnest('{<,<=,=,>=,>}'::text[]) AS op, unnest('{t,f}'::bool[]) AS turned
$$;

-- Each type that has keys, alone in a table, and behind other columns.
CREATE TABLE shapes (type text, vals text[]);
INSERT INTO shapes VALUES
  ('bool', '{t,f}'),
  ('int2', '{-32768,-1,0,7,32767}'),
  ('int4', '{-2147483648,-1,0,7,2147483647}'),
  ('int8', '{-9223372036854775808,-2147483649,-1,0,7,9223372036854775807}'),
  ('oid', '{0,7,2147483648,4294967295}'),
  ('float8', '{-Infinity,-1.5,-0,0,1e-300,2,Infinity,NaN}'),
  ('date', '{-infinity,4713-01-01 BC,1999-12-31,2026-11-23,infinity}'),
  ('time', '{00:00,12:34:56.789012,24:00}'),
  ('timestamp', '{-infinity,1999-12-31 23:59:59.999999,2026-11-23,infinity}'),
  ('timestamptz', '{-infinity,1999-12-31 23:59:59.999999+00,2026-11-23 00:00+00,infinity}');

CREATE TABLE seen (title text, got text, wanted text, pending bigint);
CREATE PROCEDURE compare_all() LANGUAGE plpgsql AS $$
DECLARE
  shape record;
  before text;
  t text;
  rows text;
BEGIN
  FOR shape IN SELECT * FROM shapes LOOP
    FOREACH before IN ARRAY '{"","a int2, ","a bool, b int8, c int2, ","a text, ","gone int4, a int2, "}'::text[] LOOP
      FOREACH t IN ARRAY '{plain_t,pending_t}'::text[] LOOP
        EXECUTE format('DROP TABLE IF EXISTS %I', t);
        EXECUTE format('CREATE TABLE %I (%s v %s, z text)', t, before, shape.type);
        EXECUTE format('CREATE INDEX ON %I (v)', t);
        IF before LIKE 'gone%' THEN EXECUTE format('ALTER TABLE %I DROP COLUMN gone', t); END IF;
      END LOOP;
      PERFORM writecache.attach('pending_t', 'write_back', flush_interval => '1 day');
      COMMIT;
      rows := CASE WHEN before = 'a int2, ' OR before LIKE 'gone%' THEN '3::int2, ' WHEN before LIKE 'a bool%' THEN 'true, 4, 5::int2, '
                   WHEN before = '' THEN '' ELSE '''text'', ' END;
      FOREACH t IN ARRAY '{plain_t,pending_t}'::text[] LOOP
        EXECUTE format('INSERT INTO %I (v, z) SELECT v::%s, ''z'' || v FROM unnest($1) AS v', t, shape.type) USING shape.vals;
        EXECUTE format('INSERT INTO %I SELECT %s v::%s, ''all'' FROM unnest($1) AS v', t, rows, shape.type) USING shape.vals;
        EXECUTE format('INSERT INTO %I (z) VALUES (''null'')', t);
        COMMIT;
      END LOOP;
      INSERT INTO seen SELECT shape.type || ' behind "' || before || '"',
          string_agg(c || ': ' || answers('pending_t', c), E'\n' ORDER BY c), string_agg(c || ': ' || answers('plain_t', c), E'\n' ORDER BY c),
          (SELECT rows_pending FROM writecache.stat_write_back WHERE relation = 'pending_t'::regclass)
        FROM unnest(comparisons('v', shape.type, shape.vals)) AS c;
      COMMIT;
    END LOOP;
  END LOOP;
END $$;
CALL compare_all();
SELECT is(got, wanted, title) FROM seen;
SELECT is((SELECT count(*) FROM seen), 50::bigint, 'all of them');
SELECT is_empty('SELECT title FROM seen JOIN shapes ON title LIKE type || '' behind%'' WHERE pending <> 2 * cardinality(vals) + 1', 'all rows were pending');

-- Two conditions, values of other types, parameters, an empty range, NULL.
CREATE TABLE plain_m (a int2, b int8 NOT NULL, c float8);
CREATE INDEX ON plain_m (a, b);
CREATE INDEX ON plain_m (c);
CREATE TABLE pending_m (LIKE plain_m INCLUDING ALL);
SELECT writecache.attach('pending_m', 'write_back', flush_interval => '1 day');
INSERT INTO plain_m SELECT g % 7, g, g / 4.0 FROM generate_series(1, 500) AS g;
INSERT INTO pending_m SELECT * FROM plain_m;
SELECT is(answers('pending_m', c), answers('plain_m', c), c) FROM unnest(ARRAY[
  'a = 3 AND b = 66', 'a = 3 AND b = 67', 'a = 3::bigint AND b < 40::smallint', 'b BETWEEN 9 AND 11', 'b BETWEEN 11 AND 9', 'b > 9223372036854775806',
  'a = NULL', 'b = NULL::int', 'c = 4.25', 'c = 4', 'c = ''NaN''', 'c < 1 AND b > 2', 'a = b', 'b = (SELECT 9)', 'b = (SELECT max(id) FROM (VALUES (8), (9)) AS v(id))',
  'b = ANY (''{1,2}'')', 'b = 1 OR b = 2', 'NOT (b > 3)', '(b = 4) IS NOT FALSE', 'b = a + 7', 'b::numeric = 5', 'b = 5::numeric', 'a IN (SELECT 2) AND b < 20']) AS c;
SELECT results_eq('SELECT v.n, (SELECT sum(b) FROM pending_m WHERE b = v.n) FROM generate_series(0, 501) AS v(n) ORDER BY 1',
                  'SELECT v.n, (SELECT sum(b) FROM plain_m WHERE b = v.n) FROM generate_series(0, 501) AS v(n) ORDER BY 1', 'a parameter that changes');
PREPARE by_b(bigint) AS SELECT a, b, c FROM pending_m WHERE b = $1;
SET plan_cache_mode = force_generic_plan;
SELECT results_eq('EXECUTE by_b(77)', 'SELECT a, b, c FROM plain_m WHERE b = 77', 'a generic plan');
SELECT is_empty('EXECUTE by_b(NULL)', '... with NULL');

SELECT * FROM finish();
