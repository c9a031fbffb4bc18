-- writecache.warm: rows are in the cache before anybody asks for them.
\ir ../tools/twins.psql
\ir ../tools/cached.psql
SELECT * FROM no_plan();

CREATE TABLE t (id int PRIMARY KEY, v text);
INSERT INTO t SELECT g, 'v' || g FROM generate_series(1, 1000) g;
SELECT throws_ok($$SELECT writecache.warm('t')$$, '55000', 'rows of "t" are not cached');
SELECT writecache.attach('t', 'write_around');
SELECT is(writecache.warm('t'), 1000::bigint, 'the whole table');
SELECT is(entries('t'), 1000::bigint);
SELECT is(found('SELECT * FROM t WHERE id = ANY (ARRAY(SELECT generate_series(1, 1000)))'), '1000 0 0');
SELECT is((SELECT v FROM t WHERE id = 77), 'v77');
SELECT writecache.reset_stat_cache('t');
SELECT is(writecache.warm('t'), 1000::bigint, 'again');
SELECT results_eq($$SELECT entries, hits_by_page, hits_by_tid, misses FROM writecache.stat_cache$$, $$VALUES (1000::bigint, 0::bigint, 0::bigint, 0::bigint)$$, 'these are no reads');
SELECT is_empty('SELECT * FROM writecache.stat_progress_warm', 'its progress ends with it');

-- Limits.
SELECT writecache.invalidate('t');
SELECT is(writecache.warm('t', max_rows => 10), 10::bigint, 'so many rows');
SELECT is(found('SELECT * FROM t WHERE id > 990 AND id = ANY (ARRAY(SELECT generate_series(991, 1000)))'), '10 0 0', 'the largest keys');
SELECT is(writecache.warm('t', max_rows => 0), 0::bigint);
SELECT is(writecache.warm('t', max_bytes => 0), 0::bigint);
SELECT throws_ok($$SELECT writecache.warm('t', max_rows => -1)$$, '22023', '"max_rows" must not be negative');
SELECT throws_ok($$SELECT writecache.warm('t', max_bytes => -1)$$, '22023', '"max_bytes" must not be negative');
SELECT writecache.invalidate('t');
SELECT cmp_ok(writecache.warm('t', max_bytes => 10000), '<', 200::bigint, 'so many bytes');
SELECT ok(bytes BETWEEN 10000 AND 11000) FROM writecache.stat_cache;

-- Queries.
SELECT writecache.invalidate('t');
SELECT is(writecache.warm('t', 'SELECT id FROM t WHERE id % 10 = 0'), 100::bigint);
SELECT is(entries('t'), 100::bigint);
SELECT is(found('SELECT * FROM t WHERE id = ANY (''{10,20,21}'')'), '2 0 1');
SELECT is(writecache.warm('t', 'VALUES (1), (1), (NULL), (5000), (2)'), 3::bigint, 'twice, null, absent');
SELECT is(writecache.warm('t', 'SELECT ''3'''), 1::bigint, 'a literal');
SELECT is(writecache.warm('t', 'SELECT 4::bigint'), 1::bigint, 'another type');
SELECT is(found('SELECT * FROM t WHERE id = ANY (''{1,2,3,4}'')'), '4 0 0');
SELECT is(writecache.warm('t', 'SELECT id FROM t ORDER BY id DESC', 5), 5::bigint, 'in the order of the query');
SELECT is(found('SELECT * FROM t WHERE id = ANY (''{996,997,998,999}'')'), '4 0 0');
SELECT is(writecache.warm('t', 'SELECT 1 WHERE false'), 0::bigint);
SELECT throws_ok($$SELECT writecache.warm('t', 'SELECT 1, 2')$$, '22023', 'the key of "t" has 1 columns, 2 were given');
SELECT throws_ok($$SELECT writecache.warm('t', 'SELECT now()')$$, '42804', 'key column "id" is of type integer but the argument is of type timestamp with time zone');
SELECT throws_ok($$SELECT writecache.warm('t', 'SELECT nothing FROM t')$$, '42703', 'column "nothing" does not exist');
SELECT throws_ok($$SELECT writecache.warm('t', 'DELETE FROM t RETURNING id')$$, '0A000');
SELECT throws_ok($$SELECT writecache.warm('t', 'SELECT 1; SELECT 2')$$, '22023', 'the query must be one that returns keys');
SELECT throws_ok($$SELECT writecache.warm('t', 'SET work_mem = 1000')$$, '22023', 'the query must be one that returns keys');
SELECT throws_ok($$SELECT writecache.warm('t', 'SELECT 1 / (id - 5) FROM t ORDER BY id')$$, '22012', 'division by zero', 'an error of the query');
SELECT throws_ok($$SELECT writecache.warm(NULL)$$, '22004', 'relation must not be null');
SELECT throws_ok($$SELECT writecache.warm(1)$$, '42P01');
SELECT is((SELECT count(*) FROM t), 1000::bigint, 'nothing has changed');

-- What others may not see does not get in; what is old is made new.
BEGIN;
UPDATE t SET v = 'mine' WHERE id = 50;
INSERT INTO t VALUES (2000, 'mine');
SELECT writecache.invalidate('t');
SELECT is(writecache.warm('t'), 999::bigint, 'all but own rows');
ROLLBACK;
SELECT is((SELECT v FROM t WHERE id = 50), 'v50');
SELECT is_empty('SELECT * FROM t WHERE id = 2000');
UPDATE t SET v = 'new';
SELECT is(writecache.warm('t'), 1000::bigint);
SELECT is(found('SELECT * FROM t WHERE id = ANY (ARRAY(SELECT generate_series(1, 1000)))'), '1000 0 0');
SELECT is((SELECT count(*) FROM t WHERE v = 'new' AND id = ANY (ARRAY(SELECT generate_series(1, 1000)))), 1000::bigint);
UPDATE t SET v = 'newer' WHERE id <= 100;
SELECT is(writecache.warm('t', 'SELECT id FROM t WHERE id <= 100'), 100::bigint, 'by keys');
SELECT is(found('SELECT * FROM t WHERE id = ANY (ARRAY(SELECT generate_series(1, 100)))'), '100 0 0');

-- No room for all: what was loaded first stays, others make room. That there is no room any more shows when one row has made
-- room for another; which one depends on the relation's OID.
CREATE TABLE large (id int PRIMARY KEY, v text);
INSERT INTO large SELECT g, repeat('x', 100) FROM generate_series(1, 1000) g;
INSERT INTO large SELECT 1000 + g, repeat('x', 2000) FROM generate_series(1, (SELECT cache_bytes / 1000 FROM writecache.cache_status())) g;
SELECT count(*) AS all_rows FROM large \gset
SELECT writecache.attach('large', 'write_around');
SELECT writecache.warm('large') AS warmed \gset
SELECT cmp_ok(:warmed, '<', :all_rows, 'not all');
SELECT ok(used_bytes > cache_bytes / 2, 'a good part') FROM writecache.cache_status();
SELECT cmp_ok(entries('large'), '>=', :warmed - 1::bigint, 'what was warmed is there') ;
SELECT cmp_ok(split_part(found(format('SELECT * FROM large WHERE id = ANY (ARRAY(SELECT generate_series(%s, %s)))', :all_rows - 19, :all_rows)), ' ', 1)::int, '>=', 19, 'the largest keys');
SELECT writecache.invalidate('large');
SELECT cmp_ok(writecache.warm('large', 'SELECT id FROM large ORDER BY id DESC'), '<', :all_rows::bigint, 'by keys');
SELECT cmp_ok(split_part(found(format('SELECT * FROM large WHERE id = ANY (ARRAY(SELECT generate_series(%s, %s)))', :all_rows - 19, :all_rows)), ' ', 1)::int, '>=', 19, 'the hottest');
SELECT is(writecache.warm('t'), 1000::bigint, 'another relation finds room in a full cache');
SELECT is(found('SELECT * FROM t WHERE id = ANY (ARRAY(SELECT generate_series(1, 1000)))'), '1000 0 0');
SELECT writecache.detach('large');

-- Keys of several columns, nulls, other indexes.
CREATE TABLE k (a numeric, b text COLLATE "C", c int UNIQUE, PRIMARY KEY (b, a));
INSERT INTO k SELECT g, 'b' || g % 7, CASE WHEN g % 2 = 0 THEN g END FROM generate_series(1, 100) g;
SELECT writecache.attach('k', 'cache_aside');
SELECT is(writecache.warm('k'), 100::bigint);
SELECT is(found('SELECT * FROM k WHERE a = 5.0 AND b = ''b5'''), '1 0 0');
SELECT writecache.invalidate('k');
SELECT is(writecache.warm('k', 'SELECT b, a::int FROM k WHERE a < 10'), 9::bigint);
SELECT is(found('SELECT * FROM k WHERE a = 5.0 AND b = ''b5'''), '1 0 0');
SELECT writecache.alter('k', key => '{c}');
SELECT writecache.invalidate('k');
SELECT is(writecache.warm('k'), 50::bigint, 'a null is no key');
SELECT is(found('SELECT * FROM k WHERE c = 10'), '1 0 0');

-- Partitions.
CREATE TABLE p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (100);
CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (100) TO (1000) PARTITION BY RANGE (id);
CREATE TABLE p21 (v text, x int, id int NOT NULL);
ALTER TABLE p21 DROP COLUMN x;
ALTER TABLE p2 ATTACH PARTITION p21 FOR VALUES FROM (100) TO (200);
INSERT INTO p SELECT g, 'v' || g FROM generate_series(1, 199) g;
SELECT writecache.attach('p', 'write_through');
SELECT is(writecache.warm('p'), 199::bigint);
SELECT is(entries('p1') || ' ' || entries('p21'), '99 100');
SELECT results_eq('SELECT * FROM p WHERE id = ANY (''{50,150}'') ORDER BY id', $$VALUES (50, 'v50'), (150, 'v150')$$);
SELECT writecache.invalidate('p');
SELECT is(writecache.warm('p', 'SELECT generate_series(90, 109)'), 20::bigint, 'by keys');
SELECT is(entries('p1') || ' ' || entries('p21'), '10 10');
SELECT writecache.invalidate('p');
SELECT is(writecache.warm('p21', max_rows => 7), 7::bigint, 'one partition');
SELECT is(entries('p1') || ' ' || entries('p21'), '0 7');
SELECT is(writecache.warm('p', max_rows => 50), 50::bigint);

-- Materialized views, views.
CREATE MATERIALIZED VIEW m AS SELECT id, v FROM t WHERE id <= 10;
CREATE UNIQUE INDEX ON m (id);
SELECT writecache.attach('m', 'write_around', key => '{id}');
SELECT is(writecache.warm('m'), 10::bigint, 'a materialized view');
CREATE VIEW w AS SELECT id, upper(v) AS v FROM t;
SELECT writecache.attach('w', 'cache_aside', key => '{id}', max_staleness => '1 h');
SELECT throws_ok($$SELECT writecache.warm('w')$$, '22023', 'rows of "w" have no index to read');
SELECT is(writecache.warm('w', 'SELECT generate_series(991, 1010)'), 10::bigint, 'a view');
UPDATE t SET v = 'changed' WHERE id = 995;
SELECT is(writecache.get(NULL::w, 995), '(995,NEW)'::w, 'as old as allowed');
BEGIN;
UPDATE t SET v = v WHERE id = 1;
SELECT throws_ok($$SELECT writecache.warm('w', 'SELECT 1')$$, '55000', 'this transaction cannot cache rows of "w"');
ROLLBACK;

-- Where nothing can be cached.
SET writecache.read_cache = off;
SELECT throws_ok($$SELECT writecache.warm('t')$$, '55000', 'this transaction cannot cache rows of "t"');
RESET writecache.read_cache;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT throws_ok($$SELECT writecache.warm('t')$$, '55000', 'this transaction cannot cache rows of "t"');
ROLLBACK;
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SELECT is(writecache.warm('t', 'SELECT 1'), 1::bigint, 'in one that only reads');
COMMIT;
SELECT is(writecache.warm('t', 'SELECT writecache.warm(''t'', ''SELECT 5'')::int + 5'), 1::bigint, 'within itself');

-- For whom.
CREATE ROLE pgtap_warm;
CREATE ROLE pgtap_warm_column;
GRANT SELECT (id) ON t TO pgtap_warm_column;
SET ROLE pgtap_warm;
SELECT throws_ok($$SELECT writecache.warm('t')$$, '42501', 'permission denied for table t');
RESET ROLE;
SET ROLE pgtap_warm_column;
SELECT throws_ok($$SELECT writecache.warm('t')$$, '42501', 'permission denied for table t', 'all columns');
RESET ROLE;
GRANT SELECT ON t TO pgtap_warm;
CREATE TABLE secret (id int);
SET ROLE pgtap_warm;
SELECT is(writecache.warm('t', max_rows => 1), 1::bigint);
SELECT throws_ok($$SELECT writecache.warm('t', 'SELECT id FROM secret')$$, '42501', 'permission denied for table secret', 'the query runs as the caller');
SELECT lives_ok('SELECT * FROM writecache.stat_progress_warm');
RESET ROLE;
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY few ON t TO pgtap_warm USING (id < 10);
SET ROLE pgtap_warm;
SELECT throws_ok($$SELECT writecache.warm('t')$$, '0A000', 'cannot warm "t": row security applies to this role');
RESET ROLE;
SELECT is(writecache.warm('t', max_rows => 3), 3::bigint, 'not to its owner');
DROP OWNED BY pgtap_warm, pgtap_warm_column;
DROP ROLE pgtap_warm, pgtap_warm_column;
SELECT * FROM finish();
