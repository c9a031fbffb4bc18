-- New rows do not pile up behind a table whose flushes keep failing: they go to the table, until a flush succeeds.
SELECT plan(18);
SET client_min_messages = warning;
CREATE TABLE mood (error text);
INSERT INTO mood VALUES (NULL);
CREATE FUNCTION moody(v int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ DECLARE code text; BEGIN
  IF current_setting('application_name') = 'pg_writecache flush worker' OR v < 0 THEN
    SELECT error INTO code FROM public.mood;
    IF code IS NOT NULL THEN RAISE EXCEPTION 'in a mood' USING ERRCODE = code; END IF;
  END IF;
  RETURN v; END $$;
CREATE TABLE t (v int UNIQUE);
CREATE INDEX ON t (moody(v));
CREATE TABLE i (v int UNIQUE);
CREATE INDEX ON i (moody(v));
SELECT writecache.attach('t', 'write_back', flush_interval => '1 day');
SELECT writecache.attach('i', 'write_back', flush_interval => '1 day', on_conflict => 'ignore');
CREATE FUNCTION in_table(relation regclass) RETURNS bigint LANGUAGE plpgsql SET writecache.read_pending = off AS $$
DECLARE n bigint; BEGIN EXECUTE format('SELECT count(*) FROM %s', relation) INTO n; RETURN n; END $$;
CREATE FUNCTION passing(name regclass) RETURNS boolean LANGUAGE sql AS
  'SELECT passing_through FROM writecache.stat_write_back WHERE relation = name';
CREATE PROCEDURE fail_to_flush(relation regclass) LANGUAGE plpgsql AS $$ BEGIN
  PERFORM writecache.flush(relation);
EXCEPTION WHEN object_not_in_prerequisite_state THEN NULL; END $$;
CREATE PROCEDURE await_passing(relation regclass) LANGUAGE plpgsql AS $$ BEGIN
  WHILE NOT passing(relation) LOOP PERFORM pg_sleep(0.01); END LOOP; END $$;

-- An error that may pass.
INSERT INTO t VALUES (-1);
UPDATE mood SET error = '53100';
CALL fail_to_flush('t');
CALL await_passing('t');
SELECT cmp_ok((SELECT failures FROM writecache.stat_write_back WHERE relation = 't'::regclass), '>=', 5, 'flushes fail');
INSERT INTO t VALUES (1);
SELECT is(in_table('t'), 1::bigint, 'a new row is in the table');
COPY t FROM stdin;
2
3
\.
SELECT writecache.insert(ROW(4)::t);
SELECT is(in_table('t'), 4::bigint, 'by COPY and by function, too');
BEGIN;
INSERT INTO t VALUES (5);
SAVEPOINT s;
INSERT INTO t VALUES (6);
ROLLBACK TO s;
COMMIT;
SELECT is(in_table('t'), 5::bigint, 'and in a longer transaction');
SELECT is((SELECT rows_pending FROM writecache.stat_write_back WHERE relation = 't'::regclass), 1::bigint, 'the old one is pending');
SELECT results_eq('SELECT v FROM t ORDER BY v', 'VALUES (-1), (1), (2), (3), (4), (5)', 'queries see both');
SELECT throws_ok('INSERT INTO t VALUES (5)', '23505', NULL, 'constraints are checked at once');
SELECT throws_ok('INSERT INTO t VALUES (-2)', '53100', 'in a mood', 'the table''s own error is the writer''s');
SELECT results_eq('INSERT INTO t VALUES (7) RETURNING v', 'VALUES (7)', 'RETURNING');
UPDATE mood SET error = NULL;
SELECT writecache.alter('t');
SELECT lives_ok($$SELECT writecache.flush('t')$$, 'a flush succeeds');
SELECT is(passing('t'), false, 'that is the end of it');
INSERT INTO t VALUES (8);
SELECT is((SELECT rows_pending FROM writecache.stat_write_back WHERE relation = 't'::regclass), 1::bigint, 'rows are buffered again');
SELECT is((SELECT failures FROM writecache.stat_write_back WHERE relation = 't'::regclass), 0, 'none has failed since');

-- A table that waits to be mended; whose conflicts are ignored.
INSERT INTO i VALUES (-1);
UPDATE mood SET error = '42501';
CALL fail_to_flush('i');
SELECT is((SELECT state FROM writecache.tables WHERE relation = 'i'::regclass), 'paused', 'paused');
INSERT INTO i VALUES (1), (1);
INSERT INTO i VALUES (1);
SELECT is(in_table('i'), 1::bigint, 'new rows are in the table, those with its keys ignored as ever');

-- A flush that is cancelled, or finds locks, says nothing about the table.
UPDATE mood SET error = NULL;
SELECT writecache.alter('i');
SELECT writecache.flush('i');
INSERT INTO i VALUES (-3);
UPDATE mood SET error = '55P03';
CALL fail_to_flush('i');
DO $$ BEGIN WHILE (SELECT failures FROM writecache.stat_write_back WHERE relation = 'i'::regclass) < 6 LOOP PERFORM pg_sleep(0.01); END LOOP; END $$;
SELECT is(passing('i'), false, 'locks are no fault of the table');
INSERT INTO i VALUES (3);
SELECT is(in_table('i'), 2::bigint, 'rows are buffered');
UPDATE mood SET error = NULL;
SELECT writecache.alter('i');
SELECT writecache.flush('i');
SELECT is(in_table('i'), 4::bigint, 'and stored');
SELECT * FROM finish();
