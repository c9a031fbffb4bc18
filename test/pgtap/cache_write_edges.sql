-- write_through at the edges: what the commit has to read again (values kept elsewhere, keys whose hash asks for a query,
-- many and large rows), the table changing under it, rights that do not include reading.
SET client_min_messages = warning;
SELECT * FROM no_plan();
CREATE SCHEMA ce;
SET search_path = ce, public;
\ir ../tools/cached.psql

-- Values in the TOAST table, alone in a transaction.
CREATE TABLE big (id int PRIMARY KEY, v text);
ALTER TABLE big ALTER v SET STORAGE EXTERNAL;
SELECT writecache.attach('big', 'write_through');
INSERT INTO big VALUES (1, repeat('x', 20000));
UPDATE big SET v = v || 'y' WHERE id = 1;
UPDATE big SET id = 2 WHERE id = 1;
SELECT is(entries('big'), 1::bigint);
SELECT is((SELECT right(v, 2) || length(v) FROM big WHERE id = 2), 'xy20001');
-- More than the commit keeps.
INSERT INTO big SELECT g, repeat(chr(97 + g % 26), 50000) FROM generate_series(10, 200) g;
SELECT cmp_ok(entries('big'), '>', 50::bigint, 'what there is room for');
SELECT is_empty('SELECT id FROM big WHERE id = ANY (ARRAY(SELECT generate_series(10, 200))) AND v <> repeat(chr(97 + id % 26), 50000)');
UPDATE big SET v = 'small' WHERE id > 10;
SELECT is((SELECT count(*) FROM big WHERE id = ANY (ARRAY(SELECT generate_series(1, 200))) AND v = 'small'), 190::bigint);

-- A type whose hash function is written in SQL.
CREATE TYPE odd;
CREATE FUNCTION odd_in(cstring) RETURNS odd LANGUAGE internal IMMUTABLE STRICT AS 'int4in';
CREATE FUNCTION odd_out(odd) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'int4out';
CREATE TYPE odd (INPUT = odd_in, OUTPUT = odd_out, LIKE = int4);
CREATE CAST (odd AS int) WITHOUT FUNCTION;
CREATE FUNCTION odd_compare(odd, odd) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN sign(($1::int % 10) - ($2::int % 10)); END $$;
DO $$
DECLARE sign text; word text;
BEGIN
  FOR sign, word IN VALUES ('=', 'eq'), ('<', 'lt'), ('>', 'gt'), ('<=', 'le'), ('>=', 'ge') LOOP
    EXECUTE format('CREATE FUNCTION odd_%s(odd, odd) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $f$ BEGIN RETURN odd_compare($1, $2) %s 0; END $f$', word, sign);
    EXECUTE format('CREATE OPERATOR %s (LEFTARG = odd, RIGHTARG = odd, FUNCTION = odd_%s, COMMUTATOR = %s %s)', sign, word,
                   translate(sign, '<>', '><'), CASE sign WHEN '=' THEN ', HASHES, MERGES' ELSE '' END);
  END LOOP;
END $$;
CREATE FUNCTION odd_hash(odd) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN (SELECT $1::int % 10); END $$;
CREATE FUNCTION odd_hash(odd, bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT count(*) + $1::int % 10 + $2 FROM pg_catalog.pg_am WHERE amname = 'btree' $$;
CREATE OPERATOR CLASS odd_ops DEFAULT FOR TYPE odd USING btree AS OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
  FUNCTION 1 odd_compare(odd, odd);
CREATE OPERATOR CLASS odd_hash_ops DEFAULT FOR TYPE odd USING hash AS OPERATOR 1 =, FUNCTION 1 odd_hash(odd), FUNCTION 2 odd_hash(odd, bigint);
CREATE TABLE o (k odd PRIMARY KEY, v text);
SELECT writecache.attach('o', 'write_through');
INSERT INTO o VALUES ('1', 'x');
UPDATE o SET v = 'y';
SELECT is(entries('o'), 1::bigint, 'a hash function that asks for a query');
SELECT is((SELECT v FROM o WHERE k = '21'), 'y');
SELECT is((SELECT v FROM writecache.get(NULL::o, '11'::odd)), 'y', 'what is equal has one place');
SELECT writecache.detach('o');
SELECT writecache.attach('o', 'cache_aside');
SELECT writecache.warm('o');
DELETE FROM o;
SELECT is(entries('o'), 0::bigint, 'taken out');
CREATE TYPE pair AS (a odd, b text);
CREATE TABLE c (k pair PRIMARY KEY, v text);
SELECT writecache.attach('c', 'write_through');
INSERT INTO c VALUES (('3', 'b'), 'x');
SELECT is(entries('c'), 1::bigint, 'within another type');
SELECT is((SELECT v FROM c WHERE k = ('13', 'b')::pair), 'x');

-- The table changes between the write and the commit.
CREATE TABLE t (id int PRIMARY KEY, v text, extra int);
CREATE INDEX t_v ON t (v);
INSERT INTO t SELECT g, 'v' || g FROM generate_series(1, 500) g;
SELECT writecache.attach('t', 'write_through');
BEGIN;
UPDATE t SET v = 'kept' WHERE id = 5;
SAVEPOINT s;
TRUNCATE t;
INSERT INTO t VALUES (5, 'gone'), (6, 'gone');
ROLLBACK TO s;
UPDATE t SET v = 'kept, too' WHERE id = 7;
COMMIT;
SELECT results_eq('SELECT id, v FROM t WHERE id = ANY (''{5,6,7}'') ORDER BY id', $$VALUES (5, 'kept'), (6, 'v6'), (7, 'kept, too')$$, 'TRUNCATE undone');
BEGIN;
UPDATE t SET v = 'clustered' WHERE id = 8;
CLUSTER t USING t_v;
UPDATE t SET v = 'after' WHERE id = 9;
COMMIT;
SELECT results_eq('SELECT id, v FROM t WHERE id = ANY (''{8,9}'') ORDER BY id', $$VALUES (8, 'clustered'), (9, 'after')$$, 'CLUSTER') FROM generate_series(1, 2);
BEGIN;
UPDATE t SET v = 'x' WHERE id = 10;
ALTER TABLE t DROP v;
COMMIT;
SELECT results_eq('SELECT * FROM t WHERE id = 10', $$VALUES (10, NULL::int)$$, 'DROP COLUMN');
BEGIN;
UPDATE t SET extra = 1 WHERE id = 11;
ALTER TABLE t DROP CONSTRAINT t_pkey;
COMMIT;
SELECT results_eq('SELECT * FROM t WHERE id = 11', $$VALUES (11, 1)$$, 'no key any more');
BEGIN;
ALTER TABLE t ADD PRIMARY KEY (id);
UPDATE t SET extra = 2 WHERE id = 11;
COMMIT;
SELECT results_eq('SELECT * FROM t WHERE id = 11', $$VALUES (11, 2)$$, 'a new one') FROM generate_series(1, 2);
BEGIN;
CREATE TABLE fresh (id int PRIMARY KEY, v text);
SELECT writecache.attach('fresh', 'write_through');
INSERT INTO fresh VALUES (1, 'x');
UPDATE fresh SET v = 'y';
COMMIT;
SELECT is((SELECT v FROM fresh WHERE id = 1), 'y', 'made in the same transaction');
BEGIN;
UPDATE fresh SET v = 'z';
SELECT writecache.detach('fresh'), writecache.attach('fresh', 'cache_aside');
COMMIT;
SELECT is((SELECT v FROM fresh WHERE id = 1), 'z', 'another mode');
BEGIN;
UPDATE fresh SET v = 'q';
ALTER TABLE fresh SET UNLOGGED;
COMMIT;
SELECT is((SELECT v FROM fresh WHERE id = 1), 'q', 'unlogged') FROM generate_series(1, 2);
BEGIN;
UPDATE t SET extra = 5 WHERE id < 100;
SELECT writecache.invalidate('t');
SAVEPOINT a;
UPDATE t SET extra = 6 WHERE id < 50;
SAVEPOINT b;
UPDATE t SET extra = 7 WHERE id < 25;
RELEASE b;
ROLLBACK TO a;
UPDATE t SET extra = 8 WHERE id < 12;
COMMIT;
SELECT results_eq('SELECT extra, count(*) FROM t WHERE id = ANY (ARRAY(SELECT generate_series(1, 120))) GROUP BY 1 ORDER BY 1',
  $$VALUES (5, 88::bigint), (8, 11::bigint), (NULL, 21::bigint)$$, 'savepoints') FROM generate_series(1, 2);

-- Who may write but not read.
CREATE TABLE blind (id int PRIMARY KEY, v text, secret text DEFAULT 's');
SELECT writecache.attach('blind', 'write_through');
CREATE ROLE pgtap_ce;
GRANT USAGE ON SCHEMA ce TO pgtap_ce;
GRANT INSERT, DELETE, UPDATE (v) ON blind TO pgtap_ce;
SET ROLE pgtap_ce;
INSERT INTO blind VALUES (1, 'a'), (2, 'b');
UPDATE blind SET v = 'c';
SELECT throws_ok('INSERT INTO blind VALUES (3) RETURNING id', '42501', 'permission denied for table blind');
SELECT throws_ok('UPDATE blind SET secret = 1', '42501', 'permission denied for table blind');
RESET ROLE;
SELECT is(entries('blind'), 2::bigint, 'rights are not those of the cache');
ALTER TABLE blind ENABLE ROW LEVEL SECURITY;
CREATE POLICY i ON blind FOR INSERT TO pgtap_ce WITH CHECK (id < 10);
SET ROLE pgtap_ce;
INSERT INTO blind VALUES (4, 'd');
SELECT throws_ok('INSERT INTO blind VALUES (10)', '42501', 'new row violates row-level security policy for table "blind"');
RESET ROLE;
SELECT results_eq('SELECT id, v FROM blind WHERE id = ANY (''{1,2,4}'') ORDER BY id', $$VALUES (1, 'c'), (2, 'c'), (4, 'd')$$);
DROP OWNED BY pgtap_ce;
DROP ROLE pgtap_ce;

-- As many columns as there can be.
SELECT format('CREATE TABLE wide (id int PRIMARY KEY, %s)', string_agg('c' || g || ' bool', ', ')) FROM generate_series(1, 1599) g \gexec
SELECT writecache.attach('wide', 'write_through');
INSERT INTO wide (id, c1599) VALUES (1, true);
SELECT format('UPDATE wide SET id = 2 RETURNING %s', string_agg('c1599 AS r' || g, ', ')) FROM generate_series(1, 1664) g \gexec
SELECT is((SELECT c1599 FROM wide WHERE id = 2), true, 'RETURNING of 1664 columns');
SELECT is(entries('wide'), 1::bigint);

-- Partitions of a parent that is not attached: UPDATE and DELETE name them, INSERT finds them too late and goes around the cache.
CREATE TABLE root (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE root_t PARTITION OF root FOR VALUES FROM (0) TO (100);
CREATE TABLE root_a PARTITION OF root FOR VALUES FROM (100) TO (200);
SELECT writecache.attach('root_t', 'write_through'), writecache.attach('root_a', 'cache_aside');
CREATE FUNCTION read_root() RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(id || v, ' ' ORDER BY id) FROM root WHERE id = ANY (ARRAY[1, 2, 101, 102]) $$;
INSERT INTO root VALUES (1, 'a'), (101, 'a');
SELECT is(entries('root_t') || ' ' || entries('root_a'), '0 0', 'INSERT through the parent');
SELECT is(read_root(), '1a 101a');
SELECT is(entries('root_t') || ' ' || entries('root_a'), '1 1', 'filled by reads');
INSERT INTO root VALUES (1, ''), (101, '') ON CONFLICT (id) DO UPDATE SET v = 'b';
SELECT is(read_root(), '1b 101b', 'ON CONFLICT through the parent');
UPDATE root SET v = 'c';
SELECT is(entries('root_t') || ' ' || entries('root_a'), '1 0', 'UPDATE through the parent');
SELECT is(read_root(), '1c 101c');
UPDATE root SET id = id + 1;
SELECT is(read_root(), '2c 102c', 'other keys');
UPDATE root SET id = 101 WHERE id = 2;
SELECT is(read_root(), '101c 102c', 'a row moves to another partition');
DELETE FROM root;
SELECT is(entries('root_t') || ' ' || entries('root_a'), '0 0', 'DELETE through the parent');
SELECT is(read_root(), NULL);

-- A view with triggers.
CREATE TABLE base (id int, v text);
CREATE VIEW seen AS SELECT id, v FROM base;
CREATE FUNCTION write_base() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF TG_OP = 'DELETE' THEN DELETE FROM base WHERE id = OLD.id; RETURN OLD; END IF;
  INSERT INTO base VALUES (NEW.*); RETURN NEW; END $$;
CREATE TRIGGER write_base INSTEAD OF INSERT OR DELETE ON seen FOR EACH ROW EXECUTE FUNCTION write_base();
SELECT writecache.attach('seen', 'cache_aside', key => '{id}', max_staleness => '1 h');
SELECT results_eq('INSERT INTO seen VALUES (1, ''x'') RETURNING *', $$VALUES (1, 'x')$$);
SELECT is(writecache.get(NULL::seen, 1), '(1,x)'::seen);
DELETE FROM seen;
SELECT is_empty('SELECT * FROM base');
SELECT is(writecache.get(NULL::seen, 1), '(1,x)'::seen, 'as old as allowed');

-- What COPY returns.
\copy (UPDATE t SET extra = 9 WHERE id = 12 RETURNING id, extra) TO '/dev/null'
SELECT results_eq('SELECT * FROM t WHERE id = 12', $$VALUES (12, 9)$$, 'COPY of RETURNING');
EXPLAIN (ANALYZE, VERBOSE, BUFFERS, WAL, FORMAT JSON) UPDATE t SET extra = 10 WHERE id = 12 RETURNING *;
SELECT results_eq('SELECT * FROM t WHERE id = 12', $$VALUES (12, 10)$$, 'EXPLAIN ANALYZE');
SELECT * FROM finish();
