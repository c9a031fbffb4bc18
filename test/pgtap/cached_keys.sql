-- Keys of all kinds: whatever an index takes for equal finds the same cached row, and nothing else does.
SET client_min_messages = warning;
SELECT * FROM no_plan();
CREATE SCHEMA ck;
SET search_path = ck, public;
\ir ../tools/cached.psql
CREATE EXTENSION citext SCHEMA public;

CREATE FUNCTION hits(query text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE plan json;
BEGIN
  EXECUTE 'EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) ' || query INTO plan;
  RETURN coalesce((plan #>> '{0,Plan,Cache Hits}')::int, -1);
END $$;

-- A key type, the keys of a table, and other values to look for.
CREATE TABLE cases (n int GENERATED ALWAYS AS IDENTITY, type text, stored text[], probes text[], index text, how text);
CREATE FUNCTION key_type(type text, stored text[], probes text[] DEFAULT '{}', index text DEFAULT 'k', how text DEFAULT 'hit') RETURNS void
LANGUAGE sql AS 'INSERT INTO cases (type, stored, probes, index, how) VALUES ($1, $2, $3, $4, $5)';

CREATE FUNCTION make_table(n int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE c cases := (SELECT c FROM cases c WHERE c.n = $1);
BEGIN
  EXECUTE format('DROP TABLE IF EXISTS k; CREATE TABLE k (v int, k %1$s); CREATE UNIQUE INDEX ON k (%2$s); '
                 'INSERT INTO k SELECT n, s::%4$s FROM unnest(%3$L::text[]) WITH ORDINALITY u(s, n)',
                 c.type, c.index, c.stored, regexp_replace(c.type, ' COLLATE.*', ''));
  ANALYZE k;
  PERFORM writecache.attach('k', 'write_around', key => '{k}');
END $$;

-- Each value is looked for with and without the cache, in every way.
CREATE FUNCTION check_table(n int) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
  c cases := (SELECT c FROM cases c WHERE c.n = $1);
  type text := regexp_replace(c.type, ' COLLATE.*', '');
  probe text;
  here text;
  there text;
  shape text;
  found int := 0;
  served int := 0;
BEGIN
  FOREACH probe IN ARRAY c.stored || c.probes LOOP
    EXECUTE format('SELECT (SELECT v FROM k TABLESAMPLE SYSTEM (100) WHERE k = %L::%s)', probe, type) INTO there;
    FOREACH shape IN ARRAY ARRAY['SELECT (SELECT v FROM k WHERE k = %1$L::%2$s)', 'SELECT (SELECT v FROM k WHERE k = ANY (ARRAY[%1$L, NULL, %1$L]::%2$s[]))',
        'SELECT (writecache.get(NULL::k, %1$L::%2$s)).v', 'SELECT min(v) FROM writecache.get_many(NULL::k, ARRAY[%1$L, NULL, %1$L]::%2$s[])',
        'SELECT (writecache.get(NULL::k, %1$L)).v'] LOOP
      CONTINUE WHEN shape LIKE '%ARRAY%' AND type LIKE '%[]';  -- there are no arrays of arrays
      EXECUTE format(shape, probe, type) INTO here;
      IF here IS DISTINCT FROM there THEN
        RETURN NEXT fail(format('%s: %s finds %s, not %s', c.type, format(shape, probe, type), here, there));
      END IF;
    END LOOP;
    IF there IS NOT NULL THEN
      found := found + 1;
      IF hits(format('SELECT v FROM k WHERE k = %L::%s', probe, type)) = 1 THEN
        served := served + 1;
      ELSIF c.how = 'hit' THEN
        RETURN NEXT diag(format('%s: %s is not in the cache', c.type, probe));
      END IF;
    END IF;
  END LOOP;
  RETURN NEXT is(served, CASE WHEN c.how = 'hit' THEN found ELSE 0 END, c.type || ': served from the cache');
END $$;

SELECT key_type('smallint', '{1,-1,32767,-32768,0}', '{2}');
SELECT key_type('int', '{1,-1,2147483647,-2147483648,0}', '{2}');
SELECT key_type('bigint', '{1,-1,9223372036854775807,-9223372036854775808,4294967297}', '{2,4294967296}');
SELECT key_type('numeric', '{1.0,2.50,-3,0,NaN,Infinity,1e-20,123456789012345678901234567890.10}', '{1.00,1,2.5,-3.000,0.0,nan,1.000001,123456789012345678901234567890.1}');
SELECT key_type('numeric(10,2)', '{1.0,2.50}', '{1.00,1}');
SELECT key_type('real', '{1.5,-0,NaN,Infinity,1e-30}', '{0,1.50,-infinity}');
SELECT key_type('double precision', '{1.5,-0,NaN,Infinity,1e-300}', '{0,1.50,-infinity}');
SELECT key_type('text', '{a,A,"a ","",ä,日本,"o''k"}', '{b,á}');
SELECT key_type('text COLLATE "C"', '{a,A,"a ","",ä}', '{b}');
SELECT key_type('text', '{a,A,"a ","",ä}', '{b}', 'k text_pattern_ops');
SELECT key_type('varchar(20)', '{a,A,"a ",""}', '{b}');
SELECT key_type('char(8)', '{a,A,"b  ",""}', '{"a   ",b," b","   "}');
SELECT key_type('char(8)', '{a,A,"b  ",""}', '{"a   ",b}', 'k bpchar_pattern_ops');
SELECT key_type('"char"', '{a,A,z}', '{b}');
SELECT key_type('name', '{a,A,pg_class}', '{b}');
SELECT key_type('citext', '{Abc,x,ÄÖ}', '{abc,ABC,X,äö,y}');
SELECT key_type('bytea', '{"\\x00","\\x","\\xff00"}', '{"\\x0000"}');
SELECT key_type('boolean', '{t,f}');
SELECT key_type('date', '{2000-01-01,infinity,-infinity,"0044-03-15 BC"}', '{2000-01-02}');
SELECT key_type('time', '{00:00,12:30:00.5,24:00}', '{12:30:00.50,12:31}');
SELECT key_type('timetz', '{"12:00+00","13:00+00"}', '{"12:00:00+00","14:00+02"}');
SELECT key_type('timestamp', '{"2000-01-01 00:00",infinity}', '{"2000-01-01 00:00:00.000001"}');
SELECT key_type('timestamptz', '{"2000-01-01 00:00+00","2000-06-01 12:00+00",-infinity}', '{"2000-01-01 02:00+02","2000-06-01 11:00+00"}');
SELECT key_type('interval', '{"1 month","1 day","-1 hour"}', '{"30 days","24 hours","720:00:00","31 days","-60 min"}');
SELECT key_type('uuid', '{00000000-0000-0000-0000-000000000001,ffffffff-ffff-ffff-ffff-ffffffffffff}', '{FFFFFFFF-ffff-ffff-ffff-ffffffffffff,00000000-0000-0000-0000-000000000002}');
SELECT key_type('inet', '{10.0.0.1,10.0.0.1/8,::1}', '{10.0.0.1/32,::2}');
SELECT key_type('cidr', '{10.0.0.0/8,10.0.0.0/16}', '{10.0.0.0/24}');
SELECT key_type('macaddr', '{08:00:2b:01:02:03}', '{08-00-2b-01-02-03,08:00:2b:01:02:04}');
SELECT key_type('macaddr8', '{08:00:2b:01:02:03:04:05}', '{08:00:2b:01:02:03:04:06}');
SELECT key_type('bit(4)', '{1010,0000}', '{1111}');
SELECT key_type('varbit', '{1010,10100,"",0}', '{1,00}');
SELECT key_type('money', '{1.00,-2.50}', '{1,3}');
SELECT key_type('oid', '{1,4294967295}', '{2}');
SELECT key_type('xid8', '{1,18446744073709551615}', '{2}');
SELECT key_type('pg_lsn', '{0/1,FFFFFFFF/FFFFFFFF}', '{00/1,0/2}');
SELECT key_type('tid', '{"(0,1)","(1,1)"}', '{"(0,2)"}');
SELECT key_type('jsonb', '{"{\"a\": 1.0}","[]","null","\"x\""}', '{"{\"a\": 1}","{\"a\":1.00}","{}"}');
SELECT key_type('int[]', '{"{1,2}","{}","{NULL,1}","[2:3]={1,2}"}', '{"{1}","{1,NULL}"}');
SELECT key_type('numeric[]', '{"{1.0,2}","{}"}', '{"{1,2.00}","{2,1}"}');
SELECT key_type('text[]', '{"{a,b}","{A}"}', '{"{a}"}');
SELECT key_type('int4range', '{"[1,5)","empty","(,)"}', '{"[1,4]","(0,4]","[3,3)","[1,6)"}');
SELECT key_type('numrange', '{"[1.0,5)","empty"}', '{"[1,5.00)","[1,5]"}');
SELECT key_type('int4multirange', '{"{[1,5),[7,9)}","{}"}', '{"{[1,4],[7,8]}","{[1,9)}"}');
SELECT key_type('tsvector', '{"a b","c:1"}', '{"b a","c"}');
SELECT key_type('tsquery', '{"a & b","c"}', '{"b & a"}');
SELECT key_type('oidvector', '{"1 2","3"}', '{"2 1"}');
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
SELECT key_type('mood', '{sad,happy}', '{ok}');
ALTER TYPE mood ADD VALUE 'very sad' BEFORE 'sad';
SELECT key_type('mood', '{sad,happy,very sad}', '{ok}');
CREATE TYPE point2 AS (x numeric, y text);
SELECT key_type('point2', '{"(1.0,a)","(2,)","(,)"}', '{"(1,a)","(1.00,b)"}');
CREATE DOMAIN positive AS numeric CHECK (VALUE > 0);
SELECT key_type('positive', '{1.0,2.50}', '{1,1.00,2.5,3}');
CREATE DOMAIN code AS varchar(10);
SELECT key_type('code', '{a,A,"a "}', '{b}');
CREATE DOMAIN tags AS text[];
SELECT key_type('tags', '{"{a,b}","{}"}', '{"{b}"}');
CREATE COLLATION any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE COLLATION any_accent (provider = icu, locale = 'und-u-ks-level1-kc-true', deterministic = false);
SELECT key_type('text COLLATE any_case', '{Abc,x,é}', '{abc,ABC,X,É,e,y}');
SELECT key_type('varchar(9) COLLATE any_case', '{Abc,x,é}', '{abc,ABC,X,É,e,y}');
SELECT key_type('text COLLATE any_accent', '{abc,é}', '{ábc,e,É}');
-- Beside other columns, in any order of values.
SELECT key_type('int', '{1,2}', '{3}', 'k DESC NULLS LAST');
SELECT key_type('int', '{1,2}', '{3}', 'k) INCLUDE (v');

SELECT format('SELECT make_table(%s)', n), 'CALL settle()', format('SELECT check_table(%s)', n), 'UPDATE k SET v = v + 100 WHERE v % 2 = 0',
  format('SELECT check_table(%s)', n) FROM cases ORDER BY n \gexec

-- An index that compares with another collation than the column does is no key.
CREATE TABLE other (k text COLLATE "C", v int);
CREATE UNIQUE INDEX ON other (k COLLATE any_case);
SELECT throws_ok($$SELECT writecache.attach('other', 'write_around', key => '{k}')$$, '42809', 'cannot cache rows of "other"');
CREATE UNIQUE INDEX ON other (k);
SELECT lives_ok($$SELECT writecache.attach('other', 'write_around', key => '{k}')$$);
INSERT INTO other VALUES ('a', 1);
SELECT is(writecache.get(NULL::other, 'A'), NULL);
DROP TABLE other;

-- Values of other types than the key's.
CREATE TABLE i (id bigint PRIMARY KEY, v int);
INSERT INTO i SELECT g, g FROM generate_series(-10, 10) g;
SELECT writecache.attach('i', 'write_around');
CALL settle();
SELECT is((SELECT v FROM i WHERE id = -3::smallint), -3) FROM generate_series(1, 2);
SELECT is((SELECT v FROM i WHERE id = -3::int), -3);
SELECT is((SELECT v FROM i WHERE id = -3::numeric), -3, 'not by the index');
SELECT is(hits('SELECT v FROM i WHERE id = -3::smallint'), 1, 'one row for all of them');
SELECT is(hits('SELECT v FROM i WHERE id = ANY (ARRAY[-3, 3]::smallint[])') > 0, true);
SELECT is((writecache.get(NULL::i, -3::smallint)).v, -3);
SELECT is((SELECT array_agg(v) FROM writecache.get_many(NULL::i, ARRAY[-3, 3, 99]::smallint[])), '{-3,3,NULL}');
SELECT throws_ok('SELECT writecache.get(NULL::i, 1.5)', '42804', 'key column "id" is of type bigint but the argument is of type numeric');
CREATE TABLE f (id double precision PRIMARY KEY, v int);
INSERT INTO f VALUES (0.5, 1), (0.1::real, 2), (0.1, 3);
SELECT writecache.attach('f', 'write_around');
CALL settle();
SELECT is((SELECT v FROM f WHERE id = 0.5::real), 1) FROM generate_series(1, 2);
SELECT is((SELECT v FROM f WHERE id = 0.1::real), 2) FROM generate_series(1, 2);
SELECT is((SELECT v FROM f WHERE id = 0.1), 3) FROM generate_series(1, 2);
SELECT is((writecache.get(NULL::f, 0.1::real)).v, 2);
CREATE TABLE d (id timestamptz PRIMARY KEY, v int);
INSERT INTO d VALUES ('2000-01-01 00:00+00', 1), ('2000-01-01 12:00+00', 2);
SELECT writecache.attach('d', 'write_around');
CALL settle();
SET timezone = 'UTC';
SELECT is((SELECT v FROM d WHERE id = date '2000-01-01'), 1, 'a date') FROM generate_series(1, 2);
SET timezone = 'Etc/GMT+12';
SELECT is((SELECT v FROM d WHERE id = date '2000-01-01'), 2, 'the same date elsewhere') FROM generate_series(1, 2);
SELECT is((writecache.get(NULL::d, date '2000-01-01')).v, 2) FROM generate_series(1, 2);
SELECT is((SELECT v FROM d WHERE id = '2000-01-01 12:00+00'), 2) FROM generate_series(1, 2);
RESET timezone;

-- Keys of several columns, in the index's order and in another one.
CREATE TABLE m (c text COLLATE any_case, v int, a int, b numeric, PRIMARY KEY (a, b, c));
INSERT INTO m SELECT 'k' || c, a * 100 + b * 10 + c, a, b FROM generate_series(1, 3) a, generate_series(1, 3) b, generate_series(1, 3) c;
ANALYZE m;
SELECT writecache.attach('m', 'write_around');
CALL settle();
SELECT is((SELECT v FROM m WHERE c = 'K2' AND b = 1.00 AND a = 3), 312) FROM generate_series(1, 2);
SELECT is(hits($$SELECT v FROM m WHERE c = 'K2' AND b = 1.00 AND a = 3$$), 1);
SELECT is(hits($$SELECT v FROM m WHERE (a, b, c) = (3, 1, 'k2')$$), 1, 'row comparison');
SELECT results_eq($$SELECT v FROM m WHERE a = 3 AND b = ANY (ARRAY[1.0, 1.00, 2, NULL, 9]) AND c = 'k1' ORDER BY v$$, 'VALUES (311), (321)') FROM generate_series(1, 2);
SELECT is((SELECT sum(v) FROM m WHERE a = ANY (ARRAY[1, 3, 2]) AND b = 1.0 AND c = 'K1'), 633::bigint) FROM generate_series(1, 2);
SELECT is(hits($$SELECT v FROM m WHERE a = ANY (ARRAY[1, 3, 2]) AND b = 1.0 AND c = 'K1'$$), 3, 'an array for the first column');
SELECT results_eq($$SELECT v FROM m WHERE a = ANY (ARRAY[1, 2]) AND b = ANY (ARRAY[1, 2]) AND c = 'k1' ORDER BY v$$, 'VALUES (111), (121), (211), (221)', 'two arrays');
SELECT is((writecache.get(NULL::m, 3, 1, 'K2')).v, 312, 'in the order of the key');
SELECT is((writecache.get(NULL::m, 3::bigint, 1::int, 'K2'::varchar)).v, 312);
SELECT is(writecache.get(NULL::m, 3, NULL, 'k2'), NULL);
SELECT is((SELECT array_agg(v) FROM writecache.get_many(NULL::m, ARRAY[3, 1, 3, NULL], ARRAY[1, 2, 1.00, 1], ARRAY['k2', 'K3', 'K2', 'k1'])), '{312,123,312,NULL}');
SELECT throws_ok($$SELECT writecache.get_many(NULL::m, ARRAY[3, 1], ARRAY[1], ARRAY['k2', 'K3'])$$, '2202E', 'the arrays of keys must have the same number of elements');
SELECT throws_ok('SELECT writecache.get(NULL::m, 3, 1)', '22023', 'the key of "m" has 3 columns, 2 were given');
SELECT is(hits('SELECT v FROM m WHERE a = 3 AND b = 1'), -1, 'a part of the key');
SELECT is(hits($$SELECT v FROM m WHERE a = 3 AND b = 1 AND c > 'k'$$), -1, 'not equality');
SELECT is(hits($$SELECT v FROM m WHERE a = 3 AND b = 1 AND c = 'k2' COLLATE "C"$$), -1, 'another collation');
SELECT is((SELECT v FROM m WHERE a = 3 AND b = 1 AND c = 'K2' COLLATE "C"), NULL, 'another collation');
SELECT throws_ok($$SELECT writecache.attach('cases', 'write_around', key => '{n}')$$, '42809', 'cannot cache rows of "cases"', 'no index');
CREATE TABLE ab (a int, b int, PRIMARY KEY (a, b));
SELECT throws_ok($$SELECT writecache.attach('ab', 'write_around', key => '{a,a}')$$, '42809', 'cannot cache rows of "ab"', 'a column twice');
SELECT throws_ok($$SELECT writecache.attach('ab', 'write_around', key => '{a}')$$, '42809', 'cannot cache rows of "ab"', 'a part of a key');
SELECT lives_ok($$SELECT writecache.attach('ab', 'write_around', key => '{b,a}')$$, 'in another order');
INSERT INTO ab VALUES (1, 2), (2, 3);
SELECT is(writecache.get(NULL::ab, 2, 1), '(1,2)'::ab, 'get takes them in the order of attach') FROM generate_series(1, 2);
SELECT is(writecache.get(NULL::ab, 1, 2), NULL);
SELECT results_eq('SELECT a, b FROM writecache.get_many(NULL::ab, ARRAY[3, 2], ARRAY[2, 1])', 'VALUES (2, 3), (1, 2)', 'get_many, too');
SELECT is((SELECT b FROM ab WHERE a = 1 AND b = 2), 2);
SELECT is(writecache.evict('ab', 2, 1), true, 'and evict');
SELECT is(writecache.warm('ab', 'SELECT 3, 2'), 1::bigint, 'and warm');
SELECT is(writecache.evict('ab', 3, 2), true);
DROP TABLE ab;
-- One row, two of its columns.
SELECT is((SELECT count(*) FROM m x JOIN m y ON y.a = x.b AND y.b = x.a AND y.c = x.c), 27::bigint);

-- NULL is no key.
CREATE TABLE n (k int UNIQUE, v int);
INSERT INTO n VALUES (NULL, 1), (NULL, 2), (3, 3);
SELECT writecache.attach('n', 'write_around', key => '{k}');
CALL settle();
SELECT is((SELECT count(*) FROM n WHERE k IS NULL), 2::bigint);
SELECT is((SELECT count(*) FROM n WHERE k = NULL), 0::bigint);
SELECT results_eq('SELECT v FROM n WHERE k = ANY (ARRAY[NULL, 3, NULL, 4])', 'VALUES (3)') FROM generate_series(1, 2);
SELECT is_empty('SELECT v FROM n WHERE k = ANY (NULL::int[])');
SELECT is_empty('SELECT v FROM n WHERE k = ANY (ARRAY[]::int[])');
SELECT is(writecache.get(NULL::n, NULL::int), NULL);
SELECT is((SELECT array_agg(v) FROM writecache.get_many(NULL::n, ARRAY[NULL, 3, NULL])), '{NULL,3,NULL}');
SELECT is(writecache.evict('n', NULL::int), false);
UPDATE n SET k = NULL WHERE k = 3;
SELECT is_empty('SELECT v FROM n WHERE k = 3');
CREATE TABLE nn (k int, UNIQUE NULLS NOT DISTINCT (k), v int);
INSERT INTO nn VALUES (NULL, 1), (3, 3);
SELECT writecache.attach('nn', 'write_around', key => '{k}');
CALL settle();
SELECT is_empty('SELECT v FROM nn WHERE k = NULL');
SELECT is((SELECT v FROM nn WHERE k IS NULL), 1);
SELECT is((SELECT v FROM nn WHERE k = 3), 3) FROM generate_series(1, 2);

-- Arrays of several dimensions, and as parameters without a type.
SELECT results_eq('SELECT v FROM i WHERE id = ANY (ARRAY[[1, 2], [2, 3]]) ORDER BY v', 'VALUES (1), (2), (3)') FROM generate_series(1, 2);
PREPARE any_of AS SELECT v FROM i WHERE id = ANY ($1) ORDER BY v;
SELECT results_eq($$EXECUTE any_of('{3,1,NULL,3}')$$, 'VALUES (1), (3)') FROM generate_series(1, 7);
PREPARE one AS SELECT v FROM i WHERE id = $1;
SELECT results_eq('EXECUTE one(5)', 'VALUES (5)') FROM generate_series(1, 7);
SELECT is_empty('EXECUTE one(NULL)');

SELECT * FROM finish();
DROP SCHEMA ck CASCADE;
