-- What cannot be attached is refused with a reason and a way out; who may attach, alter and detach.
\ir ../tools/twins.psql
SELECT * FROM no_plan();

CREATE ROLE pgtap_attach_owner;
CREATE ROLE pgtap_attach_member IN ROLE pgtap_attach_owner;
CREATE ROLE pgtap_attach_stranger;
CREATE FUNCTION refused(statement text, expected text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
  before bigint := (SELECT count(*) FROM writecache.attached);
BEGIN
  RETURN NEXT is(error_of(statement), expected, 'refused: ' || statement);
  RETURN NEXT is((SELECT count(*) FROM writecache.attached), before, 'nothing attached or detached');
END $$;

CREATE TABLE t (id int PRIMARY KEY);
CREATE TEMP TABLE temporary (id int);
CREATE UNLOGGED TABLE unlogged (id int);
CREATE VIEW v AS SELECT * FROM t;
CREATE MATERIALIZED VIEW mv AS SELECT * FROM t;
CREATE SEQUENCE seq;
CREATE TYPE composite AS (a int);
CREATE TABLE long_values (v text);
SELECT refused($$SELECT writecache.attach('temporary', 'write_back')$$, E'42809: cannot attach temporary table "temporary" as write_back\nHINT: Its rows are visible to one session only, and so never reach the flush worker.');
SELECT refused($$SELECT writecache.attach('unlogged', 'write_back')$$, E'42809: cannot attach unlogged table "unlogged" as write_back\nHINT: A crash empties it; use ALTER TABLE ... SET LOGGED first.');
SELECT refused($$SELECT writecache.attach('v', 'write_back')$$, E'42809: cannot attach view "v" as write_back\nHINT: Attach the table that the view inserts into.');
SELECT refused($$SELECT writecache.attach('mv', 'write_back')$$, E'42809: cannot attach materialized view "mv" as write_back\nHINT: Attach an ordinary table, a partitioned table or a foreign table that accepts INSERT.');
SELECT refused($$SELECT writecache.attach('seq', 'write_back')$$, E'42809: cannot attach relation "seq" as write_back\nHINT: Attach an ordinary table, a partitioned table or a foreign table that accepts INSERT.');
SELECT refused($$SELECT writecache.attach('composite', 'write_back')$$, E'42809: cannot attach relation "composite" as write_back\nHINT: Attach an ordinary table, a partitioned table or a foreign table that accepts INSERT.');
SELECT refused($$SELECT writecache.attach('t_pkey', 'write_back')$$, E'42809: cannot attach relation "t_pkey" as write_back\nHINT: Attach an ordinary table, a partitioned table or a foreign table that accepts INSERT.');
SELECT refused($$SELECT writecache.attach('pg_class', 'write_back')$$, E'42809: cannot attach system catalog "pg_class" as write_back\nHINT: Attach an ordinary table, a partitioned table or a foreign table that accepts INSERT.');
SELECT refused($$SELECT writecache.attach('pg_largeobject', 'write_back')$$, E'42809: cannot attach system catalog "pg_largeobject" as write_back\nHINT: Attach an ordinary table, a partitioned table or a foreign table that accepts INSERT.');
SELECT refused($$SELECT writecache.attach('pg_authid', 'write_back')$$, E'42809: cannot attach system catalog "pg_authid" as write_back\nHINT: Attach an ordinary table, a partitioned table or a foreign table that accepts INSERT.');
SELECT refused($$SELECT writecache.attach('information_schema.sql_features', 'write_back')$$, E'42809: cannot attach system catalog "sql_features" as write_back\nHINT: Attach an ordinary table, a partitioned table or a foreign table that accepts INSERT.');
SELECT matches(error_of(format('SELECT writecache.attach(%L, %L)', (SELECT reltoastrelid::regclass FROM pg_class WHERE oid = 'long_values'::regclass), 'write_back')), '^42809: cannot attach relation "pg_toast_\d+" as write_back', 'a TOAST table');
SELECT refused($$SELECT writecache.attach('writecache.attached', 'write_back')$$, E'42809: cannot attach table of the extension "attached" as write_back\nHINT: Attach an ordinary table, a partitioned table or a foreign table that accepts INSERT.');
SELECT refused($$SELECT writecache.attach('writecache.rejected_rows', 'write_back')$$, E'42809: cannot attach table of the extension "rejected_rows" as write_back\nHINT: Attach an ordinary table, a partitioned table or a foreign table that accepts INSERT.');
SELECT refused($$SELECT writecache.attach('writecache.watermark', 'write_back')$$, E'42809: cannot attach table of the extension "watermark" as write_back\nHINT: Attach an ordinary table, a partitioned table or a foreign table that accepts INSERT.');
SELECT refused($$SELECT writecache.attach('writecache.rejected', 'write_back')$$, E'42809: cannot attach view "rejected" as write_back\nHINT: Attach the table that the view inserts into.');
SELECT refused($$SELECT writecache.attach(4000000000::oid, 'write_back')$$, '42P01: relation with OID 4000000000 does not exist');
SELECT refused($$SELECT writecache.attach(0::oid, 'write_back')$$, '42P01: relation with OID 0 does not exist');
SELECT refused($$SELECT writecache.attach('no_such_table', 'write_back')$$, '42P01: relation "no_such_table" does not exist');
SELECT refused($$SELECT writecache.attach(NULL, 'write_back')$$, '22004: relation must not be null');
SELECT refused($$SELECT writecache.attach('t', NULL)$$, '22004: mode must not be null');
SELECT refused($$SELECT writecache.attach('t', 'write_sideways')$$, '22P02: invalid input value for enum writecache.mode: "write_sideways"');
SELECT refused($$SELECT writecache.attach('t')$$, E'42883: function writecache.attach(unknown) does not exist\nHINT: No function matches the given name and argument types. You might need to add explicit type casts.');
-- Foreign tables that cannot insert.
CREATE EXTENSION file_fdw;
CREATE EXTENSION postgres_fdw;
CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
CREATE FOREIGN TABLE file_table (a int) SERVER files OPTIONS (filename '/dev/null');
CREATE SERVER fixed FOREIGN DATA WRAPPER postgres_fdw OPTIONS (updatable 'false');
CREATE FOREIGN TABLE fixed_table (a int) SERVER fixed;
CREATE FOREIGN DATA WRAPPER no_handler;
CREATE SERVER no_handler FOREIGN DATA WRAPPER no_handler;
CREATE FOREIGN TABLE no_handler (a int) SERVER no_handler;
SELECT refused($$SELECT writecache.attach('file_table', 'write_back')$$, E'42809: cannot attach foreign table without INSERT "file_table" as write_back\nHINT: Its foreign-data wrapper or its options forbid INSERT.');
SELECT refused($$SELECT writecache.attach('fixed_table', 'write_back')$$, E'42809: cannot attach foreign table without INSERT "fixed_table" as write_back\nHINT: Its foreign-data wrapper or its options forbid INSERT.');
SELECT refused($$SELECT writecache.attach('no_handler', 'write_back')$$, '55000: foreign-data wrapper "no_handler" has no handler');

-- Triggers on INSERT, of the table or of a partition; not those of other events, internal or disabled ones.
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TABLE with_trigger (a int);
CREATE TRIGGER before_insert BEFORE INSERT ON with_trigger FOR EACH ROW EXECUTE FUNCTION nothing();
SELECT refused($$SELECT writecache.attach('with_trigger', 'write_back')$$, E'55000: cannot attach table "with_trigger" as write_back: "with_trigger" has triggers on INSERT\nDETAIL: Trigger "before_insert" would run when rows are flushed, as the owner of the table.\nHINT: Pass allow_triggers => true if that is what you want.');
ALTER TABLE with_trigger DISABLE TRIGGER before_insert;
SELECT is(error_of($$SELECT writecache.attach('with_trigger', 'write_back')$$), NULL, 'a disabled trigger does not count');
SELECT writecache.detach('with_trigger');
ALTER TABLE with_trigger ENABLE REPLICA TRIGGER before_insert;
SELECT isnt(error_of($$SELECT writecache.attach('with_trigger', 'write_back')$$), NULL, 'one for replicas does: it fires in some sessions');
ALTER TABLE with_trigger ENABLE ALWAYS TRIGGER before_insert;
SELECT isnt(error_of($$SELECT writecache.attach('with_trigger', 'write_back')$$), NULL, 'one that always fires does');
DROP TRIGGER before_insert ON with_trigger;
CREATE TRIGGER after_insert AFTER INSERT OR UPDATE ON with_trigger FOR EACH ROW EXECUTE FUNCTION nothing();
SELECT isnt(error_of($$SELECT writecache.attach('with_trigger', 'write_back')$$), NULL, 'AFTER INSERT OR UPDATE');
DROP TRIGGER after_insert ON with_trigger;
CREATE CONSTRAINT TRIGGER later AFTER INSERT ON with_trigger DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION nothing();
SELECT isnt(error_of($$SELECT writecache.attach('with_trigger', 'write_back')$$), NULL, 'a constraint trigger');
DROP TRIGGER later ON with_trigger;
CREATE TRIGGER whole AFTER INSERT ON with_trigger FOR EACH STATEMENT EXECUTE FUNCTION nothing();
SELECT isnt(error_of($$SELECT writecache.attach('with_trigger', 'write_back')$$), NULL, 'a statement trigger');
SELECT is(error_of($$SELECT writecache.attach('with_trigger', 'write_back', allow_triggers => true)$$), NULL, 'allowed');
SELECT isnt(error_of($$SELECT writecache.alter('with_trigger', allow_triggers => false)$$), NULL, 'not taken back while there is one');
DROP TRIGGER whole ON with_trigger;
SELECT is(error_of($$SELECT writecache.alter('with_trigger', allow_triggers => false)$$), NULL, 'taken back');
CREATE TABLE other_triggers (a int PRIMARY KEY REFERENCES t);
CREATE TRIGGER u BEFORE UPDATE OR DELETE ON other_triggers FOR EACH ROW EXECUTE FUNCTION nothing();
CREATE TRIGGER tr BEFORE TRUNCATE ON other_triggers EXECUTE FUNCTION nothing();
SELECT is(error_of($$SELECT writecache.attach('other_triggers', 'write_back')$$), NULL, 'triggers of other events, and those of a foreign key');
CREATE TABLE parts (a int) PARTITION BY RANGE (a);
CREATE TABLE parts_sub PARTITION OF parts FOR VALUES FROM (0) TO (10) PARTITION BY RANGE (a);
CREATE TABLE parts_leaf PARTITION OF parts_sub FOR VALUES FROM (0) TO (5);
CREATE TRIGGER on_leaf AFTER INSERT ON parts_leaf FOR EACH ROW EXECUTE FUNCTION nothing();
SELECT refused($$SELECT writecache.attach('parts', 'write_back')$$, E'55000: cannot attach table "parts" as write_back: "parts_leaf" has triggers on INSERT\nDETAIL: Trigger "on_leaf" would run when rows are flushed, as the owner of the table.\nHINT: Pass allow_triggers => true if that is what you want.');
CREATE TABLE parent (a int);
CREATE TABLE child () INHERITS (parent);
CREATE TRIGGER on_child AFTER INSERT ON child FOR EACH ROW EXECUTE FUNCTION nothing();
SELECT is(error_of($$SELECT writecache.attach('parent', 'write_back')$$), NULL, 'no row of an INSERT into the parent reaches a child of plain inheritance');

-- A partition and its parent, parent and child: each for itself.
DROP TRIGGER on_leaf ON parts_leaf;
DROP TRIGGER on_child ON child;
SELECT is(error_of($$SELECT writecache.attach('parts_leaf', 'write_back')$$), NULL, 'a partition');
SELECT is(error_of($$SELECT writecache.attach('parts', 'write_back')$$), NULL, 'its parent');
SELECT is(error_of($$SELECT writecache.attach('parts_sub', 'write_back')$$), NULL, 'and what is between');
SELECT is(error_of($$SELECT writecache.attach('child', 'write_back')$$), NULL, 'a child');
INSERT INTO parts VALUES (1);
INSERT INTO parts_sub VALUES (2);
INSERT INTO parts_leaf VALUES (3);
INSERT INTO parent VALUES (1);
INSERT INTO child VALUES (2);
SELECT writecache.flush() >= 0;
SELECT results_eq('SELECT a, tableoid::regclass::text FROM parts ORDER BY a', $$VALUES (1, 'parts_leaf'), (2, 'parts_leaf'), (3, 'parts_leaf')$$, 'each row once');
SELECT results_eq('SELECT a, tableoid::regclass::text FROM parent ORDER BY a', $$VALUES (1, 'parent'), (2, 'child')$$, 'each row once');
SELECT results_eq($$SELECT relation::text, rows_captured FROM writecache.stat_write_back WHERE relation::text ~ '^(par|chi)' ORDER BY 1$$,
  $$VALUES ('child', 1::bigint), ('parent', 1), ('parts', 1), ('parts_leaf', 1), ('parts_sub', 1)$$, 'each captured for the table it was inserted into');

-- Twice, not at all, and things that are not attached.
SELECT is(error_of($$SELECT writecache.attach('t', 'write_back')$$), NULL, 'once');
SELECT refused($$SELECT writecache.attach('t', 'write_back')$$, E'42710: table "t" is attached already\nHINT: Change its options with writecache.alter(), or its mode after writecache.detach().');
SELECT refused($$SELECT writecache.attach('t', 'write_back', flush_rows => 5)$$, E'42710: table "t" is attached already\nHINT: Change its options with writecache.alter(), or its mode after writecache.detach().');
CREATE TABLE other (a int);
SELECT refused($$SELECT writecache.alter('other')$$, '42704: table "other" is not attached');
SELECT refused($$SELECT writecache.alter('v', flush_rows => 1)$$, '42704: table "v" is not attached');
SELECT refused($$SELECT writecache.alter('pg_class')$$, '42704: table "pg_class" is not attached');
SELECT refused($$SELECT writecache.alter(NULL)$$, '22004: relation must not be null');
SELECT refused($$SELECT writecache.alter(4000000000::oid)$$, '42P01: relation with OID 4000000000 does not exist');
SELECT refused($$SELECT writecache.detach('other')$$, '42704: table "other" is not attached');
SELECT refused($$SELECT writecache.detach('v')$$, '42704: table "v" is not attached');
SELECT refused($$SELECT writecache.detach(4000000000::oid)$$, '42P01: relation with OID 4000000000 does not exist');
SELECT refused($$SELECT writecache.detach(NULL)$$, NULL);

-- Later changes that would make it one of those.
SELECT refused($$ALTER TABLE t SET UNLOGGED$$, E'55000: cannot make table "t" unlogged while it is attached\nDETAIL: A crash would empty the table of rows that were acknowledged.\nHINT: Call writecache.detach() first.');
SELECT refused($$ALTER TABLE IF EXISTS public.t ALTER id SET STATISTICS 5, SET UNLOGGED$$, E'55000: cannot make table "t" unlogged while it is attached\nDETAIL: A crash would empty the table of rows that were acknowledged.\nHINT: Call writecache.detach() first.');
-- Read-only transactions.
BEGIN READ ONLY;
SELECT refused($$SELECT writecache.attach('other', 'write_back')$$, '25006: cannot execute writecache.attach() in a read-only transaction');
SELECT refused($$SELECT writecache.alter('t', flush_rows => 1)$$, '25006: cannot execute writecache.alter() in a read-only transaction');
SELECT refused($$SELECT writecache.detach('t')$$, '25006: cannot execute writecache.detach() in a read-only transaction');
SELECT refused($$SELECT writecache.retry_rejected('t')$$, '25006: cannot execute writecache.retry_rejected() in a read-only transaction');
SELECT refused($$SELECT writecache.discard_rejected('t')$$, '25006: cannot execute writecache.discard_rejected() in a read-only transaction');
SELECT refused($$SELECT writecache.reject_pending('t')$$, '25006: cannot execute writecache.reject_pending() in a read-only transaction');
SELECT is(error_of($$SELECT writecache.flush()$$), NULL, 'flush only waits');
SELECT is(error_of($$SELECT writecache.wait(writecache.position())$$), NULL, 'and so does wait');
COMMIT;

-- The owner, members of the owner, superusers; nobody else, and a stranger costs nobody a lock.
CREATE TABLE owned (a int);
ALTER TABLE owned OWNER TO pgtap_attach_owner;
GRANT ALL ON owned TO pgtap_attach_stranger;
SELECT is(as_role('pgtap_attach_stranger', $$SELECT writecache.attach('owned', 'write_back')$$), '42501 must be owner of table owned', 'all privileges are not ownership');
SELECT is(as_role('pgtap_attach_stranger', $$SELECT writecache.attach('v', 'write_back')$$), '42501 must be owner of view v', 'of a view');
SELECT is(as_role('pgtap_attach_stranger', $$SELECT writecache.attach('t_pkey', 'write_back')$$), '42501 must be owner of index t_pkey', 'of an index');
SELECT is(as_role('pgtap_attach_stranger', $$SELECT writecache.attach('pg_class', 'write_back')$$), '42501 must be owner of table pg_class', 'of a catalog');
SELECT is(as_role('pgtap_attach_owner', $$SELECT writecache.attach('owned', 'write_back')$$), 'ok', 'the owner');
SELECT is(as_role('pgtap_attach_stranger', $$SELECT writecache.alter('owned', flush_rows => 5)$$), '42501 must be owner of table owned', 'alter');
SELECT is(as_role('pgtap_attach_stranger', $$SELECT writecache.detach('owned')$$), '42501 must be owner of table owned', 'detach');
SELECT is(as_role('pgtap_attach_member', $$SELECT writecache.alter('owned', flush_rows => 5)$$), 'ok', 'a member of the owner');
SELECT is(as_role('pgtap_attach_member', $$SELECT writecache.detach('owned')$$), 'ok', 'detaches as well');
SELECT is(as_role('pgtap_attach_member', $$SELECT writecache.attach('owned', 'write_back')$$), 'ok', 'and attaches');
ALTER TABLE owned OWNER TO pgtap_attach_stranger;
SELECT is(as_role('pgtap_attach_owner', $$SELECT writecache.detach('owned')$$), '42501 must be owner of table owned', 'no owner any more');
SELECT is(as_role('pgtap_attach_stranger', $$SELECT writecache.detach('owned')$$), 'ok', 'but he is');
DROP OWNED BY pgtap_attach_owner, pgtap_attach_member, pgtap_attach_stranger;
DROP ROLE pgtap_attach_owner, pgtap_attach_member, pgtap_attach_stranger;

SELECT * FROM finish();
