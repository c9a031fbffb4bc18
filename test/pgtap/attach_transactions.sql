-- attach, alter and detach belong to their transaction: rolled back, to a savepoint too, they leave table, options and
-- rows as they were.
\ir ../tools/twins.psql
SELECT * FROM no_plan();

CREATE FUNCTION options_of(regclass) RETURNS text LANGUAGE sql AS $$
  SELECT concat_ws(' ', coalesce(flush_rows::text, '-'), when_full, on_conflict) FROM writecache.tables WHERE relation = $1
$$;
CREATE FUNCTION captured(regclass) RETURNS bigint LANGUAGE sql AS 'SELECT rows_captured FROM writecache.stat_write_back WHERE relation = $1';
CREATE FUNCTION pending(regclass) RETURNS bigint LANGUAGE sql AS 'SELECT rows_pending FROM writecache.stat_write_back WHERE relation = $1';
CREATE FUNCTION stored(t regclass) RETURNS text LANGUAGE plpgsql AS $$
DECLARE r text;
BEGIN
  PERFORM writecache.flush();
  EXECUTE format('SELECT string_agg(id::text, '','' ORDER BY id) FROM %s', t) INTO r;
  RETURN r;
END $$;

-- attach.
CREATE TABLE a (id int);
BEGIN;
SELECT writecache.attach('a', 'write_back', flush_rows => 7);
SELECT is(options_of('a'), '7 wait reject', 'seen by its own transaction');
INSERT INTO a VALUES (1);
ROLLBACK;
SELECT is(options_of('a'), NULL, 'rolled back: not attached');
INSERT INTO a VALUES (2);
SELECT is((SELECT count(*) FROM a), 1::bigint, 'and an INSERT is plain');
BEGIN;
INSERT INTO a VALUES (3);
SELECT writecache.attach('a', 'write_back', flush_interval => '1 day');
INSERT INTO a VALUES (4);
COMMIT;
SELECT is(captured('a'), 1::bigint, 'what comes after attach is captured');
SELECT is(stored('a'), '2,3,4', 'and what came before is plain');
BEGIN;
SAVEPOINT s;
SELECT writecache.detach('a');
SELECT is(options_of('a'), NULL, 'detached within');
ROLLBACK TO s;
SELECT is(options_of('a'), '- wait reject', 'and attached again');
INSERT INTO a VALUES (5);
COMMIT;
SELECT is(captured('a'), 2::bigint, 'captured again');
SELECT is(stored('a'), '2,3,4,5');
BEGIN;
SELECT writecache.detach('a');
SELECT writecache.attach('a', 'write_back', flush_interval => '1 day', flush_rows => 9);
INSERT INTO a VALUES (6);
COMMIT;
SELECT is(options_of('a'), '9 wait reject', 'detached and attached anew');
SELECT is(captured('a'), 1::bigint, 'with counters of its own');
SELECT is(stored('a'), '2,3,4,5,6');
BEGIN;
SELECT isnt(error_of($$SELECT writecache.attach('a', 'write_back')$$), NULL, 'attached already');
COMMIT;
SELECT is(options_of('a'), '9 wait reject', 'an error of attach leaves the first attachment');
BEGIN;
SELECT writecache.detach('a');
SELECT writecache.attach('a', 'write_back');
SELECT writecache.detach('a');
INSERT INTO a VALUES (7);
COMMIT;
SELECT is(options_of('a'), NULL, 'detached in the end');
SELECT is(stored('a'), '2,3,4,5,6,7');
BEGIN;
SAVEPOINT s1;
SELECT writecache.attach('a', 'write_back', flush_interval => '1 day');
INSERT INTO a VALUES (8);
RELEASE s1;
SAVEPOINT s2;
INSERT INTO a VALUES (9);
ROLLBACK TO s2;
COMMIT;
SELECT is(stored('a'), '2,3,4,5,6,7,8', 'attached in a savepoint that was kept');
SELECT writecache.detach('a');
DO $$ BEGIN
  BEGIN
    PERFORM writecache.attach('a', 'write_back');
    INSERT INTO a VALUES (10);
    RAISE EXCEPTION 'undo';
  EXCEPTION WHEN raise_exception THEN
    INSERT INTO a VALUES (11);
  END;
END $$;
SELECT is(options_of('a'), NULL, 'attached in a block that failed');
SELECT is(stored('a'), '2,3,4,5,6,7,8,11', 'and the row after it is plain');

-- The table itself in the same transaction.
BEGIN;
CREATE TABLE n (id int);
SELECT writecache.attach('n', 'write_back', flush_interval => '1 day');
INSERT INTO n VALUES (1);
COMMIT;
SELECT is(captured('n'), 1::bigint, 'created, attached and filled');
SELECT is(stored('n'), '1');
BEGIN;
CREATE TABLE gone (id int);
SELECT writecache.attach('gone', 'write_back');
INSERT INTO gone VALUES (1);
ROLLBACK;
SELECT is(to_regclass('gone'), NULL, 'and all of it rolled back');
SELECT is((SELECT count(*) FROM writecache.attached), 1::bigint, 'nothing is left of it');
BEGIN;
CREATE TABLE gone (id int);
SELECT writecache.attach('gone', 'write_back');
INSERT INTO gone VALUES (1);
DROP TABLE gone;
COMMIT;
SELECT is((SELECT count(*) FROM writecache.attached), 1::bigint, 'or dropped');

-- alter.
BEGIN;
SELECT writecache.alter('n', flush_rows => 100, when_full => 'error');
SAVEPOINT s;
SELECT writecache.alter('n', flush_rows => 200);
SELECT is(options_of('n'), '200 error reject', 'seen by its own transaction');
ROLLBACK TO s;
SELECT is(options_of('n'), '100 error reject', 'rolled back to the savepoint');
ROLLBACK;
SELECT is(options_of('n'), '- wait reject', 'rolled back');
BEGIN;
SELECT writecache.alter('n', flush_rows => 100);
SELECT writecache.alter('n', when_full => 'error');
COMMIT;
SELECT is(options_of('n'), '100 error reject', 'twice in a transaction');

-- detach with rows pending: they are in the table with it, or pending again without it.
INSERT INTO n VALUES (2), (3);
SELECT is(pending('n'), 2::bigint, 'two rows pend');
BEGIN;
INSERT INTO n VALUES (4);
SELECT writecache.detach('n');
SELECT is((SELECT count(*) FROM n), 4::bigint, 'all of them are in the table');
ROLLBACK;
SELECT is(options_of('n'), '100 error reject', 'attached as before');
SELECT is(pending('n'), 2::bigint, 'the rows that pended still do');
SELECT is(stored('n'), '1,2,3', 'and are stored once');
INSERT INTO n VALUES (5), (6);
BEGIN;
INSERT INTO n VALUES (7);
SAVEPOINT s;
INSERT INTO n VALUES (8);
SELECT writecache.detach('n');
INSERT INTO n VALUES (9);
SELECT is((SELECT count(*) FROM n), 8::bigint, 'stored, staged and plain rows are in the table');
ROLLBACK TO s;
INSERT INTO n VALUES (10);
COMMIT;
SELECT is(options_of('n'), '100 error reject', 'detach was rolled back to the savepoint');
SELECT is(stored('n'), '1,2,3,5,6,7,10', 'no row is lost or twice');
INSERT INTO n VALUES (11);
BEGIN;
SAVEPOINT s1;
SELECT writecache.detach('n');
ROLLBACK TO s1;
SAVEPOINT s2;
SELECT writecache.detach('n');
RELEASE s2;
COMMIT;
SELECT is(options_of('n'), NULL, 'the second detach holds');
SELECT is(stored('n'), '1,2,3,5,6,7,10,11', 'no row is lost or twice');
SELECT is((SELECT count(*) FROM writecache.watermark), 0::bigint, 'no watermark is left of tables that are gone');

-- An attachment number names one attachment for ever.
CREATE TEMP TABLE numbers AS SELECT attachment FROM writecache.attached WHERE false;
DO $$ BEGIN
  FOR i IN 1 .. 50 LOOP
    PERFORM writecache.attach('n', 'write_back');
    INSERT INTO numbers SELECT attachment FROM writecache.attached;
    PERFORM writecache.detach('n');
  END LOOP;
END $$;
SELECT is((SELECT count(DISTINCT attachment) FROM numbers), 50::bigint, 'fifty attachments have fifty numbers');

-- A transaction that is prepared takes its attachment along, and its rows.
BEGIN;
SELECT writecache.attach('n', 'write_back', flush_interval => '1 day');
INSERT INTO n VALUES (12);
PREPARE TRANSACTION 'attaches';
SELECT is(options_of('n'), NULL, 'not yet');
COMMIT PREPARED 'attaches';
SELECT is(options_of('n'), '- wait reject', 'attached');
INSERT INTO n VALUES (13);
SELECT is(captured('n'), 1::bigint, 'captured');
SELECT is(stored('n'), '1,2,3,5,6,7,10,11,12,13');
BEGIN;
SELECT writecache.detach('n');
PREPARE TRANSACTION 'detaches';
ROLLBACK PREPARED 'detaches';
INSERT INTO n VALUES (14);
SELECT is(captured('n'), 2::bigint, 'still captured');
BEGIN;
SELECT writecache.detach('n');
\set ON_ERROR_STOP off
PREPARE TRANSACTION 'detaches';
SELECT is(:'SQLSTATE'::text, '0A000', 'rows that pended cannot go along with a prepared transaction');
\set ON_ERROR_STOP on
SELECT is(options_of('n'), '- wait reject', 'which is rolled back');
SELECT is(stored('n'), '1,2,3,5,6,7,10,11,12,13,14', 'no row is lost or twice');
BEGIN;
SELECT writecache.detach('n');
PREPARE TRANSACTION 'detaches';
COMMIT PREPARED 'detaches';
SELECT is(options_of('n'), NULL, 'with none pending it can');
INSERT INTO n VALUES (15);
SELECT is((SELECT count(*) FROM n WHERE id = 15), 1::bigint, 'plain again');

SELECT * FROM finish();
