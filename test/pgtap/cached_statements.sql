-- Which statements read a cached table through the cache and which leave it alone; what get and get_many return; rows of all
-- sizes and kinds; rights.
SET client_min_messages = warning;
SELECT * FROM no_plan();
CREATE SCHEMA cs;
SET search_path = cs, public;
\ir ../tools/cached.psql

CREATE TABLE t (id int PRIMARY KEY, v text, w int UNIQUE, g int GENERATED ALWAYS AS (w * 2) STORED);
INSERT INTO t (id, v, w) SELECT n, 'v' || n, -n FROM generate_series(1, 1000) n;
CREATE TABLE other (id int PRIMARY KEY, t int);
INSERT INTO other SELECT n, n * 10 FROM generate_series(1, 20) n;
ANALYZE t, other;
SELECT writecache.attach('t', 'write_around');
CREATE VIEW tv AS SELECT id, v, upper(v) AS u FROM t WHERE w < 0;
CREATE MATERIALIZED VIEW tm AS SELECT id, v FROM t;
CREATE UNIQUE INDEX ON tm (id);
SELECT writecache.attach('tm', 'write_around', key => '{id}');
CREATE TABLE heir (PRIMARY KEY (id)) INHERITS (t);
CREATE TABLE loose AS TABLE t;
CALL settle();

-- Served.
SELECT ok(cached(q), q) FROM unnest(ARRAY[
  'SELECT * FROM t WHERE id = 5', 'SELECT * FROM ONLY t WHERE id = 5', 'SELECT v, g FROM ONLY t WHERE 5 = id AND w < 0 AND v LIKE ''v%''', 'SELECT t FROM ONLY t WHERE id = 5',
  'SELECT tableoid FROM ONLY t WHERE id = 5', 'SELECT count(*) FROM ONLY t WHERE id = 5', 'SELECT * FROM ONLY t WHERE id = ANY (ARRAY[1, 2, 3])',
  'SELECT * FROM ONLY t WHERE id IN (1, 2, 3) ORDER BY v LIMIT 2', 'SELECT * FROM ONLY t WHERE id = (SELECT max(id) FROM other)',
  'SELECT o.id, x.v FROM other o JOIN ONLY t x ON x.id = o.t WHERE o.id = 3', 'SELECT o.id, x.v FROM other o LEFT JOIN ONLY t x ON x.id = o.t WHERE o.id < 4',
  'SELECT id, (SELECT v FROM ONLY t x WHERE x.id = o.t) FROM other o', 'SELECT * FROM other o WHERE EXISTS (SELECT 1 FROM ONLY t x WHERE x.id = o.t AND x.w > 0 OFFSET 0)',
  'SELECT * FROM ONLY t WHERE id = 5 UNION ALL SELECT * FROM ONLY t WHERE id = 6', 'WITH c AS (SELECT * FROM ONLY t WHERE id = 5) SELECT * FROM c',
  'INSERT INTO loose SELECT * FROM ONLY t WHERE id = 5', 'SELECT * FROM tm WHERE id = 5', 'SELECT * FROM ONLY t WHERE id = 5 AND random() < 2',
  'SELECT * FROM ONLY t WHERE id = 5::bigint', 'UPDATE loose SET v = (SELECT v FROM ONLY t WHERE id = 7) WHERE id = 1']) q;
-- Not served.
SELECT ok(NOT cached(q), q) FROM unnest(ARRAY[
  'SELECT ctid FROM ONLY t WHERE id = 5', 'SELECT xmin, id FROM ONLY t WHERE id = 5', 'SELECT * FROM ONLY t WHERE id = 5 FOR UPDATE',
  'SELECT * FROM ONLY t WHERE id = 5 FOR KEY SHARE', 'SELECT o.* FROM ONLY t x JOIN other o ON o.t = x.id WHERE x.id = 5 FOR SHARE OF o',
  'SELECT * FROM ONLY t WHERE w = 5', 'SELECT * FROM ONLY t WHERE id > 5', 'SELECT * FROM ONLY t WHERE id IS NULL', 'SELECT * FROM ONLY t WHERE id <> ALL (ARRAY[1, 2])',
  'SELECT * FROM ONLY t WHERE id = 5 OR w = 5', 'SELECT * FROM ONLY t WHERE id + 0 = 5', 'SELECT * FROM ONLY t WHERE id = 5.5', 'SELECT * FROM ONLY t WHERE id = random()::int',
  'SELECT * FROM ONLY t TABLESAMPLE SYSTEM (100) WHERE id = 5', 'UPDATE ONLY t SET v = ''x'' WHERE id = 5', 'DELETE FROM ONLY t WHERE id = 5',
  'MERGE INTO other o USING (SELECT * FROM ONLY t WHERE id = 5) x ON o.id = x.id WHEN MATCHED THEN DO NOTHING', 'SELECT * FROM heir WHERE id = 5', 'SELECT * FROM loose WHERE id = 5',
  'SELECT pg_column_size(v) FROM ONLY t WHERE id = 5', 'SELECT count(*) FROM (SELECT v FROM ONLY t WHERE id = 5 OFFSET 0) s WHERE pg_column_compression(s.v) IS NULL']) q;
DROP TABLE heir;
SELECT ok(cached('SELECT * FROM t WHERE id = 5'), 'no longer a parent');
SELECT ok(cached('SELECT u FROM tv WHERE id = 5'), 'by way of a view');
SELECT is((SELECT u FROM tv WHERE id = 5), 'V5') FROM generate_series(1, 2);
SELECT is((SELECT g FROM t WHERE id = 5), -10, 'a generated column') FROM generate_series(1, 2);
SELECT results_eq('SELECT o.id, x.v FROM other o LEFT JOIN t x ON x.id = o.t AND x.g < -20 WHERE o.id < 4 ORDER BY 1', $$VALUES (1, NULL), (2, 'v20'), (3, 'v30')$$, 'an outer join')
  FROM generate_series(1, 2);
SELECT results_eq('SELECT id FROM t WHERE id = 5 AND id = 6', 'SELECT 1 WHERE false', 'a contradiction');
SELECT is((SELECT count(*) FROM t x, t y WHERE x.id = ANY (ARRAY[1, 2, 2]) AND y.id = x.id + 1), 2::bigint);
REFRESH MATERIALIZED VIEW tm;
SELECT is((SELECT v FROM tm WHERE id = 5), 'v5') FROM generate_series(1, 2);
UPDATE t SET v = 'new' WHERE id = 5;
SELECT is((SELECT v FROM tm WHERE id = 5), 'v5', 'as a materialized view is');
REFRESH MATERIALIZED VIEW CONCURRENTLY tm;
SELECT is((SELECT v FROM tm WHERE id = 5), 'new') FROM generate_series(1, 2);
-- Session settings and isolation levels choose at run time; SERIALIZABLE reads leave their traces in the index.
SELECT is((SELECT v FROM t WHERE id = 5), 'new') FROM generate_series(1, 2);
CREATE FUNCTION hits(query text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE plan json;
BEGIN
  EXECUTE 'EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) ' || query INTO plan;
  RETURN (plan #>> '{0,Plan,Cache Hits}')::int;
END $$;
SELECT is(hits('SELECT v FROM t WHERE id = 5'), 1);
SET writecache.read_cache = off;
SELECT is(hits('SELECT v FROM t WHERE id = 5'), 0, 'read_cache = off');
SELECT is((SELECT v FROM t WHERE id = 5), 'new');
SELECT is((writecache.get(NULL::t, 5)).v, 'new');
RESET writecache.read_cache;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT is(hits('SELECT v FROM t WHERE id = 5'), 0, 'SERIALIZABLE');
SELECT ok((SELECT count(*) > 0 FROM pg_locks WHERE mode = 'SIReadLock' AND relation IN ('t'::regclass, 't_pkey'::regclass)), 'its traces');
COMMIT;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT is(hits('SELECT v FROM t WHERE id = 5'), 1, 'REPEATABLE READ');
COMMIT;

-- Scans that begin anew, backwards, with parameters that change.
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT id FROM t WHERE id = ANY (ARRAY[3, 1, 2]);
SELECT results_eq('FETCH ALL FROM c', 'VALUES (3), (1), (2)', 'forward');
SELECT results_eq('FETCH BACKWARD ALL FROM c', 'VALUES (2), (1), (3)', 'backward');
SELECT results_eq('FETCH ABSOLUTE 2 FROM c', 'VALUES (1)');
COMMIT;
SELECT results_eq('SELECT n, (SELECT count(*) FROM t WHERE id = ANY (ARRAY[n, n + 1, NULL])) FROM generate_series(999, 1001) n', 'VALUES (999, 2::bigint), (1000, 1), (1001, 0)');
-- A cursor that is held, rows that are kept for later: none of them points into the cache.
BEGIN;
DECLARE h CURSOR WITH HOLD FOR SELECT v FROM t WHERE id = ANY (ARRAY[11, 12, 13]);
COMMIT;
UPDATE t SET v = 'changed' WHERE id IN (11, 12);
SELECT writecache.invalidate('t') > 0;
SELECT results_eq('FETCH ALL FROM h', $$VALUES ('v11'), ('v12'), ('v13')$$, 'a held cursor');
CLOSE h;
SELECT results_eq('SELECT array_agg(v ORDER BY id), max(v) FROM t WHERE id = ANY (ARRAY[11, 12, 13, 14])', $$VALUES (ARRAY['changed', 'changed', 'v13', 'v14'], 'v14')$$, 'aggregates') FROM generate_series(1, 2);

-- A function that reads what the statement around it has written so far, as without the cache.
CREATE FUNCTION seen(k int) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  RETURN (SELECT v FROM t WHERE id = k) || ' ' || (writecache.get(NULL::t, k)).v || ' ' || (SELECT v FROM t TABLESAMPLE SYSTEM (100) WHERE id = k);
END $$;
CREATE FUNCTION seen_before(k int) RETURNS text STABLE LANGUAGE plpgsql AS $$
BEGIN
  RETURN (SELECT v FROM t WHERE id = k) || ' ' || (writecache.get(NULL::t, k)).v || ' ' || (SELECT v FROM t TABLESAMPLE SYSTEM (100) WHERE id = k);
END $$;
UPDATE t SET v = 'old' WHERE id IN (21, 22);
SELECT is(seen(n), 'old old old') FROM unnest('{21,22,21}'::int[]) n;
UPDATE t SET v = 'new' FROM (SELECT 21 AS k UNION ALL SELECT 22) k WHERE t.id = k.k
  RETURNING is(seen(21) || ', ' || seen_before(21), 'new new new, old old old', 'a volatile function and a stable one');
SELECT is(seen(21), 'new new new');

-- Rows of all sizes: compressed, out of line, larger than the cache takes; NULLs; what they are made of survives the originals.
CREATE TABLE big (id int PRIMARY KEY, a text, b bytea, n numeric[], j jsonb);
ALTER TABLE big ALTER b SET STORAGE EXTERNAL;
INSERT INTO big SELECT k, CASE WHEN k % 3 <> 0 THEN repeat(md5(k::text), k * k) END, CASE WHEN k % 4 <> 0 THEN decode(repeat(md5(k::text), k * 20), 'hex') END,
  CASE WHEN k % 2 = 0 THEN array_fill(k / 7.0, ARRAY[k * 30]) END, jsonb_build_object('k', k, 'pad', repeat('j', k * 700)) FROM generate_series(1, 40) k;
INSERT INTO big VALUES (0, NULL, NULL, NULL, NULL), (41, repeat('L', 30000000), NULL, NULL, NULL);
SELECT writecache.attach('big', 'write_around');
CALL settle();
CREATE FUNCTION differ() RETURNS bigint LANGUAGE sql AS $$
  SELECT count(*) FROM (SELECT id, md5(b::text) AS m, b.j ->> 'k', b.n FROM big b WHERE id = ANY (ARRAY(SELECT generate_series(0, 42)))
                        EXCEPT SELECT id, md5(b::text), b.j ->> 'k', b.n FROM big b TABLESAMPLE SYSTEM (100)) d $$;
CREATE FUNCTION differ_got() RETURNS bigint LANGUAGE sql AS $$
  SELECT count(*) FROM (SELECT id, md5(b::text) AS m FROM big b TABLESAMPLE SYSTEM (100)
    EXCEPT SELECT id, md5(b::text) FROM writecache.get_many(NULL::big, ARRAY(SELECT generate_series(0, 42))) b) d $$;
SELECT is(differ(), 0::bigint, 'large rows') FROM generate_series(1, 2);
SELECT is(differ_got(), 0::bigint, 'large rows by get_many') FROM generate_series(1, 2);
SELECT ok(hits('SELECT a FROM big WHERE id = 20') = 1, 'large rows are cached');
SELECT is((SELECT length(a) FROM big WHERE id = 41), 30000000, 'too large a row') FROM generate_series(1, 2);
CREATE TABLE kept AS SELECT * FROM big WHERE id = ANY (ARRAY(SELECT generate_series(0, 40)));
CREATE TABLE composites AS SELECT writecache.get(NULL::big, k) AS r FROM generate_series(0, 40) k;
UPDATE big SET a = 'short', b = NULL, n = NULL WHERE id % 2 = 0;
DELETE FROM big WHERE id % 5 = 0;
VACUUM big;
SELECT is(differ(), 0::bigint, 'after VACUUM of what was out of line') FROM generate_series(1, 2);
SELECT is((SELECT count(*) FROM kept k, composites c WHERE k.id = (c.r).id AND k::text = c.r::text), 41::bigint, 'rows that were stored elsewhere');

-- get and get_many: order, duplicates, absent keys, many of them.
SELECT results_eq('SELECT id, w FROM writecache.get_many(NULL::t, ARRAY[7, 5, 7, 9999, NULL, 5])', 'VALUES (7, -7), (5, -5), (7, -7), (NULL, NULL), (NULL, NULL), (5, -5)', 'as asked for');
SELECT is((SELECT count(*) FROM writecache.get_many(NULL::t, ARRAY[7, 5]) WITH ORDINALITY g WHERE g.id = CASE g.ordinality WHEN 1 THEN 7 ELSE 5 END), 2::bigint);
SELECT is_empty('SELECT * FROM writecache.get_many(NULL::t, ARRAY[]::int[])');
SELECT is_empty('SELECT * FROM writecache.get_many(NULL::t, NULL::int[])');
SELECT results_eq('SELECT count(*), count(id), sum(id), sum(CASE WHEN id = 1 + n % 2000 OR 1 + n % 2000 > 1000 AND id IS NULL THEN 0 ELSE 1 END)
  FROM (SELECT g.id, g.ordinality - 1 AS n FROM writecache.get_many(NULL::t, ARRAY(SELECT 1 + k % 2000 FROM generate_series(0, 999999) k)) WITH ORDINALITY g) m',
  'VALUES (1000000::bigint, 500000::bigint, 250250000::bigint, 0::bigint)', 'a million keys');
SELECT results_eq('SELECT count(*), sum(id) FROM t WHERE id = ANY (ARRAY(SELECT 1 + k % 2000 FROM generate_series(0, 999999) k))', 'VALUES (1000::bigint, 500500::bigint)', 'a million keys with = ANY');
SELECT is(writecache.get(NULL::t, 9999), NULL, 'absent');
SELECT is((writecache.get(NULL::t, n)).w, -n) FROM generate_series(1, 3) n;
SELECT is((SELECT sum((writecache.get(NULL::t, o.t)).w) FROM other o), -2100::bigint, 'in a query');
SELECT is(writecache.evict('t', 7), true, 'evict');
SELECT is(writecache.evict('t', 7), false, 'nothing left to evict');
SELECT is(writecache.get(NULL::t, 7), (SELECT t FROM t WHERE id = 7));
SELECT is(writecache.evict('t', 7), true);
SELECT ok(writecache.invalidate('t') > 0, 'invalidate');
SELECT is(writecache.invalidate('t'), 0::bigint, 'nothing left');
SELECT throws_ok('SELECT writecache.get(NULL::other, 1)', '55000', 'rows of "other" are not cached');
SELECT throws_ok('SELECT writecache.get(NULL::t)', '42883');
SELECT throws_ok('SELECT writecache.get(1, 1)', '42804', 'the first argument must be of a table''s row type');
SELECT throws_ok('SELECT writecache.get(NULL::t, 1, 2)', '22023', 'the key of "t" has 1 columns, 2 were given');
SELECT throws_ok($$SELECT writecache.get(NULL::t, 'x')$$, '22P02');
SELECT throws_ok('SELECT writecache.get_many(NULL::t, 1)', '42883');
SELECT throws_ok('SELECT writecache.evict(NULL, 1)', '22004', 'relation must not be null');

-- Rights of whoever asks.
CREATE ROLE pgtap_cs_reader;
GRANT USAGE ON SCHEMA cs TO pgtap_cs_reader;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA cs TO pgtap_cs_reader;
SET ROLE pgtap_cs_reader;
SELECT throws_ok('SELECT v FROM t WHERE id = 5', '42501', 'permission denied for table t');
SELECT throws_ok('SELECT writecache.get(NULL::t, 5)', '42501', 'permission denied for table t');
SELECT throws_ok('SELECT writecache.get_many(NULL::t, ARRAY[5])', '42501', 'permission denied for table t');
SELECT throws_ok($$SELECT writecache.evict('t', 5)$$, '42501', 'permission denied for table t');
SELECT throws_ok($$SELECT writecache.invalidate('t')$$, '42501', 'permission denied for table t');
RESET ROLE;
GRANT SELECT (id, w) ON t TO pgtap_cs_reader;
SET ROLE pgtap_cs_reader;
SELECT is((SELECT w FROM t WHERE id = 5), -5, 'columns that may be read') FROM generate_series(1, 2);
SELECT throws_ok('SELECT v FROM t WHERE id = 5', '42501', 'permission denied for table t');
SELECT throws_ok('SELECT writecache.get(NULL::t, 5)', '42501', 'permission denied for table t', 'get needs them all');
RESET ROLE;
GRANT SELECT ON t TO pgtap_cs_reader;
-- Row-level security: the policy's conditions are conditions like others, before anything that could leak a row.
CREATE POLICY odd ON t FOR SELECT TO pgtap_cs_reader USING (w % 2 <> 0);
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE FUNCTION leak(int, text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$ BEGIN IF $1 % 2 = 0 THEN RAISE 'leaked %', $2; END IF; RETURN true; END $$;
GRANT EXECUTE ON FUNCTION leak TO pgtap_cs_reader;
SELECT is((SELECT count(*) FROM t WHERE id = ANY (ARRAY[5, 6])), 2::bigint, 'the owner sees all, and fills the cache');
SET ROLE pgtap_cs_reader;
SELECT results_eq('SELECT id FROM t WHERE id = ANY (ARRAY[5, 6]) AND leak(id, v)', 'VALUES (5)', 'policies') FROM generate_series(1, 2);
SELECT is(writecache.get(NULL::t, 6), NULL, 'get');
SELECT results_eq('SELECT id FROM writecache.get_many(NULL::t, ARRAY[6, 5, 6])', 'VALUES (NULL::int), (5), (NULL)', 'get_many');
SET row_security = off;
SELECT throws_ok('SELECT writecache.get(NULL::t, 5)', '42501', 'query would be affected by row-level security policy for table "t"');
RESET row_security;
RESET ROLE;
ALTER TABLE t DISABLE ROW LEVEL SECURITY;

SELECT * FROM finish();
DROP SCHEMA cs CASCADE;
DROP ROLE pgtap_cs_reader;
