-- Statements that change or lock rows by key leave buffered rows alone that cannot be among those.
BEGIN;
SELECT * FROM no_plan();
COMMIT;

CREATE TABLE t (id int PRIMARY KEY, name text, at timestamptz, plain int, part int GENERATED ALWAYS AS (id % 7) STORED);
CREATE INDEX ON t (name);
CREATE INDEX ON t (at, plain);
CREATE TABLE twin (LIKE t INCLUDING ALL);
CREATE FUNCTION fill(ids int4range) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO t (id, name, at, plain) SELECT g, 'n' || g, '2026-01-01'::timestamptz + g * interval '1 hour', g FROM generate_series(lower(ids), upper(ids) - 1) g;
  INSERT INTO twin (id, name, at, plain) SELECT g, 'n' || g, '2026-01-01'::timestamptz + g * interval '1 hour', g FROM generate_series(lower(ids), upper(ids) - 1) g;
END $$;
SELECT fill('[1,100]');
SELECT writecache.attach('t', 'write_back', flush_interval => '1 day');
CREATE FUNCTION pending() RETURNS bigint LANGUAGE sql AS $$ SELECT sum(rows_pending)::bigint FROM writecache.stat_write_back WHERE relation = 't'::regclass $$;
CREATE PROCEDURE prepare() LANGUAGE plpgsql AS $$ BEGIN
  PERFORM writecache.flush('t');
  DELETE FROM t WHERE id > 100;
  DELETE FROM twin WHERE id > 100;
  COMMIT;
  PERFORM fill('[101,3000]');
  COMMIT;
END $$;
-- Runs the statement on the table and on its twin. Returns what is pending afterwards.
CREATE PROCEDURE on_both(statement text, INOUT left_pending bigint DEFAULT NULL) LANGUAGE plpgsql AS $$ BEGIN
  EXECUTE statement;
  EXECUTE regexp_replace(statement, '\mt ', 'twin ', 'g');
  COMMIT;
  left_pending := pending();
END $$;
CREATE FUNCTION same() RETURNS boolean LANGUAGE sql AS $$
  SELECT NOT EXISTS ((TABLE t EXCEPT TABLE twin) UNION ALL (TABLE twin EXCEPT TABLE t)) AND (SELECT count(*) FROM t) = (SELECT count(*) FROM twin) $$;
SET plan_cache_mode = force_custom_plan;

-- What is pending stays so.
CALL prepare();
SELECT is(pending(), 2900::bigint, 'rows are pending');
CALL on_both('UPDATE t SET plain = -1 WHERE id = 5') \gset
SELECT is(:left_pending::bigint, 2900::bigint, 'UPDATE by key');
CALL on_both('UPDATE t SET plain = -2 WHERE 6 = id') \gset
SELECT is(:left_pending::bigint, 2900::bigint, 'the other way round');
CALL on_both('UPDATE t SET plain = -3 WHERE id BETWEEN 7 AND 9 AND plain > 0') \gset
SELECT is(:left_pending::bigint, 2900::bigint, 'of a range');
CALL on_both('UPDATE t SET plain = -3 WHERE id < 10') \gset
SELECT is(:left_pending::bigint, 2900::bigint, 'without an end');
CALL on_both('UPDATE t SET plain = -4 WHERE name = ''n12''') \gset
SELECT is(:left_pending::bigint, 2900::bigint, 'by a text');
CALL on_both('UPDATE t SET plain = -5 WHERE at = ''2026-01-01 13:00''::timestamptz') \gset
SELECT is(:left_pending::bigint, 2900::bigint, 'by a column of an index that is not unique');
CALL on_both('UPDATE t SET plain = -6 WHERE id = 5::bigint') \gset
SELECT is(:left_pending::bigint, 2900::bigint, 'by another integer');
CALL on_both('DELETE FROM t WHERE id = 15') \gset
SELECT is(:left_pending::bigint, 2900::bigint, 'DELETE');
CALL on_both('DO $d$ BEGIN PERFORM FROM t WHERE id = 16 FOR UPDATE; END $d$') \gset
SELECT is(:left_pending::bigint, 2900::bigint, 'SELECT FOR UPDATE');
CALL on_both('DO $d$ DECLARE k int := 17; BEGIN UPDATE t SET plain = -8 WHERE id = k; END $d$') \gset
SELECT is(:left_pending::bigint, 2900::bigint, 'by a variable');
CALL on_both('UPDATE t SET plain = -9 FROM (VALUES (18)) v (k) WHERE id = k AND id = 18') \gset
SELECT is(:left_pending::bigint, 2900::bigint, 'joined');
SELECT is((SELECT count(xmin) FROM t WHERE id = 20), 1::bigint);
SELECT is(pending(), 2900::bigint, 'a system column');
CALL on_both('UPDATE t SET plain = a.plain FROM (SELECT max(plain) AS plain FROM t ) a WHERE id = 20') \gset
SELECT is(:left_pending::bigint, 2900::bigint, 'read elsewhere with what is pending');
SET enable_indexscan = off;
CALL on_both('UPDATE t SET plain = -10 WHERE id = 21') \gset
SELECT is(:left_pending::bigint, 2900::bigint, 'by a bitmap');
SET enable_bitmapscan = off;
CALL on_both('UPDATE t SET plain = -11 WHERE id = 22') \gset
SELECT is(:left_pending::bigint, 2900::bigint, 'by a sequential scan');
RESET enable_indexscan;
RESET enable_bitmapscan;
SET plan_cache_mode = force_generic_plan;
PREPARE change (int) AS UPDATE t SET plain = plain + 1 WHERE id = $1 RETURNING id;
SELECT is_empty('EXECUTE change (NULL)');
SELECT results_eq('EXECUTE change (23)', 'SELECT 23');
UPDATE twin SET plain = plain + 1 WHERE id = 23;
SELECT is(pending(), 2900::bigint, 'a generic plan');
BEGIN ISOLATION LEVEL REPEATABLE READ;
UPDATE t SET plain = -12 WHERE id = 24;
UPDATE twin SET plain = -12 WHERE id = 24;
SELECT is(pending(), 2900::bigint, 'REPEATABLE READ');
SELECT throws_ok('UPDATE t SET plain = -12 WHERE id = 124', '40001');
ROLLBACK;
SELECT ok(same());

-- It is stored if it may be meant.
SELECT results_eq('EXECUTE change (130)', 'SELECT 130', 'a pending row');
UPDATE twin SET plain = plain + 1 WHERE id = 130;
SELECT is(pending(), 0::bigint);
RESET plan_cache_mode;
CREATE FUNCTION stores(statement text, title text) RETURNS SETOF text LANGUAGE plpgsql AS $$ BEGIN
  EXECUTE statement;
  EXECUTE regexp_replace(statement, '\mt ', 'twin ', 'g');
  RETURN NEXT is(pending(), 0::bigint, title);
  RETURN NEXT ok(same(), title);
END $$;
CALL prepare();
SELECT stores('UPDATE t SET plain = -1 WHERE id = 140', 'by key');
CALL prepare();
SELECT stores('UPDATE t SET plain = -1 WHERE id > 2990', 'of a range');
CALL prepare();
SELECT stores('DELETE FROM t WHERE name = ''n150''', 'by a text');
CALL prepare();
SELECT stores('UPDATE t SET name = ''x'' WHERE plain = 160', 'by a column without an index');
CALL prepare();
SELECT stores('UPDATE t SET plain = 0 WHERE id = 25 OR id = 170', 'one of two');
CALL prepare();
SELECT stores('UPDATE t SET plain = 0 WHERE id = ANY (ARRAY[26, 180])', 'of a list');
CALL prepare();
SELECT stores('UPDATE t SET plain = 0 WHERE id = (SELECT 190)', 'by a subquery');
CALL prepare();
SELECT stores('UPDATE t SET plain = a.plain FROM (SELECT max(plain) AS plain FROM t TABLESAMPLE SYSTEM (100)) a WHERE id = 27', 'by all of the table');
CALL prepare();
SELECT stores('MERGE INTO t USING (VALUES (28)) v (k) ON id = 28 WHEN MATCHED THEN UPDATE SET plain = 0 WHEN NOT MATCHED THEN INSERT (id) VALUES (k)', 'MERGE');
CALL prepare();
SELECT throws_ok('UPDATE t SET id = 200 WHERE id = 29', '23505', NULL, 'what is pending has its key');
CALL prepare();
SELECT stores('WITH d AS (DELETE FROM t WHERE id = 201 RETURNING id) UPDATE t SET plain = 0 WHERE id = 29', 'in two places');
CREATE FUNCTION other_key() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.id := 210; RETURN NEW; END $$;
CREATE TRIGGER other_key BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION other_key();
CALL prepare();
SELECT throws_ok('UPDATE t SET plain = 0 WHERE id = 30', '23505', NULL, 'a trigger gives it the key');
DROP TRIGGER other_key ON t;
CREATE UNIQUE INDEX ON t (part, id);
CALL prepare();
SELECT stores('UPDATE t SET plain = 0 WHERE id = 31', 'a generated column is unique');

-- Own rows.
SELECT writecache.flush('t');
BEGIN;
SELECT fill('[4001,4010]');
UPDATE t SET plain = 0 WHERE id = 4005;
UPDATE twin SET plain = 0 WHERE id = 4005;
SAVEPOINT s;
SELECT fill('[4011,4020]');
DELETE FROM t WHERE id = 4015;
ROLLBACK TO s;
UPDATE t SET plain = 1 WHERE id = 4006;
UPDATE twin SET plain = 1 WHERE id = 4006;
COMMIT;
SELECT ok(same());
-- Rows that would take the place of what is deleted, or take part in other rows' being there.
CREATE FUNCTION pending_of(relation regclass) RETURNS bigint LANGUAGE sql AS 'SELECT rows_pending FROM writecache.stat_write_back s WHERE s.relation = $1';
CREATE TABLE named (id int PRIMARY KEY, name text);
CREATE INDEX ON named (name);
INSERT INTO named SELECT g, 'n' || g FROM generate_series(1, 10) g;
SELECT writecache.attach('named', 'write_back', flush_interval => '1 day', on_conflict => 'ignore');
INSERT INTO named VALUES (5, 'twice'), (11, 'new');
DELETE FROM named WHERE id = 7;
SELECT is(pending_of('named'), 2::bigint, 'DELETE by the only unique key');
DELETE FROM named WHERE name = 'n5';
SELECT is(pending_of('named'), 0::bigint, 'DELETE by another column');
SELECT is_empty('SELECT * FROM named WHERE id = 5', 'the row that came twice is deleted');
CREATE UNIQUE INDEX ON named (lower(name));
INSERT INTO named VALUES (12, 'newer');
DELETE FROM named WHERE id = 8;
SELECT is(pending_of('named'), 0::bigint, 'DELETE by one of two unique keys');

CREATE TABLE active (id int PRIMARY KEY, email text, is_active bool);
CREATE UNIQUE INDEX ON active (email) WHERE is_active;
INSERT INTO active VALUES (1, 'x', false);
SELECT writecache.attach('active', 'write_back', flush_interval => '1 day');
INSERT INTO active VALUES (2, 'x', true);
SELECT throws_ok('UPDATE active SET is_active = true WHERE id = 1', '23505', NULL, 'a partial index');

CREATE TABLE loose (a int, b int);
CREATE INDEX ON loose (a);
INSERT INTO loose SELECT g, g FROM generate_series(1, 100) AS g;
SELECT writecache.attach('loose', 'write_back', flush_interval => '1 day');
INSERT INTO loose SELECT g, g FROM generate_series(101, 110) AS g;
DELETE FROM loose WHERE a < 50;
SELECT is(pending_of('loose'), 10::bigint, 'DELETE of a range where nothing is unique');
SELECT is((SELECT count(*) FROM loose), 61::bigint);

CREATE TABLE lowered (id int PRIMARY KEY, name text);
CREATE INDEX ON lowered (name);
CREATE FUNCTION lowered() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name := lower(NEW.name); RETURN NEW; END $$;
CREATE TRIGGER lowered BEFORE INSERT ON lowered FOR EACH ROW EXECUTE FUNCTION lowered();
SELECT writecache.attach('lowered', 'write_back', flush_interval => '1 day', allow_triggers => true);
INSERT INTO lowered VALUES (1, 'ABC');
SELECT results_eq($$DELETE FROM lowered WHERE name = 'abc' RETURNING id$$, 'SELECT 1', 'a trigger makes another row of it');

CREATE TABLE tree (id int PRIMARY KEY, parent int REFERENCES tree, v int);
CREATE INDEX ON tree (parent);
INSERT INTO tree VALUES (5), (6);
SELECT writecache.attach('tree', 'write_back', flush_interval => '1 day');
INSERT INTO tree VALUES (101, 5);
SELECT throws_ok('DELETE FROM tree WHERE id = 5', '23503', NULL, 'a pending row refers to what is deleted');
INSERT INTO tree VALUES (102, 6);
BEGIN;
SELECT id FROM tree WHERE id = 6 FOR UPDATE;
UPDATE tree SET v = 1 WHERE id = 102;
COMMIT;
SELECT results_eq('SELECT v FROM tree WHERE id = 102', 'SELECT 1', 'it refers to a row that the transaction has locked');
CREATE TABLE falling (id int PRIMARY KEY, parent int REFERENCES falling ON DELETE CASCADE);
INSERT INTO falling VALUES (5);
SELECT writecache.attach('falling', 'write_back', flush_interval => '1 day');
INSERT INTO falling VALUES (101, 5);
DELETE FROM falling WHERE id = 5;
SELECT is_empty('SELECT * FROM falling', 'and goes with it');

-- A transaction stores itself what the worker cannot store before it ends: its own locks are in the way.
CREATE TABLE orders (id int PRIMARY KEY, v int);
CREATE TABLE lines (id int PRIMARY KEY, of_order int REFERENCES orders, v int);
INSERT INTO orders VALUES (1), (2);
SELECT writecache.attach('lines', 'write_back', flush_interval => '1 day');
INSERT INTO lines VALUES (1, 1), (2, 2);
BEGIN;
SELECT id FROM orders WHERE id = 1 FOR UPDATE;
UPDATE lines SET v = 1 WHERE id = 1;
SELECT results_eq('SELECT id, v FROM lines ORDER BY id', 'VALUES (1, 1), (2, NULL)', 'a line of an order that is locked');
ROLLBACK;
SELECT results_eq('SELECT id, v FROM lines ORDER BY id', 'VALUES (1, NULL::int), (2, NULL)', 'rolled back');
BEGIN;
SELECT id FROM orders WHERE id = 1 FOR UPDATE;
DELETE FROM lines WHERE of_order = 1;
UPDATE orders SET v = 1 WHERE id = 1;
COMMIT;
SELECT writecache.flush();
SELECT results_eq('SELECT id, v FROM lines ORDER BY id', 'VALUES (2, NULL::int)', 'a line of it is deleted');
SELECT is_empty($$SELECT * FROM writecache.rejected WHERE relation IN ('lines'::regclass, 'tree'::regclass)$$, 'nothing is rejected');

SELECT * FROM finish();
