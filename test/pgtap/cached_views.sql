-- Rows of views and foreign tables by key: cached as long as the user says, for each role by itself.
\ir ../tools/twins.psql
SELECT * FROM no_plan();
CREATE SCHEMA cv;
SET search_path = cv, public;
CREATE TABLE cv.orders (customer int, price numeric);
INSERT INTO cv.orders SELECT g % 100, g FROM generate_series(1, 1000) g;
CREATE VIEW cv.totals AS SELECT customer, count(*) AS n, sum(price) AS total FROM cv.orders GROUP BY customer;

SELECT throws_ok($$SELECT writecache.attach('cv.totals', 'cache_aside')$$, '22023', 'option "max_staleness" is required to cache rows of "totals"');
SELECT throws_ok($$SELECT writecache.attach('cv.totals', 'cache_aside', max_staleness => '1 h')$$, '22023', 'option "key" is required to cache rows of "totals"');
SELECT throws_ok($$SELECT writecache.attach('cv.totals', 'cache_aside', max_staleness => '1 h', key => '{nothing}')$$, '42703', 'column "nothing" of relation "totals" does not exist');
SELECT throws_ok($$SELECT writecache.attach('cv.totals', 'write_through', max_staleness => '1 h', key => '{customer}')$$, '0A000', 'mode write_through is for tables');
SELECT throws_ok($$SELECT writecache.attach('cv.totals', 'cache_aside', max_staleness => '-1 s', key => '{customer}')$$, '22023', 'invalid value for option "max_staleness"');
SELECT throws_ok($$SELECT writecache.attach('cv.totals', 'cache_aside', max_staleness => '1 h', key => '{customer}', flush_rows => 1)$$, '22023', 'option "flush_rows" is not for this mode');
SELECT throws_ok($$SELECT writecache.attach('cv.orders', 'cache_aside', key => '{customer}')$$, '42809', 'cannot cache rows of "orders"', 'a table needs a unique index');
SELECT throws_ok($$SELECT writecache.get(NULL::cv.totals, 1)$$, '55000', 'rows of "totals" are not cached');
SELECT lives_ok($$SELECT writecache.attach('cv.totals', 'cache_aside', max_staleness => '1 h', key => '{customer}')$$);

SELECT is(writecache.get(NULL::cv.totals, 7), '(7,10,4570)'::cv.totals, 'computed');
INSERT INTO cv.orders VALUES (7, 1), (500, 1);
SELECT is(writecache.get(NULL::cv.totals, 7), '(7,10,4570)'::cv.totals, 'kept');
SELECT is(writecache.evict('cv.totals', 7), true);
SELECT is(writecache.evict('cv.totals', 7), false);
SELECT is(writecache.get(NULL::cv.totals, 7), '(7,11,4571)'::cv.totals, 'anew after evict');
SELECT is(writecache.get(NULL::cv.totals, 501), NULL, 'that there is none');
INSERT INTO cv.orders VALUES (501, 1);
SELECT is(writecache.get(NULL::cv.totals, 501), NULL, 'is kept as well');
SELECT ok(writecache.invalidate('cv.totals') >= 2, 'all at once');
SELECT is(writecache.get(NULL::cv.totals, 501), '(501,1,1)'::cv.totals);

-- A transaction sees what it wrote, and does not show it to others.
BEGIN;
INSERT INTO cv.orders VALUES (501, 1);
SELECT is(writecache.get(NULL::cv.totals, 501), '(501,2,2)'::cv.totals, 'own rows');
ROLLBACK;
SELECT is(writecache.get(NULL::cv.totals, 501), '(501,1,1)'::cv.totals, 'not kept');
-- One snapshot, one answer.
SELECT is(writecache.get(NULL::cv.totals, 7), '(7,11,4571)'::cv.totals);
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT is(writecache.get(NULL::cv.totals, 7), '(7,11,4571)'::cv.totals);
COMMIT;
INSERT INTO cv.orders VALUES (7, 1);
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT is(writecache.get(NULL::cv.totals, 7), '(7,12,4572)'::cv.totals, 'a REPEATABLE READ transaction computes');
COMMIT;
SELECT is(writecache.get(NULL::cv.totals, 7), '(7,11,4571)'::cv.totals, 'and keeps it to itself');
SET writecache.read_cache = off;
SELECT is(writecache.get(NULL::cv.totals, 7), '(7,12,4572)'::cv.totals, 'read_cache = off');
RESET writecache.read_cache;

SELECT results_eq('SELECT * FROM writecache.get_many(NULL::cv.totals, ARRAY[8, NULL, 9999, 8, 7])',
  $$VALUES (8, 10::bigint, 4580::numeric), (NULL, NULL, NULL), (NULL, NULL, NULL), (8, 10, 4580), (7, 11, 4571)$$, 'in the order of the keys');
SELECT results_eq('SELECT count(*) FROM writecache.get_many(NULL::cv.totals, ARRAY[]::int[])', 'VALUES (0::bigint)');
SELECT results_eq('SELECT count(*) FROM writecache.get_many(NULL::cv.totals, NULL::int[])', 'VALUES (0::bigint)');

-- Other columns than those of the cached rows.
CREATE OR REPLACE VIEW cv.totals AS SELECT customer, count(*) AS n, sum(price) AS total, max(price) AS largest FROM cv.orders GROUP BY customer;
SELECT is(writecache.get(NULL::cv.totals, 8), '(8,10,4580,908)'::cv.totals, 'a view with another column');

-- max_staleness 0: always anew. Roles: each its own.
SELECT lives_ok($$SELECT writecache.alter('cv.totals', max_staleness => '0')$$);
INSERT INTO cv.orders VALUES (8, 1);
SELECT is(writecache.get(NULL::cv.totals, 8), '(8,11,4581,908)'::cv.totals);
CREATE VIEW cv.mine AS SELECT 1 AS id, current_user::text AS who;
SELECT lives_ok($$SELECT writecache.attach('cv.mine', 'write_around', max_staleness => '1 h', key => '{id}')$$);
CREATE ROLE pgtap_cv_other;
GRANT USAGE ON SCHEMA cv TO pgtap_cv_other;
SELECT is((writecache.get(NULL::cv.mine, 1)).who, current_user::text);
SET ROLE pgtap_cv_other;
SELECT throws_ok($$SELECT writecache.get(NULL::cv.mine, 1)$$, '42501', 'permission denied for view mine');
RESET ROLE;
GRANT SELECT ON cv.mine TO pgtap_cv_other;
SET ROLE pgtap_cv_other;
SELECT is((writecache.get(NULL::cv.mine, 1)).who, 'pgtap_cv_other', 'not another role''s row');
RESET ROLE;
REVOKE SELECT ON cv.mine FROM pgtap_cv_other;
SET ROLE pgtap_cv_other;
SELECT throws_ok($$SELECT writecache.get(NULL::cv.mine, 1)$$, '42501', 'permission denied for view mine', 'nor any after REVOKE');
RESET ROLE;

-- A key that is none; errors are not kept.
CREATE TABLE cv.divisors (d int);
INSERT INTO cv.divisors VALUES (0);
CREATE VIEW cv.quotients AS SELECT k AS id, k / d AS q FROM generate_series(1, 3) k, cv.divisors;
SELECT lives_ok($$SELECT writecache.attach('cv.quotients', 'cache_aside', max_staleness => '1 h', key => '{id}')$$);
SELECT throws_ok($$SELECT writecache.get(NULL::cv.quotients, 2)$$, '22012', 'division by zero');
UPDATE cv.divisors SET d = 1;
SELECT is(writecache.get(NULL::cv.quotients, 2), '(2,2)'::cv.quotients, 'an error is not cached');
INSERT INTO cv.divisors VALUES (2);
SELECT writecache.invalidate('cv.quotients');
SELECT throws_ok($$SELECT writecache.get(NULL::cv.quotients, 2)$$, '21000', '"quotients" has more than one row with this key');
-- A view that reads itself by way of the cache.
CREATE FUNCTION cv.other(int) RETURNS int LANGUAGE sql STABLE AS 'SELECT (writecache.get(NULL::cv.mine, $1)).id';
CREATE VIEW cv.nested AS SELECT 1 AS id, cv.other(1) AS o;
SELECT lives_ok($$SELECT writecache.attach('cv.nested', 'cache_aside', max_staleness => '1 h', key => '{id}')$$);
SELECT is(writecache.get(NULL::cv.nested, 1), '(1,1)'::cv.nested, 'one computed row inside another');

SELECT lives_ok($$SELECT writecache.detach('cv.totals')$$);
SELECT throws_ok($$SELECT writecache.get(NULL::cv.totals, 1)$$, '55000', 'rows of "totals" are not cached');
SELECT throws_ok($$SELECT writecache.get(1, 1)$$, '42804', 'the first argument must be of a table''s row type');
SELECT throws_ok($$SELECT writecache.get(NULL::cv.mine, 1, 2)$$, '22023', 'the key of "mine" has 1 columns, 2 were given');
SELECT throws_ok($$SELECT writecache.get(NULL::cv.mine, 'x'::text)$$, '22P02');
SELECT throws_ok($$SELECT writecache.get(NULL::cv.mine, 1.5)$$, '42804', 'key column "id" is of type integer but the argument is of type numeric');
SELECT is(writecache.get(NULL::cv.mine, '1'), writecache.get(NULL::cv.mine, 1), 'a literal without a type');
PREPARE untyped AS SELECT (writecache.get(NULL::cv.mine, $1)).id;
SELECT results_eq($$EXECUTE untyped('1')$$, 'VALUES (1)', 'a parameter without a type');
SELECT throws_ok($$SELECT writecache.get(NULL::cv.mine, 'x')$$, '22P02');

SET client_min_messages = error;
DROP SCHEMA cv CASCADE;
DROP ROLE pgtap_cv_other;
SELECT is((SELECT count(*) FROM writecache.tables), 0::bigint, 'dropped views are attached no more');
SELECT * FROM finish();
