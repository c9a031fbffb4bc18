-- writecache.insert(row) and insert(array of rows) insert what an INSERT of the same row inserts, or nothing.
\ir ../tools/twins.psql
SELECT * FROM no_plan();

SELECT make_twins($$
  CREATE DOMAIN small AS int CHECK (VALUE < 1000);
  CREATE TABLE t (gone int, id int NOT NULL, name text DEFAULT 'not used for a row', n small, CHECK (id < 500));
  ALTER TABLE t DROP gone;
  CREATE TABLE other (id int);
  CREATE TYPE plain_type AS (a int);
$$);
SET search_path = captured, public;
CREATE DOMAIN checked_row AS t CHECK ((VALUE).id > 0);
SELECT is(writecache.insert(ROW(1, 'one', 10)::t), 1::bigint, 'a row');
SELECT is(writecache.insert(ROW(2, NULL, NULL)::t), 1::bigint, 'NULLs in it are NULLs, no defaults');
SELECT is(writecache.insert(ARRAY[ROW(3, 'a', 1), ROW(4, 'b', 2)]::t[]), 2::bigint, 'an array');
SELECT is(writecache.insert('{}'::t[]), 0::bigint, 'an empty array');
SELECT is(writecache.insert(ARRAY[[ROW(5, 'a', 1), ROW(6, 'b', 2)], [ROW(7, 'c', 3), ROW(8, 'd', 4)]]::t[]), 4::bigint, 'an array of two dimensions');
SELECT is(writecache.insert(ROW(9, 'domain', 1)::checked_row), 1::bigint, 'a domain over the row type');
SELECT is(sum(writecache.insert(ROW(x, 'x', x)::t)), 20::numeric, 'once for each row of a query') FROM generate_series(10, 29) x;
SELECT is((SELECT writecache.insert(array_agg(ROW(x, repeat('y', x), x)::t)) FROM generate_series(100, 299) x), 200::bigint, 'a large array');
SELECT is(writecache.insert(x), 1::bigint, 'a row variable') FROM (SELECT (ROW(30, 'sub', 1)::t).*) y, LATERAL (SELECT ROW(y.*)::t) z (x);
DO $$ DECLARE r t; a t[]; BEGIN
  r.id := 31; r.name := 'plpgsql';
  PERFORM writecache.insert(r);
  a := ARRAY[r, r];
  PERFORM writecache.insert(a);
END $$;

SELECT throws_ok('SELECT writecache.insert(NULL::t)', '22004', 'the row must not be null');
SELECT throws_ok('SELECT writecache.insert(NULL::t[])', '22004', 'the row must not be null');
SELECT throws_ok('SELECT writecache.insert(ARRAY[ROW(40, NULL, NULL)::t, NULL])', '22004', 'an element of the array must not be null');
SELECT throws_ok('SELECT writecache.insert(NULL)', NULL, NULL, 'a NULL of no type');
SELECT throws_ok('SELECT writecache.insert(1)', '42804', 'type integer is not the row type of an attached table');
SELECT throws_ok('SELECT writecache.insert(''{1,2}''::int[])', '42804', 'type integer is not the row type of an attached table');
SELECT throws_ok('SELECT writecache.insert(''text''::text)', '42804', 'type text is not the row type of an attached table');
SELECT throws_ok('SELECT writecache.insert(ROW(1, 2))', '42804', 'type record is not the row type of an attached table');
SELECT throws_ok('SELECT writecache.insert(ARRAY[ROW(1, 2)])', '42804', 'type record is not the row type of an attached table');
SELECT throws_ok('SELECT writecache.insert(ROW(1)::plain_type)', '42804', 'type plain_type is not the row type of an attached table');
SELECT throws_ok('SELECT writecache.insert(ROW(1)::other)', '42804', 'type other is not the row type of an attached table');
SELECT throws_ok('SELECT writecache.insert(ROW(1, ''x'', 1)::plain.t)', '42804', 'type plain.t is not the row type of an attached table');
SELECT throws_ok('SELECT writecache.insert(ROW(1, ''x'', 1000)::t)', '23514', 'value for domain small violates check constraint "small_check"');
SELECT throws_ok('SELECT writecache.insert(ROW(NULL, ''x'', 1)::t)', '23502', 'null value in column "id" of relation "t" violates not-null constraint');
SELECT throws_ok('SELECT writecache.insert(ARRAY[ROW(41, ''good'', 1), ROW(500, ''bad'', 1)]::t[])', '23514', NULL, 'one bad row of an array, and none is inserted');
SELECT throws_ok('SELECT writecache.insert(ROW(-1, ''x'', 1)::checked_row)', '23514', 'value for domain checked_row violates check constraint "checked_row_check"');
SELECT writecache.flush() >= 0;
SELECT is((SELECT count(*) FROM t), 233::bigint, 'the rows are there, and no other');
SELECT is((SELECT count(*) FROM t WHERE name IS NULL), 1::bigint, 'the NULL is a NULL');
SELECT is(rows_captured(), 233::bigint, 'they went through the write buffer');

-- The table changes its shape; so do the statements made for it.
ALTER TABLE t DROP COLUMN n, ADD extra text DEFAULT 'e';
SELECT is(writecache.insert(ROW(50, 'fifty', 'x')::t), 1::bigint, 'after ALTER TABLE');
ALTER TABLE t RENAME TO renamed;
SELECT is(writecache.insert(ROW(51, 'renamed', 'x')::renamed), 1::bigint, 'after RENAME');
ALTER TABLE renamed RENAME name TO title;
SELECT is(writecache.insert(ROW(52, 'column renamed', 'x')::renamed), 1::bigint, 'after RENAME COLUMN');
SELECT writecache.flush() >= 0;
SELECT is((SELECT string_agg(title, ',' ORDER BY id) FROM renamed WHERE id BETWEEN 50 AND 52), 'fifty,renamed,column renamed', 'they are there');
SELECT writecache.detach('renamed');
SELECT throws_ok('SELECT writecache.insert(ROW(53, ''x'', ''x'')::renamed)', '42804', 'type renamed is not the row type of an attached table', 'after detach');

-- Columns that the table computes itself are not taken from the row: identity always, generated.
CREATE TABLE computed (id int GENERATED ALWAYS AS IDENTITY, a int, twice int GENERATED ALWAYS AS (a * 2) STORED, d int GENERATED BY DEFAULT AS IDENTITY);
SELECT writecache.attach('computed', 'write_back');
SELECT is(writecache.insert(ROW(77, 5, 99, 7)::computed), 1::bigint, 'a row with identity and generated columns');
CREATE TABLE all_computed (id int GENERATED ALWAYS AS IDENTITY);
CREATE TABLE no_columns ();
SELECT writecache.attach('all_computed', 'write_back'), writecache.attach('no_columns', 'write_back');
SELECT is(writecache.insert(ROW(1)::all_computed), 1::bigint, 'a row of nothing but computed columns');
SELECT is(writecache.insert(ARRAY[ROW(1), ROW(1)]::all_computed[]), 2::bigint, 'an array of them');
SELECT is(writecache.insert(x), 1::bigint, 'a row without columns') FROM (SELECT NULL::int) n, LATERAL (SELECT ROW()::no_columns) y (x);
SELECT writecache.flush() >= 0;
SELECT results_eq('SELECT * FROM computed', $$VALUES (1, 5, 10, 7)$$);
SELECT results_eq('SELECT * FROM all_computed ORDER BY 1', $$VALUES (1), (2), (3)$$);
SELECT is((SELECT count(*) FROM no_columns), 1::bigint, 'it is there');
-- A rolled back call leaves nothing.
BEGIN;
SELECT writecache.insert(ROW(77, 6, 99, 7)::computed);
ROLLBACK;
SELECT writecache.flush() >= 0;
SELECT is((SELECT count(*) FROM computed), 1::bigint, 'rolled back');
SET search_path = public;

SELECT * FROM finish();
