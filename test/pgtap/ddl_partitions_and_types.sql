-- DDL that reaches an attached table by way of another object, or that cannot run in a transaction, with rows pending.
\ir ../tools/twins.psql
SELECT * FROM no_plan();

CREATE FUNCTION content(name text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE r text;
BEGIN
  PERFORM writecache.flush();
  EXECUTE format('SELECT string_agg(x::text, '' '' ORDER BY x::text COLLATE "C") FROM %s x', to_regclass(name)) INTO r;
  RETURN r;
END $$;

-- Tables of a composite type, which ALTER TYPE ... CASCADE changes.
CREATE TYPE row_type AS (a int, b text);
CREATE TABLE typed OF row_type;
CREATE TABLE typed_too OF row_type (a WITH OPTIONS DEFAULT 5);
SELECT writecache.attach('typed', 'write_back', flush_interval => '1 day'), writecache.attach('typed_too', 'write_back', flush_interval => '1 day');
INSERT INTO typed VALUES (1, 'one');
INSERT INTO typed_too VALUES (2, 'two');
BEGIN;
INSERT INTO typed VALUES (3, 'three');
ALTER TYPE row_type ALTER ATTRIBUTE a TYPE bigint CASCADE;
ROLLBACK;
BEGIN;
INSERT INTO typed VALUES (4, 'four');
ALTER TYPE row_type ALTER ATTRIBUTE a TYPE bigint CASCADE;
INSERT INTO typed VALUES (5000000000, 'five');
COMMIT;
SELECT is(content('typed'), '(1,one) (4,four) (5000000000,five)', 'retyped');
SELECT is(content('typed_too'), '(2,two)', 'retyped');
INSERT INTO typed VALUES (6, 'six');
ALTER TYPE row_type ADD ATTRIBUTE c text CASCADE, DROP ATTRIBUTE b CASCADE;
INSERT INTO typed VALUES (7, 'seven');
ALTER TYPE row_type RENAME ATTRIBUTE c TO d CASCADE;
SELECT is(content('typed'), '(1,) (4,) (5000000000,) (6,) (7,seven)', 'more and less columns');
INSERT INTO typed VALUES (8, 'eight');
ALTER TABLE typed NOT OF;
ALTER TABLE typed ADD e int DEFAULT 1;
SELECT is(content('typed'), '(1,,1) (4,,1) (5000000000,,1) (6,,1) (7,seven,1) (8,eight,1)', 'no type any more');

-- Partitions come and go, under an attached parent and attached themselves.
CREATE TABLE parts (a int, b text) PARTITION BY RANGE (a);
CREATE TABLE p1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
CREATE TABLE p2 (b text, gone int, a int);
ALTER TABLE p2 DROP gone;
SELECT writecache.attach('parts', 'write_back', flush_interval => '1 day'), writecache.attach('p2', 'write_back', flush_interval => '1 day');
INSERT INTO parts VALUES (1, 'one');
INSERT INTO p2 (a, b) VALUES (11, 'eleven');
BEGIN;
INSERT INTO p2 (a, b) VALUES (12, 'twelve');
ALTER TABLE parts ATTACH PARTITION p2 FOR VALUES FROM (10) TO (20);
INSERT INTO parts VALUES (13, 'thirteen');
ROLLBACK;
SELECT is(content('parts'), '(1,one)', 'rolled back');
SELECT is(content('p2'), '(eleven,11)', 'rolled back');
INSERT INTO p2 (a, b) VALUES (14, 'fourteen');
ALTER TABLE parts ATTACH PARTITION p2 FOR VALUES FROM (10) TO (20);
INSERT INTO parts VALUES (15, 'fifteen');
INSERT INTO p2 VALUES ('sixteen', 16);
SELECT is(content('parts'), '(1,one) (11,eleven) (14,fourteen) (15,fifteen) (16,sixteen)', 'attached');
-- A row that does not fit keeps its table from becoming a partition, as if it were stored.
CREATE TABLE p3 (a int, b text);
SELECT writecache.attach('p3', 'write_back', flush_interval => '1 day');
INSERT INTO p3 VALUES (99, 'misfit');
SELECT is(error_of($$ALTER TABLE parts ATTACH PARTITION p3 FOR VALUES FROM (20) TO (30)$$), '23514: partition constraint of relation "p3" is violated by some row', 'a pending row counts');
SELECT is(content('p3'), '(99,misfit)', 'it is not lost');
-- Detached, rows that the parent took for it go along.
INSERT INTO parts VALUES (2, 'two'), (17, 'seventeen');
INSERT INTO p2 VALUES ('eighteen', 18);
BEGIN;
INSERT INTO parts VALUES (19, 'nineteen');
ALTER TABLE parts DETACH PARTITION p2;
ROLLBACK;
SELECT is(content('parts'), '(1,one) (11,eleven) (14,fourteen) (15,fifteen) (16,sixteen) (17,seventeen) (18,eighteen) (2,two)', 'rolled back');
INSERT INTO parts VALUES (3, 'three'), (19, 'nineteen');
INSERT INTO p2 VALUES ('ten', 10);
ALTER TABLE parts DETACH PARTITION p2;
SELECT is(content('parts'), '(1,one) (2,two) (3,three)', 'detached');
SELECT is(content('p2'), '(eighteen,18) (eleven,11) (fifteen,15) (fourteen,14) (nineteen,19) (seventeen,17) (sixteen,16) (ten,10)', 'with its rows');
SELECT throws_ok($$INSERT INTO parts VALUES (15, 'no partition')$$, '23514', NULL, 'at once');
ALTER TABLE parts ATTACH PARTITION p2 FOR VALUES FROM (10) TO (20);
INSERT INTO parts VALUES (10, 'ten again');
ALTER TABLE parts DETACH PARTITION p2 CONCURRENTLY;
SELECT is(content('p2') LIKE '%("ten again",10)%', true, 'CONCURRENTLY as well');
-- A partition that is dropped takes the parent's rows for it; the others stay.
CREATE TABLE p4 PARTITION OF parts FOR VALUES FROM (40) TO (50);
INSERT INTO parts VALUES (41, 'doomed'), (4, 'stays');
DROP TABLE p4;
SELECT is(content('parts'), '(1,one) (2,two) (3,three) (4,stays)', 'dropped with its rows, the others are there');
SELECT is((SELECT count(*) FROM writecache.rejected WHERE relation = 'parts'::regclass), 0::bigint, 'none of them is rejected');
TRUNCATE p1;
INSERT INTO parts VALUES (5, 'five');
TRUNCATE p1;
SELECT is(content('parts'), NULL, 'TRUNCATE of a partition removes what its parent took for it');
INSERT INTO parts VALUES (6, 'six');
ALTER TABLE parts ADD c int DEFAULT 3;
INSERT INTO parts VALUES (7, 'seven', 4);
ALTER TABLE parts RENAME b TO renamed;
ALTER TABLE p1 ALTER c SET NOT NULL;
SELECT is(content('parts'), '(6,six,3) (7,seven,4)', 'ALTER TABLE');
INSERT INTO parts VALUES (8, 'eight', 5);
DROP TABLE parts;
SELECT is(to_regclass('p1'), NULL, 'all gone');

-- What cannot run in a transaction.
CREATE TABLE t (id int, v text);
SELECT writecache.attach('t', 'write_back', flush_interval => '1 day');
INSERT INTO t VALUES (1, 'one');
CREATE UNIQUE INDEX CONCURRENTLY t_id ON t (id);
INSERT INTO t VALUES (2, 'two');
REINDEX INDEX CONCURRENTLY t_id;
INSERT INTO t VALUES (3, 'three');
REINDEX TABLE CONCURRENTLY t;
INSERT INTO t VALUES (4, 'four');
VACUUM t;
INSERT INTO t VALUES (5, 'five');
VACUUM (FULL, ANALYZE) t;
INSERT INTO t VALUES (6, 'six');
CLUSTER t USING t_id;
INSERT INTO t VALUES (7, 'seven');
CLUSTER;
INSERT INTO t VALUES (8, 'eight');
VACUUM FULL;
INSERT INTO t VALUES (9, 'nine');
REINDEX SCHEMA public;
INSERT INTO t VALUES (10, 'ten');
DROP INDEX CONCURRENTLY t_id;
CREATE INDEX CONCURRENTLY ON t (v, id);
SELECT is((SELECT content('t')), '(1,one) (10,ten) (2,two) (3,three) (4,four) (5,five) (6,six) (7,seven) (8,eight) (9,nine)', 'every row once');

-- Event triggers that read and write the table while it changes.
CREATE TABLE ddl_log (n serial, tag text, rows bigint);
CREATE FUNCTION at_start() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
  IF tg_tag IN ('ALTER TABLE', 'CREATE INDEX') THEN INSERT INTO t VALUES (100 + (SELECT count(*) FROM ddl_log), 'at start of ' || tg_tag); INSERT INTO ddl_log (tag) VALUES (tg_tag); END IF; END $$;
CREATE FUNCTION at_end() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
  IF tg_tag IN ('ALTER TABLE', 'CREATE INDEX') THEN INSERT INTO ddl_log (tag, rows) SELECT 'end of ' || tg_tag, count(*) FROM t; INSERT INTO t (id, v) VALUES (200, 'at end'); END IF; END $$;
CREATE FUNCTION at_drop() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO ddl_log (tag) SELECT 'dropped ' || object_identity FROM pg_event_trigger_dropped_objects() WHERE object_type = 'table'; END $$;
CREATE FUNCTION at_rewrite() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO ddl_log (tag) VALUES ('rewrite of ' || pg_event_trigger_table_rewrite_oid()::regclass); END $$;
CREATE EVENT TRIGGER s ON ddl_command_start EXECUTE FUNCTION at_start();
CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION at_end();
CREATE EVENT TRIGGER d ON sql_drop EXECUTE FUNCTION at_drop();
CREATE EVENT TRIGGER r ON table_rewrite EXECUTE FUNCTION at_rewrite();
INSERT INTO t VALUES (11, 'eleven');
ALTER TABLE t ADD w int;
SELECT results_eq('SELECT tag, rows FROM ddl_log ORDER BY n', $$VALUES ('ALTER TABLE', NULL), ('end of ALTER TABLE', 12::bigint)$$, 'the trigger sees every row');
TRUNCATE ddl_log;
ALTER TABLE t ALTER w TYPE bigint USING w + 1;
SELECT results_eq('SELECT tag, rows FROM ddl_log ORDER BY n', $$VALUES ('ALTER TABLE', NULL), ('rewrite of t', NULL), ('end of ALTER TABLE', 14::bigint)$$, 'with a rewrite');
-- Rows that triggers insert while the command runs have the shape of the table at that moment.
ALTER TABLE t ADD x int;
CREATE FUNCTION with_x() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO t (id, v, x) VALUES (300, 'with x', 7); COPY t (id, v, x) FROM PROGRAM 'printf "301\tcopied\t8\n"'; END $$;
CREATE EVENT TRIGGER x ON ddl_command_start WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION with_x();
INSERT INTO t (id, v, x) VALUES (299, 'before', 6);
ALTER TABLE t ALTER x TYPE text USING 'x is ' || x;
DROP EVENT TRIGGER x;
SELECT writecache.flush('t') >= 0;
SELECT results_eq('SELECT id, x FROM t WHERE id BETWEEN 299 AND 301 ORDER BY id', $$VALUES (299, 'x is 6'), (300, 'x is 7'), (301, 'x is 8')$$, 'rows of event triggers');
CREATE TABLE emptied (id int);
SELECT writecache.attach('emptied', 'write_back', flush_interval => '1 day');
CREATE FUNCTION refill() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO emptied VALUES (CASE TG_WHEN WHEN 'BEFORE' THEN 1 ELSE 2 END); RETURN NULL; END $$;
CREATE TRIGGER b BEFORE TRUNCATE ON emptied EXECUTE FUNCTION refill();
CREATE TRIGGER a AFTER TRUNCATE ON emptied EXECUTE FUNCTION refill();
TRUNCATE emptied;
SELECT is(content('emptied'), '(2)', 'TRUNCATE removes what its BEFORE trigger inserts, and not what its AFTER trigger does');
CREATE TABLE dropped (id int);
SELECT writecache.attach('dropped', 'write_back', flush_interval => '1 day');
INSERT INTO dropped VALUES (1);
TRUNCATE ddl_log;
DROP TABLE dropped;
SELECT results_eq('SELECT tag FROM ddl_log', $$VALUES ('dropped public.dropped')$$, 'dropped');
CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no DDL today'; END $$;
CREATE EVENT TRIGGER refuse ON ddl_command_end WHEN TAG IN ('ALTER TABLE', 'DROP TABLE') EXECUTE FUNCTION refuse();
INSERT INTO t VALUES (12, 'twelve', 12);
SELECT is(error_of('ALTER TABLE t DROP w'), 'P0001: no DDL today', 'refused');
SELECT is(error_of('DROP TABLE t'), 'P0001: no DDL today', 'refused');
SELECT is(writecache.flush('t') >= 0, true);
SELECT results_eq('SELECT id, v, w FROM t WHERE id IN (11, 12) ORDER BY id', $$VALUES (11, 'eleven', NULL::bigint), (12, 'twelve', 12)$$, 'the table is as it was');
DROP EVENT TRIGGER s; DROP EVENT TRIGGER e; DROP EVENT TRIGGER d; DROP EVENT TRIGGER r; DROP EVENT TRIGGER refuse;

-- DROP SCHEMA, DROP OWNED and DROP EXTENSION with rows pending in several tables, rolled back and for good.
CREATE ROLE pgtap_dropped_owner;
CREATE SCHEMA doomed AUTHORIZATION pgtap_dropped_owner;
CREATE TABLE doomed.a (id int PRIMARY KEY);
CREATE TABLE doomed.b (id int REFERENCES doomed.a);
CREATE TABLE outside (id int);
ALTER TABLE doomed.a OWNER TO pgtap_dropped_owner;
ALTER TABLE outside OWNER TO pgtap_dropped_owner;
SELECT writecache.attach(r, 'write_back', flush_interval => '1 day') FROM unnest('{doomed.a,doomed.b,outside}'::regclass[]) r;
INSERT INTO doomed.a VALUES (1), (2);
INSERT INTO outside VALUES (1);
INSERT INTO doomed.b VALUES (1);
SELECT throws_ok('DROP SCHEMA doomed', '2BP01', NULL, 'not without CASCADE');
BEGIN;
INSERT INTO doomed.a VALUES (3);
DROP SCHEMA doomed CASCADE;
ROLLBACK;
BEGIN;
DROP OWNED BY pgtap_dropped_owner CASCADE;
ROLLBACK;
BEGIN;
SET LOCAL client_min_messages = error;
DROP EXTENSION pg_writecache CASCADE;
SELECT is((SELECT string_agg(id::text, ' ' ORDER BY id) FROM doomed.a), '1 2', 'stored with DROP EXTENSION');
ROLLBACK;
SELECT is(content('doomed.a') || content('doomed.b') || content('outside'), '(1) (2)(1)(1)', 'as it was');
INSERT INTO doomed.a VALUES (4);
INSERT INTO outside VALUES (4);
DROP SCHEMA doomed CASCADE;
DROP OWNED BY pgtap_dropped_owner;
DROP ROLE pgtap_dropped_owner;
SELECT is(to_regclass('outside'), NULL, 'gone');
INSERT INTO t VALUES (13, 'thirteen', 13);
BEGIN;
INSERT INTO t VALUES (14, 'fourteen', 14);
DROP EXTENSION pg_writecache;
INSERT INTO t VALUES (15, 'fifteen', 15);
COMMIT;
SELECT results_eq('SELECT id FROM t WHERE id BETWEEN 12 AND 15 ORDER BY id', 'VALUES (12), (13), (14), (15)', 'DROP EXTENSION leaves every row in its table');
CREATE EXTENSION pg_writecache;
SELECT is((SELECT count(*) FROM writecache.tables), 0::bigint, 'a new life begins');
SELECT is((SELECT count(*) FROM writecache.buffer_queues()), 0::bigint, 'without queues');

-- A new partition beside a default one with pending rows that belong to it: refused, as if they were stored; else they stay.
CREATE TABLE listed (k int, v int) PARTITION BY LIST (k);
CREATE TABLE listed_rest PARTITION OF listed DEFAULT PARTITION BY LIST (k);
CREATE TABLE listed_rest_all PARTITION OF listed_rest DEFAULT;
SELECT writecache.attach('listed_rest_all', 'write_back', flush_interval => '1 day');
INSERT INTO listed_rest_all VALUES (3, 1), (4, 1);
SELECT throws_ok('CREATE TABLE listed_3 PARTITION OF listed FOR VALUES IN (3)', '23514', 'updated partition constraint for default partition "listed_rest" would be violated by some row', 'a leaf is attached');
SELECT is((SELECT rows_pending FROM writecache.stat_write_back WHERE relation = 'listed_rest_all'::regclass), 2::bigint, 'they are pending again');
CREATE TABLE listed_5 PARTITION OF listed FOR VALUES IN (5);
SELECT is((SELECT rows_pending FROM writecache.stat_write_back WHERE relation = 'listed_rest_all'::regclass), 0::bigint, 'they are stored');
SELECT results_eq('SELECT tableoid::regclass::text, k FROM listed ORDER BY k', $$VALUES ('listed_rest_all', 3), ('listed_rest_all', 4)$$);
SELECT writecache.detach('listed_rest_all');
SELECT writecache.attach('listed', 'write_back', flush_interval => '1 day');
INSERT INTO listed VALUES (6, 1), (7, 1);
SELECT throws_ok('CREATE TABLE listed_6 PARTITION OF listed FOR VALUES IN (6)', '23514', 'updated partition constraint for default partition "listed_rest" would be violated by some row', 'the root is attached');
CREATE TABLE listed_8 PARTITION OF listed FOR VALUES IN (8);
INSERT INTO listed VALUES (8, 1);
SELECT writecache.flush();
SELECT is((SELECT string_agg(tableoid::regclass || ':' || k, ' ' ORDER BY k) FROM listed), 'listed_rest_all:3 listed_rest_all:4 listed_rest_all:6 listed_rest_all:7 listed_8:8');
SELECT is_empty($$SELECT * FROM writecache.rejected WHERE relation::text LIKE 'listed%'$$, 'none is rejected');

SELECT * FROM finish();
