-- A table that cannot be stored says so, is resumed by alter, and leaves nothing of it to the next table.
SELECT plan(8);
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
SELECT * FROM finish();
