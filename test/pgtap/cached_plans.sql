-- Plans that were made before attach, alter, detach or DDL are made anew, wherever they are kept: prepared statements,
-- PL/pgSQL and SQL functions, triggers, generic and custom plans.
\ir ../tools/twins.psql
SELECT * FROM no_plan();

CREATE TABLE t (id int, v text DEFAULT 'd');
CREATE FUNCTION captured(name text DEFAULT 't') RETURNS bigint LANGUAGE sql AS 'SELECT coalesce((SELECT rows_captured FROM writecache.stat_write_back WHERE relation = name::regclass), -1)';
CREATE FUNCTION by_plpgsql(n int) RETURNS text LANGUAGE plpgsql AS $$ DECLARE r text; BEGIN INSERT INTO t VALUES (n) RETURNING id || v INTO r; RETURN r; END $$;
CREATE FUNCTION by_sql(n int) RETURNS text LANGUAGE sql AS $$ INSERT INTO t VALUES (n) RETURNING id || v $$;
CREATE FUNCTION by_sql_body(n int) RETURNS text BEGIN ATOMIC INSERT INTO t VALUES (n) RETURNING id || v; END;
CREATE TABLE source (id int);
CREATE FUNCTION by_trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO t VALUES (NEW.id); RETURN NEW; END $$;
CREATE TRIGGER copy AFTER INSERT ON source FOR EACH ROW EXECUTE FUNCTION by_trigger();
PREPARE p (int) AS INSERT INTO t VALUES ($1);
PREPARE p_returning (int) AS INSERT INTO t VALUES ($1) RETURNING *;
PREPARE p_select (int, int) AS INSERT INTO t (id) SELECT generate_series($1, $2);
PREPARE p_constant AS INSERT INTO t (id) VALUES (1);

-- Every way once for a mode of plans: six rows.
CREATE FUNCTION each_way(mode text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE r record;
BEGIN
  PERFORM set_config('plan_cache_mode', mode, true);
  FOR i IN 1 .. 2 LOOP
    EXECUTE 'EXECUTE p(1)';
    EXECUTE 'EXECUTE p_returning(2)' INTO r;
    EXECUTE 'EXECUTE p_select(3, 4)';
    EXECUTE 'EXECUTE p_constant';
    PERFORM by_plpgsql(5), by_sql(6), by_sql_body(7);
    INSERT INTO source VALUES (8);
  END LOOP;
  RETURN r;
END $$;
SELECT is(each_way('force_generic_plan'), '(2,d)', 'generic plans before attach');
SELECT is(each_way('force_custom_plan'), '(2,d)', 'custom plans before attach');
SELECT is(each_way('auto'), '(2,d)', 'before attach');
SELECT is((SELECT count(*) FROM t), 54::bigint, 'plain rows');

SELECT writecache.attach('t', 'write_back', flush_interval => '1 day');
SELECT is(captured(), 0::bigint, 'attached');
SELECT is(each_way('force_generic_plan'), '(2,d)', 'generic plans after attach');
SELECT is(captured(), 18::bigint, 'are captured, all of them');
SELECT is(each_way('force_custom_plan'), '(2,d)', 'custom plans');
SELECT is(captured(), 36::bigint, 'are captured, all of them');
SELECT is(each_way('auto'), '(2,d)', 'either');
SELECT is(captured(), 54::bigint, 'are captured, all of them');

-- Plans made while attached, other settings when they run.
SET plan_cache_mode = force_generic_plan;
EXECUTE p(10);
SELECT is(captured(), 55::bigint, 'captured');
SET writecache.capture = off;
EXECUTE p(10);
SELECT is(captured(), 55::bigint, 'capture = off');
RESET writecache.capture;
EXECUTE p(10);
SELECT is(captured(), 56::bigint, 'and on');
BEGIN ISOLATION LEVEL SERIALIZABLE;
EXECUTE p(10);
COMMIT;
SELECT is(captured(), 56::bigint, 'serializable');
PREPARE made_off (int) AS INSERT INTO t VALUES ($1);
SET writecache.capture = off;
EXECUTE made_off(11);
SET writecache.capture = on;
EXECUTE made_off(11);
SELECT is(captured(), 57::bigint, 'planned while capture was off');

-- Options and triggers.
CREATE FUNCTION upper_v() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.v := upper(NEW.v); RETURN NEW; END $$;
CREATE TRIGGER up BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION upper_v();
EXECUTE p_returning(12);
SELECT is(captured(), 57::bigint, 'a trigger that came later');
SELECT is(by_plpgsql(12), '12D', 'it has run');
SELECT writecache.alter('t', allow_triggers => true);
SELECT is(by_plpgsql(12), '12d', 'now it is for the flush to run');
SELECT is(captured(), 58::bigint, 'captured');
DROP TRIGGER up ON t;
SELECT writecache.alter('t', allow_triggers => false);
SELECT is(by_plpgsql(13), '13d', 'gone');
SELECT is(captured(), 59::bigint, 'captured');

-- Changes of the table.
ALTER TABLE t ADD w int DEFAULT 7, ALTER v SET DEFAULT 'new';
SELECT is(by_plpgsql(14), '14new', 'a new default');
EXECUTE p(14);
SELECT is(captured(), 61::bigint, 'captured');
SELECT throws_ok('EXECUTE p_returning(14)', '0A000', 'cached plan must not change result type', 'as PostgreSQL has it');
ALTER TABLE t ADD CONSTRAINT c CHECK (id < 1000);
SELECT throws_ok('EXECUTE p(1000)', '23514', NULL, 'a new CHECK');
SELECT throws_ok('SELECT by_plpgsql(1000)', '23514', NULL, 'a new CHECK');
ALTER TABLE t DROP CONSTRAINT c;
EXECUTE p(1000);
ALTER TABLE t RENAME TO renamed;
SELECT throws_ok('EXECUTE p(15)', '42P01', 'relation "t" does not exist', 'a prepared statement looks for its table by name, as PostgreSQL has it');
CREATE VIEW t AS SELECT * FROM renamed;
EXECUTE p(15);
SELECT is(captured('renamed'), 63::bigint, 'and finds a view of it');
DROP VIEW t;
ALTER TABLE renamed RENAME TO t;
ALTER TABLE t ALTER w TYPE bigint;
SELECT is(by_plpgsql(16), '16new', 'a retyped column');
EXECUTE p(16);
SELECT is(captured(), 65::bigint, 'captured');
SELECT writecache.flush('t') >= 0;
SELECT results_eq('SELECT id, v, w FROM t WHERE id BETWEEN 12 AND 16 ORDER BY id, v, w',
  $$VALUES (12, 'D', 7::bigint), (12, 'D', 7), (12, 'd', 7), (13, 'd', 7), (14, 'new', 7), (14, 'new', 7), (15, 'new', 7), (16, 'new', 7), (16, 'new', 7)$$, 'rows staged before and after');

-- detach, and attach again.
SELECT writecache.detach('t');
EXECUTE p(20);
EXECUTE p_select(21, 22);
SELECT by_plpgsql(23), by_sql(24), by_sql_body(25);
INSERT INTO source VALUES (26);
SELECT is((SELECT count(*) FROM t WHERE id BETWEEN 20 AND 26), 7::bigint, 'plain after detach');
SELECT writecache.attach('t', 'write_back', flush_interval => '1 day');
EXECUTE p(20);
EXECUTE p_select(21, 22);
SELECT by_plpgsql(23), by_sql(24), by_sql_body(25);
INSERT INTO source VALUES (26);
SELECT is(captured(), 7::bigint, 'captured after attach');
BEGIN;
SELECT writecache.detach('t');
EXECUTE p(30);
ROLLBACK;
EXECUTE p(31);
SELECT is(captured(), 8::bigint, 'captured after a detach that was rolled back');
BEGIN;
CREATE TABLE u (id int);
PREPARE q (int) AS INSERT INTO u VALUES ($1);
EXECUTE q(1);
SELECT writecache.attach('u', 'write_back', flush_interval => '1 day');
EXECUTE q(2);
SELECT writecache.detach('u');
EXECUTE q(3);
COMMIT;
SELECT results_eq('SELECT id FROM u ORDER BY id', 'VALUES (1), (2), (3)', 'all within one transaction');

-- The extension itself: dropped and created again.
EXECUTE p(40);
DROP EXTENSION pg_writecache;
EXECUTE p(41);
SELECT is(by_plpgsql(42), '42new', 'after DROP EXTENSION');
SELECT is((SELECT count(*) FROM t WHERE id BETWEEN 40 AND 42), 3::bigint, 'all rows are in the table');
CREATE EXTENSION pg_writecache;
EXECUTE p(43);
SELECT is(captured(), -1::bigint, 'nothing is attached');
SELECT writecache.attach('t', 'write_back', flush_interval => '1 day');
EXECUTE p(44);
SELECT is(by_plpgsql(45), '45new', 'after CREATE EXTENSION');
SELECT is(captured(), 2::bigint, 'captured');
SELECT writecache.flush('t') >= 0;
SELECT is((SELECT count(*) FROM t WHERE id BETWEEN 40 AND 45), 6::bigint, 'all rows are in the table');
SELECT is((SELECT count(*) FROM t), 54 + 54 + 4 + 2 + 3 + 1 + 2 + 1 + 1 + 2 + 7 + 7 + 1 + 6::bigint, 'not one more');

SELECT * FROM finish();
