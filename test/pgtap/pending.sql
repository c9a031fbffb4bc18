-- writecache.pending(): the rows of a table that are in the buffer and not in the table, for those who may read all of it.
\ir ../tools/twins.psql
SELECT * FROM no_plan();

CREATE TABLE t (id int, gone text, v text DEFAULT 'd', big text);
ALTER TABLE t DROP gone;
SELECT throws_ok('SELECT * FROM writecache.pending(NULL::t)', '55000', 'table "t" is not attached as write_back', 'not attached');
SELECT throws_ok('SELECT * FROM writecache.pending(1)', NULL, NULL, 'not a table');
SELECT writecache.attach('t', 'write_back', flush_interval => '1 day');
SELECT is_empty('SELECT * FROM writecache.pending(NULL::t)', 'nothing was ever staged');
INSERT INTO t VALUES (1, 'a', repeat('x', 20000)), (2, NULL, NULL);
SELECT results_eq('SELECT id, v, length(big) FROM writecache.pending(NULL::t) ORDER BY id', $$VALUES (1, 'a', 20000), (2, NULL, NULL)$$, 'what is pending');
SELECT is((SELECT count(*) FROM writecache.pending(NULL::t) p JOIN t USING (id)), 2::bigint, 'which the table shows, too');
SELECT results_eq('SELECT (p).id FROM (SELECT writecache.pending(NULL::t) AS p) s ORDER BY 1', 'VALUES (1), (2)', 'in the SELECT list');
SELECT is((SELECT count(*) FROM ONLY t, LATERAL writecache.pending(t) p), 4::bigint, 'LATERAL');
SELECT writecache.flush('t') >= 0;
SELECT is_empty('SELECT * FROM writecache.pending(NULL::t)', 'what is stored is not pending');
SELECT is((SELECT count(*) FROM t), 2::bigint, 'it is in the table');

-- More than one block, settings and the option read_pending do not hide it.
INSERT INTO t SELECT n, repeat('y', 100) FROM generate_series(1, 5000) n;
SELECT is((SELECT sum(id) FROM writecache.pending(NULL::t)), 12502500::bigint, 'many blocks');
SET writecache.read_pending = off;
SELECT is((SELECT count(*) FROM writecache.pending(NULL::t)), 5000::bigint, 'read_pending = off is about queries of the table');
SELECT is((SELECT count(*) FROM t), 2::bigint, 'which then see the table alone');
RESET writecache.read_pending;
SELECT writecache.alter('t', read_pending => false);
SELECT is((SELECT count(*) FROM writecache.pending(NULL::t)), 5000::bigint, 'and so is the option');
SELECT is((SELECT count(*) FROM t), 2::bigint, 'table alone');
SELECT writecache.alter('t', read_pending => true);

-- Own rows are pending once they are committed; before, a query of the table has them stored.
BEGIN;
INSERT INTO t VALUES (-1);
SELECT is((SELECT count(*) FROM writecache.pending(NULL::t)), 5000::bigint, 'own staged rows are not pending');
SELECT is((SELECT count(*) FROM t), 5003::bigint, 'the table shows them');
ROLLBACK;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT is((SELECT count(*) FROM writecache.pending(NULL::t)), 5000::bigint, 'at a snapshot');
SELECT writecache.flush('t') >= 0;
SELECT is((SELECT count(*) FROM writecache.pending(NULL::t)), 5000::bigint, 'where they stay pending');
SELECT is((SELECT count(*) FROM t), 5002::bigint, 'and are seen once');
COMMIT;
SELECT is((SELECT count(*) FROM writecache.pending(NULL::t)), 0::bigint, 'stored');

-- Columns that change.
INSERT INTO t VALUES (10);
PREPARE p AS SELECT * FROM writecache.pending(NULL::t);
SELECT lives_ok('EXECUTE p', 'prepared');
ALTER TABLE t ADD w int DEFAULT 7;
INSERT INTO t (id) VALUES (11);
SELECT results_eq('SELECT id, w FROM writecache.pending(NULL::t)', 'VALUES (11, 7)', 'a new column');

-- Partitions: rows of the whole through each part, in the columns of the part.
CREATE TABLE parts (id int, v text) PARTITION BY RANGE (id);
CREATE TABLE low PARTITION OF parts FOR VALUES FROM (0) TO (100);
CREATE TABLE high (v text, id int);
ALTER TABLE parts ATTACH PARTITION high FOR VALUES FROM (100) TO (200);
SELECT writecache.attach('parts', 'write_back', flush_interval => '1 day');
INSERT INTO parts VALUES (1, 'low'), (101, 'high');
SELECT results_eq('SELECT id, v FROM writecache.pending(NULL::parts) ORDER BY id', $$VALUES (1, 'low'), (101, 'high')$$, 'all');
SELECT results_eq('SELECT id, v FROM writecache.pending(NULL::low)', $$VALUES (1, 'low')$$, 'of one partition');
SELECT results_eq('SELECT * FROM writecache.pending(NULL::high)', $$VALUES ('high', 101)$$, 'of one with other columns');
SELECT writecache.detach('parts');
SELECT writecache.attach('high', 'write_back', flush_interval => '1 day');
INSERT INTO high VALUES ('more', 102);
SELECT results_eq('SELECT * FROM writecache.pending(NULL::parts)', $$VALUES (102, 'more')$$, 'an attached partition, through the whole');

-- Rights.
CREATE ROLE pgtap_reader;
CREATE ROLE pgtap_owner;
GRANT SELECT ON t TO pgtap_reader;
SELECT is(as_role('pgtap_reader', 'SELECT * FROM writecache.pending(NULL::t)'), 'ok', 'who may read the table');
REVOKE SELECT ON t FROM pgtap_reader;
SELECT is(as_role('pgtap_reader', 'SELECT * FROM writecache.pending(NULL::t)'), '42501 permission denied for table t', 'who may not');
GRANT SELECT (id) ON t TO pgtap_reader;
SELECT is(as_role('pgtap_reader', 'SELECT id FROM writecache.pending(NULL::t)'), '42501 permission denied for table t', 'some columns are not enough');
GRANT SELECT (v, big, w) ON t TO pgtap_reader;
SELECT is(as_role('pgtap_reader', 'SELECT id FROM writecache.pending(NULL::t)'), 'ok', 'all are');
GRANT SELECT ON t TO pgtap_reader;
ALTER TABLE t OWNER TO pgtap_owner;
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
SELECT is(as_role('pgtap_reader', 'SELECT * FROM writecache.pending(NULL::t)'),
  '0A000 pending rows of table "t" cannot be shown alone where row security applies', 'a policy applies');
SELECT is(as_role('pgtap_owner', 'SELECT * FROM writecache.pending(NULL::t)'), 'ok', 'not to the owner');
ALTER TABLE t FORCE ROW LEVEL SECURITY;
SELECT is(as_role('pgtap_owner', 'SELECT * FROM writecache.pending(NULL::t)'),
  '0A000 pending rows of table "t" cannot be shown alone where row security applies', 'unless it is forced');
SELECT lives_ok('SELECT * FROM writecache.pending(NULL::t)', 'superusers pass');

DROP OWNED BY pgtap_reader, pgtap_owner;
DROP ROLE pgtap_reader, pgtap_owner;

SELECT * FROM finish();
