-- Rejected rows name the role that staged each of them; the messages of failed flushes are not for everybody; a plan of
-- writecache.insert() outlives what it runs.
\ir ../tools/twins.psql
SELECT * FROM no_plan();
SET client_min_messages = warning;
CREATE ROLE wsi_owner;
CREATE ROLE wsi_writer;
CREATE ROLE wsi_monitor IN ROLE pg_read_all_stats;
GRANT CREATE, USAGE ON SCHEMA public TO wsi_owner;

CREATE TABLE t (id int PRIMARY KEY, v text);
GRANT INSERT, SELECT ON t TO wsi_writer;
SELECT writecache.attach('t', 'write_back', flush_interval => '1 day');
INSERT INTO t SELECT generate_series(1, 10000);
SELECT writecache.flush('t') >= 0;
BEGIN;
SET ROLE wsi_writer;
INSERT INTO t VALUES (1);
RESET ROLE;
INSERT INTO t VALUES (2), (10001);
SAVEPOINT s;
SET ROLE wsi_writer;
INSERT INTO t VALUES (3);
ROLLBACK TO s;
SET ROLE wsi_writer;
INSERT INTO t VALUES (4), (10002);
SAVEPOINT s;
RESET ROLE;
INSERT INTO t VALUES (5);
RELEASE s;
COMMIT;
SELECT writecache.flush('t');
SELECT results_eq($$SELECT ("row"->>'id')::int, staged_by = 'wsi_writer'::regrole FROM writecache.rejected ORDER BY 1$$,
  'VALUES (1, true), (2, false), (4, true), (5, false)', 'each row has its role');
SELECT results_eq('SELECT id FROM t WHERE id > 10000 ORDER BY id', 'VALUES (10001), (10002)', 'and what fits is in');
SELECT writecache.discard_rejected('t');
-- Of many blocks, by both roles.
CREATE FUNCTION stage_some(first int) RETURNS void LANGUAGE sql SECURITY DEFINER AS
  $$INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(first, first + 999) i$$;
ALTER FUNCTION stage_some(int) OWNER TO wsi_writer;
BEGIN;
INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, 1000) i;
SELECT stage_some(1001);
INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(2001, 3000) i;
SELECT stage_some(3001);
INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(20001, 21000) i;
COMMIT;
SELECT writecache.flush('t');
SELECT results_eq($$SELECT staged_by = 'wsi_writer'::regrole, count(*), min(("row"->>'id')::int), max(("row"->>'id')::int) FROM writecache.rejected GROUP BY 1 ORDER BY 1$$,
  'VALUES (false, 2000::bigint, 1, 3000), (true, 2000::bigint, 1001, 4000)', 'many rows as well');
SELECT is((SELECT count(*) FROM t WHERE id > 20000), 1000::bigint, 'and what fits is in');
SELECT is((SELECT rows_captured FROM writecache.stat_write_back WHERE relation = 't'::regclass), 15006::bigint, 'all of them were in the buffer');

-- A message may hold values.
SET ROLE wsi_owner;
CREATE TABLE secret (v text);
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION USING ERRCODE = '42P01', MESSAGE = new.v; END $$;
CREATE TRIGGER tell BEFORE INSERT ON secret FOR EACH ROW EXECUTE FUNCTION tell();
SELECT writecache.attach('secret', 'write_back', flush_interval => '1 day', allow_triggers => true);
INSERT INTO secret VALUES ('the secret');
SELECT isnt(error_of($$SELECT writecache.flush('secret')$$), NULL, 'a flush fails');
SELECT is((SELECT last_error FROM writecache.stat_write_back WHERE relation = 'secret'::regclass), '42P01: the secret', 'its owner sees why');
SET ROLE wsi_writer;
SELECT results_eq($$SELECT last_error, last_error_at IS NOT NULL FROM writecache.stat_write_back WHERE relation = 'secret'::regclass$$, 'VALUES (NULL::text, true)', 'others see that it does');
SELECT is((SELECT count(*) FROM writecache.buffer_queues() WHERE last_error IS NOT NULL), 0::bigint, 'by the function, too');
SET ROLE wsi_monitor;
SELECT is((SELECT last_error FROM writecache.stat_write_back WHERE relation = 'secret'::regclass), '42P01: the secret', 'who watches the server sees it');
RESET ROLE;
DROP TABLE secret;

-- A CHECK that invalidates the plan that runs it, and inserts itself by the same function.
CREATE TABLE again (id int);
SELECT writecache.attach('again', 'write_back', flush_interval => '1 day');
CREATE FUNCTION inserts_more(i int) RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
  IF i > 0 AND i % 100 = 0 THEN
    GRANT SELECT ON again TO PUBLIC;
    PERFORM writecache.insert(ARRAY[ROW(-i)::again, ROW(-i - 1)::again]);
    REVOKE SELECT ON again FROM PUBLIC;
    PERFORM writecache.insert(ARRAY[ROW(-i - 2)::again]);
  END IF;
  RETURN true;
END $$;
ALTER TABLE again ADD CHECK (inserts_more(id));
SELECT is(writecache.insert((SELECT array_agg(ROW(i)::again) FROM generate_series(1, 300) i)), 300::bigint, 'inserted');
SELECT is(writecache.insert((SELECT array_agg(ROW(i)::again) FROM generate_series(1, 300) i)), 300::bigint, 'inserted');
SELECT results_eq('SELECT id > 0, count(*), count(DISTINCT id) FROM again GROUP BY 1 ORDER BY 1', 'VALUES (false, 18::bigint, 9::bigint), (true, 600::bigint, 300::bigint)', 'all of it');

-- A table of the extension that cannot be found is no reason to throw rows away.
CREATE TABLE kept (id int);
SELECT writecache.attach('kept', 'write_back', flush_interval => '1 day');
INSERT INTO kept VALUES (1);
ALTER TABLE writecache.attached RENAME TO hidden;
SELECT matches(error_of('SELECT writecache.flush()'), 'writecache.attached is missing', 'a flush fails');
ALTER TABLE writecache.hidden RENAME TO attached;
SELECT writecache.alter(relation) FROM writecache.attached;
SELECT writecache.flush('kept') >= 0;
SELECT is((SELECT count(*) FROM kept), 1::bigint, 'the row is there');

-- An attach() that is rolled back leaves no queue behind.
CREATE TABLE queues AS SELECT count(*) AS n FROM writecache.buffer_queues();
DO $$
BEGIN
  FOR i IN 1..10 LOOP
    BEGIN
      CREATE TABLE rolled_back (id int);
      PERFORM writecache.attach('rolled_back', 'write_back', flush_interval => '1 day');
      INSERT INTO rolled_back VALUES (1);
      RAISE EXCEPTION 'back';
    EXCEPTION WHEN raise_exception THEN NULL;
    END;
  END LOOP;
END $$;
BEGIN;
CREATE TABLE rolled_back (id int);
SELECT writecache.attach('rolled_back', 'write_back', flush_interval => '1 day');
INSERT INTO rolled_back VALUES (1);
ROLLBACK;
CREATE TABLE prepared (id int);
BEGIN;
SELECT writecache.attach('prepared', 'write_back', flush_interval => '1 day');
INSERT INTO prepared VALUES (1);
PREPARE TRANSACTION 'who_staged_it';
ROLLBACK PREPARED 'who_staged_it';
SELECT is((SELECT count(*) FROM writecache.buffer_queues()), (SELECT n FROM queues), 'no queue more');
CREATE TABLE released (id int);
BEGIN;
SAVEPOINT s;
SELECT writecache.attach('released', 'write_back', flush_interval => '1 day');
INSERT INTO released VALUES (1);
ROLLBACK TO s;
SELECT writecache.attach('released', 'write_back', flush_interval => '1 day');
INSERT INTO released VALUES (2);
RELEASE s;
COMMIT;
SELECT is((SELECT rows_pending FROM writecache.stat_write_back WHERE relation = 'released'::regclass), 1::bigint, 'one that is released is kept');
SELECT writecache.flush();
SELECT results_eq('SELECT id FROM released', 'VALUES (2)', 'with its row');

DROP TABLE t;
DROP OWNED BY wsi_owner, wsi_writer;
DROP FUNCTION IF EXISTS stage_some;
DROP ROLE wsi_owner, wsi_writer, wsi_monitor;
SELECT * FROM finish();
