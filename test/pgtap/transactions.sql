-- Rows reach their table when, and only when, their transaction commits: savepoints, exceptions, procedures, prepared
-- transactions, cursors; and a transaction sees its own rows by the usual rules.
\ir ../tools/twins.psql
SELECT * FROM no_plan();

CREATE TABLE t (id int, v text DEFAULT 'd');
CREATE TABLE u (id int);
SELECT writecache.attach('t', 'write_back', flush_interval => '1 day'), writecache.attach('u', 'write_back', flush_interval => '1 day');
CREATE FUNCTION captured(name text DEFAULT 't') RETURNS bigint LANGUAGE sql AS 'SELECT rows_captured FROM writecache.stat_write_back WHERE relation = name::regclass';
-- What is stored after a flush, and then none of it.
CREATE FUNCTION stored(name text DEFAULT 't') RETURNS text LANGUAGE plpgsql AS $$
DECLARE r text;
BEGIN
  PERFORM writecache.flush();
  EXECUTE format('SELECT string_agg(id::text, '' '' ORDER BY id) FROM %I', name) INTO r;
  EXECUTE format('DELETE FROM %I', name);
  RETURN r;
END $$;

-- COMMIT and ROLLBACK.
BEGIN; INSERT INTO t VALUES (1); COMMIT;
BEGIN; INSERT INTO t VALUES (2); ROLLBACK;
BEGIN; INSERT INTO t VALUES (3); INSERT INTO u VALUES (3); COMMIT AND CHAIN; INSERT INTO t VALUES (4); ROLLBACK AND CHAIN; INSERT INTO t VALUES (5); COMMIT;
INSERT INTO t VALUES (6)\; INSERT INTO t VALUES (7);
SELECT is(stored(), '1 3 5 6 7', 'what was committed');
SELECT is(stored('u'), '3', 'in both tables');
SELECT is(captured(), 5::bigint, 'rows that were rolled back never reached the write buffer');
\set ON_ERROR_STOP off
INSERT INTO t VALUES (1)\; SELECT 1/0\; INSERT INTO t VALUES (2);
BEGIN; INSERT INTO t VALUES (3); SELECT 1/0; INSERT INTO t VALUES (4); COMMIT;
\set ON_ERROR_STOP on
SELECT is(stored(), NULL, 'an error takes all of its transaction along');

-- Savepoints, nested, released, rolled back to more than once.
BEGIN;
INSERT INTO t VALUES (1);
SAVEPOINT a;
INSERT INTO t VALUES (2);
SAVEPOINT b;
INSERT INTO t VALUES (3);
ROLLBACK TO b;
INSERT INTO t VALUES (4);
ROLLBACK TO b;
INSERT INTO t VALUES (5);
RELEASE b;
SAVEPOINT c;
INSERT INTO t VALUES (6);
RELEASE a;
SAVEPOINT d;
INSERT INTO t VALUES (7);
INSERT INTO u VALUES (7);
ROLLBACK TO d;
INSERT INTO u VALUES (8);
COMMIT;
SELECT is(stored(), '1 2 5 6', 'savepoints');
SELECT is(stored('u'), '8', 'in both tables');
BEGIN;
SAVEPOINT a; INSERT INTO t VALUES (1); SAVEPOINT b; INSERT INTO t VALUES (2); RELEASE b; ROLLBACK TO a;
INSERT INTO t VALUES (3);
COMMIT;
SELECT is(stored(), '3', 'a released savepoint goes with the one around it');
BEGIN;
SAVEPOINT a; INSERT INTO t VALUES (1); RELEASE a; ROLLBACK;
SELECT is(stored(), NULL, 'and with its transaction');

-- PL/pgSQL: exceptions, nested blocks, loops.
DO $$ BEGIN
  FOR i IN 1 .. 20 LOOP
    BEGIN
      INSERT INTO t VALUES (i);
      IF i % 3 = 0 THEN RAISE EXCEPTION 'no'; END IF;
      BEGIN
        INSERT INTO t VALUES (100 + i);
        PERFORM 1 / (i % 4);
      EXCEPTION WHEN division_by_zero THEN
        INSERT INTO t VALUES (200 + i);
      END;
    EXCEPTION WHEN raise_exception THEN
      INSERT INTO t VALUES (300 + i);
    END;
  END LOOP;
END $$;
SELECT set_eq($$SELECT unnest(string_to_array(stored(), ' '))::int$$, $$
  SELECT CASE WHEN i % 3 = 0 THEN 300 + i ELSE i END FROM generate_series(1, 20) i
  UNION SELECT CASE WHEN i % 4 = 0 THEN 200 + i ELSE 100 + i END FROM generate_series(1, 20) i WHERE i % 3 <> 0$$, 'exceptions');
CREATE FUNCTION fails_late(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO t VALUES (n); IF n > 3 THEN RAISE EXCEPTION 'late'; END IF; RETURN n; END $$;
SELECT throws_ok('SELECT fails_late(x) FROM generate_series(1, 5) x', 'P0001', 'late');
SELECT is(stored(), NULL, 'a statement that fails half-way leaves nothing');

-- COMMIT and ROLLBACK in procedures and DO blocks.
CREATE PROCEDURE in_steps() LANGUAGE plpgsql AS $$
DECLARE
  n int;
BEGIN
  FOR i IN 1 .. 10 LOOP
    INSERT INTO t VALUES (i);
    IF i % 2 = 0 THEN COMMIT; ELSE INSERT INTO u VALUES (i); ROLLBACK; END IF;
  END LOOP;
  FOR n IN SELECT generate_series(11, 14) LOOP
    INSERT INTO t VALUES (n);
    COMMIT;
  END LOOP;
  INSERT INTO t VALUES (20);
END $$;
CALL in_steps();
SELECT is(stored(), '2 4 6 8 10 11 12 13 14 20', 'a procedure');
SELECT is(stored('u'), NULL, 'its rollbacks');
DO $$ BEGIN INSERT INTO t VALUES (1); COMMIT; INSERT INTO t VALUES (2); ROLLBACK; INSERT INTO t VALUES (3); END $$;
SELECT is(stored(), '1 3', 'a DO block');

-- Its own rows: by queries, changes, functions, other tables' constraints and cursors, in the order of commands.
BEGIN;
INSERT INTO t VALUES (1), (2), (3);
SELECT is((SELECT count(*) FROM t), 3::bigint, 'SELECT sees them');
UPDATE t SET v = 'changed' WHERE id = 2;
DELETE FROM t WHERE id = 3;
INSERT INTO t VALUES (4);
SELECT results_eq('SELECT id, v FROM t ORDER BY id', $$VALUES (1, 'd'), (2, 'changed'), (4, 'd')$$, 'UPDATE and DELETE work on them');
INSERT INTO t SELECT id + 10 FROM t;
SELECT is((SELECT count(*) FROM t), 6::bigint, 'INSERT from itself');
WITH x AS (INSERT INTO t VALUES (50) RETURNING id) SELECT is((SELECT count(*) FROM t), 6::bigint, 'a statement does not see its own') FROM x;
MERGE INTO t USING (VALUES (50), (51)) s (id) ON t.id = s.id WHEN MATCHED THEN UPDATE SET v = 'merged' WHEN NOT MATCHED THEN INSERT VALUES (s.id, 'new');
SELECT is((SELECT string_agg(v, ',' ORDER BY id) FROM t WHERE id > 49), 'merged,new', 'MERGE');
SELECT is((SELECT count(*) FROM (SELECT * FROM t FOR UPDATE) x), 8::bigint, 'FOR UPDATE');
SAVEPOINT s;
INSERT INTO t VALUES (60);
SELECT is((SELECT count(*) FROM t WHERE id = 60), 1::bigint, 'seen after a savepoint');
UPDATE t SET id = 61 WHERE id = 60;
ROLLBACK TO s;
SELECT is((SELECT count(*) FROM t WHERE id >= 60), 0::bigint, 'gone with it');
INSERT INTO t VALUES (62);
COMMIT;
SELECT is(stored(), '1 2 4 11 12 14 50 51 62', 'all of it');
BEGIN;
INSERT INTO t VALUES (1);
SAVEPOINT a;
SELECT is((SELECT count(*) FROM t), 1::bigint, 'stored within a savepoint');
ROLLBACK TO a;
SELECT is((SELECT count(*) FROM t), 1::bigint, 'and again after its end');
SAVEPOINT b;
UPDATE t SET v = 'x';
ROLLBACK TO b;
RELEASE a;
COMMIT;
SELECT is(stored(), '1', 'once');
BEGIN;
INSERT INTO t SELECT generate_series(1, 5);
DECLARE c CURSOR FOR SELECT id FROM t ORDER BY id;
INSERT INTO t VALUES (6);
FETCH 2 FROM c;
INSERT INTO t VALUES (7);
SELECT is((SELECT count(*) FROM t), 7::bigint, 'all of them');
MOVE FORWARD ALL IN c;
FETCH BACKWARD 1 FROM c \gset cursor_
SELECT is(:cursor_id, 5, 'a cursor sees what was there when it was opened');
DECLARE d CURSOR FOR SELECT id FROM t ORDER BY id FOR UPDATE;
FETCH 3 FROM d;
UPDATE t SET v = 'current' WHERE CURRENT OF d;
DECLARE held CURSOR WITH HOLD FOR SELECT id FROM t WHERE v = 'current';
INSERT INTO t VALUES (8);
COMMIT;
FETCH ALL FROM held \gset held_
SELECT is(:held_id, 3, 'WHERE CURRENT OF, and a cursor that is held');
CLOSE held;
SELECT is(stored(), '1 2 3 4 5 6 7 8', 'all of it');
CREATE FUNCTION count_t() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM t';
CREATE FUNCTION count_t_stable() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM t';
BEGIN;
INSERT INTO t VALUES (1);
SELECT is(count_t(), 1::bigint, 'in a function');
INSERT INTO t VALUES (2);
SELECT is(count_t_stable(), 2::bigint, 'in a stable function');
CREATE VIEW v AS SELECT * FROM t;
INSERT INTO t VALUES (3);
SELECT is((SELECT count(*) FROM v), 3::bigint, 'by a view');
INSERT INTO t VALUES (4);
PREPARE counting AS SELECT count(*) FROM t;
EXECUTE counting \gset
SELECT is(:count, 4, 'by a prepared statement');
INSERT INTO t VALUES (5);
CREATE TEMP TABLE copied AS SELECT * FROM t;
SELECT is((SELECT count(*) FROM copied), 5::bigint, 'by CREATE TABLE AS');
INSERT INTO t VALUES (6);
CREATE MATERIALIZED VIEW mv AS SELECT * FROM t;
SELECT is((SELECT count(*) FROM mv), 6::bigint, 'by CREATE MATERIALIZED VIEW');
INSERT INTO t VALUES (7);
REFRESH MATERIALIZED VIEW mv;
SELECT is((SELECT count(*) FROM mv), 7::bigint, 'and REFRESH');
COMMIT;
SELECT is(stored(), '1 2 3 4 5 6 7');

-- Isolation levels.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT is((SELECT count(*) FROM t), 0::bigint);
INSERT INTO t VALUES (1);
SELECT is((SELECT count(*) FROM t), 1::bigint, 'repeatable read sees its own rows');
INSERT INTO t VALUES (2);
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
INSERT INTO t VALUES (3);
SELECT is((SELECT count(*) FROM t WHERE id = 3), 1::bigint, 'serializable too');
COMMIT;
SELECT is(stored(), '1 2 3');

-- Prepared transactions keep their rows in the table.
BEGIN;
INSERT INTO t VALUES (1);
SAVEPOINT s;
INSERT INTO t VALUES (2);
ROLLBACK TO s;
INSERT INTO t VALUES (3);
PREPARE TRANSACTION 'p';
INSERT INTO t VALUES (4);
SELECT writecache.flush() >= 0;
SELECT is((SELECT count(*) FROM t WHERE id < 4), 0::bigint, 'not committed yet');
COMMIT PREPARED 'p';
BEGIN;
INSERT INTO t VALUES (5);
PREPARE TRANSACTION 'q';
ROLLBACK PREPARED 'q';
SELECT is(stored(), '1 3 4', 'COMMIT PREPARED and ROLLBACK PREPARED');

-- Very many savepoints and commands; a transaction beyond every limit.
DO $$ BEGIN
  FOR i IN 1 .. 10000 LOOP
    BEGIN
      INSERT INTO t VALUES (i);
      IF i % 10 = 0 THEN RAISE EXCEPTION 'no'; END IF;
    EXCEPTION WHEN raise_exception THEN
      NULL;
    END;
  END LOOP;
END $$;
SELECT is((SELECT writecache.flush() >= 0), true);
SELECT results_eq('SELECT count(*), count(DISTINCT id), sum(id) FROM t', 'VALUES (9000::bigint, 9000::bigint, 45000000::bigint)', 'ten thousand savepoints');
TRUNCATE t;
SET writecache.bulk_bypass = '64kB';
BEGIN;
INSERT INTO t SELECT x, repeat('v', 100) FROM generate_series(1, 500) x;
SAVEPOINT s;
INSERT INTO t SELECT x, repeat('v', 100) FROM generate_series(501, 2000) x;
ROLLBACK TO s;
INSERT INTO t SELECT x, repeat('v', 100) FROM generate_series(2001, 4000) x;
SAVEPOINT s2;
INSERT INTO t VALUES (4001);
COMMIT;
SELECT is((SELECT writecache.flush() >= 0), true);
SELECT results_eq('SELECT count(*), count(DISTINCT id), max(id) FROM t', 'VALUES (2501::bigint, 2501::bigint, 4001)', 'past bulk_bypass, with savepoints');
RESET writecache.bulk_bypass;
TRUNCATE t;

-- Constraints that are checked when a transaction ends.
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int, parent int REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
\set ON_ERROR_STOP off
BEGIN;
INSERT INTO t VALUES (1);
INSERT INTO child VALUES (1, 1);
INSERT INTO t VALUES (2);
COMMIT;
SELECT is(:'SQLSTATE'::text, '23503', 'another table fails at COMMIT');
\set ON_ERROR_STOP on
SELECT is(stored(), NULL, 'and takes the staged rows along');
BEGIN;
INSERT INTO child VALUES (1, 1);
INSERT INTO t VALUES (3);
INSERT INTO parent VALUES (1);
COMMIT;
SELECT is(stored(), '3', 'or not');
-- A deferred trigger inserts into an attached table.
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO t VALUES (100 + NEW.id); IF NEW.id = 9 THEN RAISE EXCEPTION 'nine'; END IF; RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER note AFTER INSERT ON child DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note();
INSERT INTO child VALUES (2, 1);
BEGIN;
INSERT INTO t VALUES (4);
INSERT INTO child VALUES (3, 1);
COMMIT;
\set ON_ERROR_STOP off
INSERT INTO child VALUES (9, 1);
\set ON_ERROR_STOP on
SELECT is(stored(), '4 102 103', 'a deferred trigger stages rows');
-- A temporary table with ON COMMIT, NOTIFY, advisory locks: the end of a transaction does all of it.
BEGIN;
CREATE TEMP TABLE one_transaction (id int) ON COMMIT DROP;
INSERT INTO one_transaction VALUES (1);
INSERT INTO t SELECT * FROM one_transaction;
NOTIFY pgtap_channel;
COMMIT;
SELECT is(stored(), '1');

SELECT * FROM finish();
