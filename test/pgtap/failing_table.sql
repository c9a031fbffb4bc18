-- A table that cannot be stored says so, is resumed by alter, and leaves nothing of it to the next table.
SELECT * FROM no_plan();
SET client_min_messages = warning;
CREATE TABLE helper (i int);
CREATE FUNCTION twice(v int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
  'BEGIN PERFORM 1 FROM public.helper; RETURN 2 * v; END';
CREATE TABLE t (v int);
CREATE INDEX ON t (twice(v));
SELECT writecache.attach('t', 'write_back', flush_interval => '1 day');
DROP TABLE helper;
INSERT INTO t VALUES (1);
SELECT throws_ok($$SELECT writecache.flush('t')$$, '55000', 'could not store the buffered rows of table "t"',
  'flush says that a table cannot be stored');
SELECT is((SELECT state FROM writecache.tables WHERE relation = 't'::regclass), 'paused', 'it is paused');
SELECT matches((SELECT last_error FROM writecache.stat_write_back WHERE relation = 't'::regclass), '^42P01: ', '... and why');
SELECT throws_ok($$TRUNCATE t$$, '42P01', NULL, 'a command that has to store its rows fails with the same error');
CREATE TABLE helper (i int);
SELECT writecache.alter('t');
SELECT lives_ok($$SELECT writecache.flush('t')$$, 'alter resumes it');
SELECT is((SELECT count(*) FROM t), 1::bigint, 'the row was kept');

DROP TABLE helper;
INSERT INTO t VALUES (2);
DO $$ BEGIN PERFORM writecache.flush('t'); EXCEPTION WHEN object_not_in_prerequisite_state THEN NULL; END $$;
DROP TABLE t;
CREATE TABLE u (v int);
SELECT writecache.attach('u', 'write_back', flush_interval => '1 day');
INSERT INTO u VALUES (3);
SELECT lives_ok($$SELECT writecache.flush('u')$$, 'the next table in its place is not blamed for it');
SELECT is((SELECT count(*) FROM u), 1::bigint, '... and its row is stored');

-- Rows that cannot be stored are moved out of the way.
CREATE TABLE helper (i int);
CREATE TABLE w (v int);
CREATE INDEX w_twice ON w (twice(v));
SELECT writecache.attach('w', 'write_back', flush_interval => '1 day');
DROP TABLE helper;
INSERT INTO w SELECT generate_series(1, 3);
DO $$ BEGIN PERFORM writecache.flush('w'); EXCEPTION WHEN object_not_in_prerequisite_state THEN NULL; END $$;
BEGIN;
SELECT is(writecache.reject_pending('w'), 3::bigint, 'pending rows are rejected');
SELECT is((SELECT count(*) FROM w), 0::bigint, '... and read no more');
ROLLBACK;
SELECT is((SELECT count(*) FROM w), 3::bigint, 'a rollback takes that back');
SELECT is((SELECT count(*) FROM writecache.rejected), 0::bigint, '... all of it');
SELECT is((SELECT state FROM writecache.tables WHERE relation = 'w'::regclass), 'paused', '... the table is paused still');
SELECT is(writecache.reject_pending('w'), 3::bigint, 'again');
SELECT is(writecache.reject_pending('w'), 0::bigint, 'no row is left');
SELECT is((SELECT state FROM writecache.tables WHERE relation = 'w'::regclass), 'active', 'the table is active');
SELECT results_eq($$SELECT row->>'v', sqlstate, message, detail LIKE 'The last error of the table was: 42P01: %' FROM writecache.rejected ORDER BY id$$,
  $$VALUES ('1', '55000', 'row was given up by writecache.reject_pending()', true), ('2', '55000', 'row was given up by writecache.reject_pending()', true), ('3', '55000', 'row was given up by writecache.reject_pending()', true)$$, 'the rows say why');
SELECT is(writecache.flush(), 0::bigint, 'flush has nothing to do');
SELECT lives_ok('DROP INDEX w_twice', 'DDL finds no rows');
SELECT is(writecache.retry_rejected('w'), 3::bigint, 'the rows can be stored then');
SELECT is((SELECT sum(v) FROM w), 6::bigint, '... and are there');
SELECT throws_ok($$SELECT writecache.reject_pending('pg_class')$$, '55000', NULL, 'a table that is not attached');
SELECT throws_ok($$SELECT writecache.reject_pending(NULL)$$, '22004', NULL, 'no table');
SELECT * FROM finish();
