-- write_through and cache_aside: what a transaction wrote is in the cache, or out of it, when it has committed. Nothing of
-- it is there after a rollback. And the numbers of stat_cache.
\ir ../tools/twins.psql
SELECT * FROM no_plan();
CREATE FUNCTION entries(name text) RETURNS bigint LANGUAGE sql AS 'SELECT entries FROM writecache.stat_cache WHERE relation = name::regclass';
-- How the rows with these keys were found, and what they are.
CREATE FUNCTION found(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE line text; result text := '';
BEGIN
  FOR line IN EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) ' || query LOOP
    IF line ~ 'Proofs by|Cache Misses' THEN result := result || substring(line FROM '\d+$') || ' '; END IF;
  END LOOP;
  RETURN rtrim(result);
END $$;
COMMENT ON FUNCTION found(text) IS 'proofs by page, by TID, misses';

CREATE TABLE t (id int PRIMARY KEY, v text, n int DEFAULT 0);
INSERT INTO t SELECT g, 'v' || g FROM generate_series(1, 10) g;
SELECT writecache.attach('t', 'write_through');
SELECT results_eq('SELECT * FROM writecache.stat_cache', $$VALUES ('t'::regclass, 'write_through'::writecache.mode, 0::bigint, 0::bigint, 0::bigint, 0::bigint, 0::bigint, 0::bigint, 0::bigint, 0::bigint, 0::bigint, 0::bigint, NULL::numeric)$$, 'nothing yet');
SELECT results_eq('SELECT relation::text, when_full, read_pending, on_conflict, allow_triggers FROM writecache.tables', $$VALUES ('t', NULL::text, NULL::boolean, NULL::text, NULL::boolean)$$, 'options of the buffer are none of its own');

-- Each way to write a row.
UPDATE t SET v = 'one' WHERE id = 1;
SELECT is(found('SELECT * FROM t WHERE id = 1'), '1 0 0', 'UPDATE puts the new row in');
SELECT is((SELECT v FROM t WHERE id = 1), 'one');
UPDATE t SET v = 'ONE' WHERE id = 1;
SELECT is(found('SELECT * FROM t WHERE id = 1'), '1 0 0', 'a chain of HOT updates');
INSERT INTO t VALUES (11, 'eleven'), (12, 'twelve');
SELECT is(found('SELECT * FROM t WHERE id = ANY (''{11,12}'')'), '2 0 0', 'INSERT');
SELECT results_eq($$INSERT INTO t (id, v) SELECT g, 'v' FROM generate_series(13, 14) g RETURNING id, v || '!', tableoid::regclass::text$$, $$VALUES (13, 'v!', 't'), (14, 'v!', 't')$$, 'RETURNING gives what was asked for');
SELECT is(found('SELECT * FROM t WHERE id = ANY (''{13,14}'')'), '2 0 0', 'INSERT … SELECT … RETURNING');
INSERT INTO t VALUES (1, 'conflict') ON CONFLICT (id) DO UPDATE SET n = t.n + 1;
SELECT is(found('SELECT * FROM t WHERE id = 1'), '1 0 0', 'ON CONFLICT DO UPDATE');
INSERT INTO t VALUES (1, 'conflict') ON CONFLICT DO NOTHING;
SELECT is((SELECT v || n FROM t WHERE id = 1), 'ONE1', 'ON CONFLICT DO NOTHING');
UPDATE t SET id = 21 WHERE id = 2;
SELECT is(found('SELECT * FROM t WHERE id = 21'), '1 0 0', 'under the new key');
UPDATE t SET id = 1000 + id WHERE id IN (11, 12);
SELECT is(found('SELECT * FROM t WHERE id = ANY (''{11,12}'')'), '0 0 2', 'and not under the old one');
SELECT results_eq($$UPDATE t SET v = a.x FROM (VALUES (3, 'three'), (4, 'four')) a (id, x) WHERE t.id = a.id RETURNING t.id, a.x, t.v = a.x$$, $$VALUES (3, 'three', true), (4, 'four', true)$$, 'UPDATE … FROM');
SELECT is(found('SELECT * FROM t WHERE id = ANY (''{3,4}'')'), '2 0 0');
SELECT is(entries('t'), 8::bigint, 'one entry for each');
DELETE FROM t WHERE id IN (3, 4);
SELECT is(entries('t'), 6::bigint, 'DELETE takes them out');
SELECT is(found('SELECT * FROM t WHERE id = ANY (''{3,4}'')'), '0 0 2');
SELECT writecache.invalidate('t');
COPY t FROM stdin;
31	copied	0
\.
SELECT is(entries('t'), 0::bigint, 'COPY goes around the cache');
WITH w AS (UPDATE t SET v = 'with' WHERE id = 5 RETURNING *) SELECT count(*) FROM w;
SELECT is(entries('t'), 0::bigint, 'so does WITH');
SELECT is((SELECT v FROM t WHERE id = 5), 'with');

-- A transaction.
SELECT writecache.invalidate('t');
BEGIN;
UPDATE t SET v = 'first' WHERE id = 6;
UPDATE t SET v = 'second' WHERE id = 6;
INSERT INTO t VALUES (41, 'x');
SAVEPOINT s;
INSERT INTO t VALUES (42, 'x');
UPDATE t SET v = 'undone' WHERE id = 7;
ROLLBACK TO s;
INSERT INTO t VALUES (43, 'x');
SAVEPOINT kept;
INSERT INTO t VALUES (44, 'x');
RELEASE kept;
INSERT INTO t VALUES (45, 'x');
DELETE FROM t WHERE id = 45;
SELECT is((SELECT v FROM t WHERE id = 6), 'second', 'its own rows');
COMMIT;
SELECT is(entries('t'), 4::bigint, '6, 41, 43, 44');
SELECT is(found('SELECT * FROM t WHERE id = ANY (''{6,41,43,44}'')'), '4 0 0');
SELECT is((SELECT v FROM t WHERE id = 6), 'second');
BEGIN;
UPDATE t SET v = 'never' WHERE id = 6;
INSERT INTO t VALUES (51, 'never');
ROLLBACK;
SELECT is(entries('t'), 4::bigint, 'a rollback leaves no trace');
SELECT is((SELECT v FROM t WHERE id = 6), 'second');
SELECT throws_ok($$INSERT INTO t VALUES (52, 'x'), (41, 'twice')$$, '23505');
SELECT is(entries('t'), 4::bigint, 'nor does an error');
BEGIN;
INSERT INTO t VALUES (53, 'x');
PREPARE TRANSACTION 'cache_writes';
COMMIT PREPARED 'cache_writes';
SELECT is(found('SELECT * FROM t WHERE id = 53'), '0 0 1', 'prepared transactions write around it');
SELECT writecache.invalidate('t');
INSERT INTO t SELECT g, 'many' FROM generate_series(10001, 13000) g;
SELECT is(entries('t'), 1000::bigint, 'a thousand rows of a transaction');
BEGIN;
INSERT INTO t VALUES (61, 'x');
TRUNCATE t;
INSERT INTO t VALUES (62, 'x');
COMMIT;
SELECT is((SELECT string_agg(id::text, ' ') FROM t WHERE id IN (61, 62)), '62', 'TRUNCATE in between');
BEGIN;
UPDATE t SET v = 'y' WHERE id = 62;
ALTER TABLE t ADD COLUMN more int DEFAULT 7;
COMMIT;
SELECT results_eq('SELECT * FROM t WHERE id = 62', $$VALUES (62, 'y', 0, 7)$$, 'another column');
BEGIN;
UPDATE t SET v = 'z' WHERE id = 62;
ALTER TABLE t ALTER COLUMN n TYPE bigint;
COMMIT;
SELECT results_eq('SELECT * FROM t WHERE id = 62', $$VALUES (62, 'z', 0::bigint, 7)$$, 'a table rewritten');
BEGIN;
UPDATE t SET v = 'zz' WHERE id = 62;
DROP TABLE t;
ROLLBACK;
SELECT is((SELECT v FROM t WHERE id = 62), 'z');
BEGIN;
UPDATE t SET v = 'gone' WHERE id = 62;
SELECT writecache.detach('t');
COMMIT;
SELECT is((SELECT v FROM t WHERE id = 62), 'gone', 'detached in the same transaction');
SELECT is_empty('SELECT * FROM writecache.stat_cache');
BEGIN;
UPDATE t SET v = 'zz' WHERE id = 62;
DROP TABLE t;
COMMIT;

-- Triggers, functions, views, large values, columns in another order.
CREATE TABLE w (a text, dropped int, big text, k2 int, k1 numeric, PRIMARY KEY (k1, k2));
ALTER TABLE w DROP COLUMN dropped;
ALTER TABLE w ALTER COLUMN big SET STORAGE EXTERNAL;
SELECT writecache.attach('w', 'write_through');
CREATE FUNCTION louder() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.a = 'skip' THEN RETURN NULL; END IF; NEW.a := upper(NEW.a); RETURN NEW; END $$;
CREATE TRIGGER louder BEFORE INSERT OR UPDATE ON w FOR EACH ROW EXECUTE FUNCTION louder();
CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE w SET a = a || '.' WHERE k1 = NEW.k1 AND k2 = NEW.k2 AND a NOT LIKE '%.'; RETURN NULL; END $$;
CREATE TRIGGER again AFTER INSERT ON w FOR EACH ROW EXECUTE FUNCTION again();
CREATE VIEW wv AS SELECT a, k1, k2, big FROM w WHERE k2 > 0 WITH CHECK OPTION;
INSERT INTO wv VALUES ('a', 1.0, 1, repeat('x', 20000)), ('skip', 2, 1, NULL);
SELECT is(found('SELECT * FROM w WHERE k1 = 1.00 AND k2 = 1'), '1 0 0', 'through a view, with triggers');
SELECT is((SELECT a || length(big) FROM w WHERE k1 = 1 AND k2 = 1), 'A.20000', 'the row as the triggers left it');
CREATE FUNCTION set_a(text) RETURNS void LANGUAGE sql AS $$ UPDATE w SET a = $1 WHERE k1 = 1 $$;
SELECT set_a('f');
SELECT is(found('SELECT * FROM w WHERE k1 = 1.00 AND k2 = 1'), '1 0 0', 'by a function');
DO $$ BEGIN UPDATE w SET a = 'd1'; COMMIT; UPDATE w SET a = 'd2'; END $$;
SELECT is((SELECT a FROM w WHERE k1 = 1 AND k2 = 1), 'D2', 'COMMIT in a DO block');
PREPARE u (text) AS UPDATE w SET a = $1 WHERE k1 = 1 RETURNING a;
SELECT results_eq(format('EXECUTE u(%L)', g), format('VALUES (%L)', upper(g::text)), 'prepared') FROM generate_series(1, 7) g;
SELECT is((SELECT a FROM w WHERE k1 = 1 AND k2 = 1), '7');
EXPLAIN (ANALYZE, VERBOSE, COSTS OFF, TIMING OFF, SUMMARY OFF) UPDATE w SET k2 = b.y, a = b.x FROM (SELECT 1 AS i, 'q' AS x, 5 AS y OFFSET 0) b WHERE k1 = i RETURNING b.x || b.i, (SELECT count(*) FROM w);
SELECT is(found('SELECT * FROM w WHERE k1 = 1 AND k2 = 5'), '1 0 0', 'EXPLAIN ANALYZE writes');
SELECT throws_ok('DECLARE c CURSOR FOR UPDATE w SET a = $$c$$ RETURNING a', '42601');
CREATE TABLE refers (k1 numeric, k2 int, FOREIGN KEY (k1, k2) REFERENCES w ON UPDATE CASCADE ON DELETE CASCADE, id int PRIMARY KEY);
SELECT writecache.attach('refers', 'write_through');
INSERT INTO refers VALUES (1, 5, 1);
UPDATE w SET k2 = 6 WHERE k1 = 1;
SELECT is((SELECT k2 FROM refers WHERE id = 1), 6, 'a cascade');
SELECT is(entries('refers'), 1::bigint);
DELETE FROM w;
SELECT is_empty('SELECT * FROM refers WHERE id = 1');
SELECT is(entries('refers'), 0::bigint, 'is a write, too');

-- Partitions.
CREATE TABLE p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (100);
CREATE TABLE p2 (v text, x int, id int NOT NULL);
ALTER TABLE p2 DROP COLUMN x;
ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM (100) TO (200);
SELECT writecache.attach('p', 'write_through');
INSERT INTO p VALUES (1, 'a'), (2, 'b'), (102, 'c');
SELECT is(entries('p1') || ' ' || entries('p2'), '2 1', 'each in its own partition');
SELECT results_eq('UPDATE p SET id = id + 100 WHERE id = 1 RETURNING *', $$VALUES (101, 'a')$$);
SELECT is(entries('p1') || ' ' || entries('p2'), '1 2', 'moved to another partition');
UPDATE p SET v = 'z' WHERE id IN (2, 101);
SELECT is(found('SELECT * FROM p WHERE id = ANY (''{101,102}'')'), '1 1 0', 'its neighbour has to be looked at');
SELECT throws_ok('UPDATE p SET id = 101 WHERE id = 2', '23505');
UPDATE p SET id = 150 WHERE id = 2;
SELECT is(entries('p1') || ' ' || entries('p2'), '0 3');
SELECT results_eq('SELECT * FROM p WHERE id = ANY (''{101,150,2,1}'') ORDER BY id', $$VALUES (101, 'z'), (150, 'z')$$);
SELECT is(found('SELECT * FROM p WHERE id = 150'), '1 0 0');
CREATE FOREIGN DATA WRAPPER nothing;
CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing;
CREATE TABLE q (id int, v text) PARTITION BY RANGE (id);
CREATE TABLE q1 PARTITION OF q (PRIMARY KEY (id)) FOR VALUES FROM (0) TO (100);
CREATE FOREIGN TABLE q2 PARTITION OF q FOR VALUES FROM (100) TO (200) SERVER nowhere;
SELECT writecache.attach('q1', 'write_through');
INSERT INTO q VALUES (1, 'a');
INSERT INTO q1 VALUES (2, 'a');
UPDATE q1 SET v = 'b';
SELECT is((SELECT string_agg(v, ' ') FROM q1 WHERE id IN (1, 2)), 'b b', 'beside a foreign partition');

-- cache_aside.
CREATE TABLE a (id int PRIMARY KEY, v text);
INSERT INTO a SELECT g, 'v' FROM generate_series(1, 100) g;
SELECT writecache.attach('a', 'cache_aside');
SELECT count(*) FROM writecache.get_many(NULL::a, ARRAY(SELECT generate_series(1, 100)));
SELECT is(entries('a'), 100::bigint, 'filled by reads');
UPDATE a SET v = 'w' WHERE id <= 10;
SELECT is(entries('a'), 90::bigint, 'UPDATE takes them out');
DELETE FROM a WHERE id BETWEEN 11 AND 20;
SELECT is(entries('a'), 80::bigint, 'DELETE, too');
UPDATE a SET id = id + 1000 WHERE id BETWEEN 21 AND 30;
SELECT is(entries('a'), 70::bigint, 'under the old key');
INSERT INTO a VALUES (200, 'x'), (201, 'x');
SELECT is(entries('a'), 70::bigint, 'INSERT puts nothing in');
INSERT INTO a VALUES (31, 'x') ON CONFLICT (id) DO UPDATE SET v = excluded.v;
SELECT is(entries('a'), 69::bigint, 'ON CONFLICT DO UPDATE takes out');
BEGIN;
UPDATE a SET v = 'w';
ROLLBACK;
SELECT is(entries('a'), 69::bigint, 'a rollback takes nothing out');
SELECT writecache.alter('a', key => '{id}');
SELECT is((SELECT mode FROM writecache.tables WHERE relation = 'a'::regclass), 'cache_aside');

-- write_around: no node of ours.
SELECT writecache.detach('a');
SELECT writecache.attach('a', 'write_around');
SELECT is_empty($$SELECT FROM (SELECT found('UPDATE a SET v = v')) f (x) WHERE x <> ''$$);
CREATE FUNCTION plan(query text) RETURNS text LANGUAGE plpgsql AS $$ DECLARE line text; BEGIN EXECUTE 'EXPLAIN (COSTS OFF) ' || query INTO line; RETURN line; END $$;
SELECT is(plan('UPDATE a SET v = v'), 'Update on a');
SELECT is(plan('UPDATE p SET v = v'), 'Custom Scan (RowCacheWrite)');

-- Counters.
SELECT writecache.reset_stat_cache();
SELECT count(*) FROM writecache.get_many(NULL::a, '{101,102,103,101,40}'::int[]);
SELECT results_eq($$SELECT hits_by_page + hits_by_tid, misses, fills, hit_ratio FROM writecache.stat_cache WHERE relation = 'a'::regclass$$, $$VALUES (0::bigint, 5::bigint, 1::bigint, 0::numeric)$$);
SELECT count(*) FROM writecache.get_many(NULL::a, '{40,40,41}'::int[]);
SELECT results_eq($$SELECT hits_by_page + hits_by_tid, misses, fills, hit_ratio FROM writecache.stat_cache WHERE relation = 'a'::regclass$$, $$VALUES (2::bigint, 6::bigint, 2::bigint, 0.25)$$);
SELECT results_eq($$SELECT hits_by_page, hits_by_tid, proofs_failed FROM writecache.stat_cache WHERE relation = 'a'::regclass$$, $$VALUES (2::bigint, 0::bigint, 0::bigint)$$);
UPDATE a SET v = v || '+' WHERE id = 40;
SELECT count(*) FROM writecache.get_many(NULL::a, '{40,40}'::int[]);
SELECT results_eq($$SELECT hits_by_page, hits_by_tid, misses, proofs_failed FROM writecache.stat_cache WHERE relation = 'a'::regclass$$, $$VALUES (3::bigint, 1::bigint, 6::bigint, 0::bigint)$$, 'proved by the place, then by the page again');
DELETE FROM a WHERE id = 40;
SELECT count(id) FROM writecache.get_many(NULL::a, '{40,40}'::int[]);
SELECT results_eq($$SELECT hits_by_page, hits_by_tid, misses, proofs_failed, hit_ratio FROM writecache.stat_cache WHERE relation = 'a'::regclass$$, $$VALUES (3::bigint, 1::bigint, 6::bigint, 2::bigint, 0.3333)$$, 'what was cached is gone');
SELECT ok((SELECT bytes > 0 AND evictions = 0 FROM writecache.stat_cache WHERE relation = 'a'::regclass));
SELECT ok((SELECT cache_bytes > used_bytes AND used_bytes > 0 AND entries > 0 AND relations > 0 AND shards > 0 AND largest_row > 8192 FROM writecache.cache_status()));
SELECT writecache.reset_stat_cache('a');
SELECT is((SELECT hit_ratio FROM writecache.stat_cache WHERE relation = 'a'::regclass), NULL, 'reset');
CREATE TABLE plain (id int PRIMARY KEY);
SELECT throws_ok($$SELECT writecache.reset_stat_cache('plain')$$, '55000', 'rows of "plain" are not cached');
CREATE ROLE pgtap_cw;
SET ROLE pgtap_cw;
SELECT throws_ok($$SELECT writecache.reset_stat_cache('a')$$, '42501', 'must be owner of table a');
SELECT throws_ok($$SELECT writecache.reset_stat_cache()$$, '42501', 'must be owner of the database to reset the statistics of all relations');
SELECT lives_ok('SELECT * FROM writecache.stat_cache');
RESET ROLE;
DROP ROLE pgtap_cw;
SELECT * FROM finish();
