-- DDL that meets pending or staged rows by way of another object: a domain, a partition, a foreign key, a role, a schema.
\ir ../tools/twins.psql
SELECT * FROM no_plan();
SET client_min_messages = warning;

-- A domain's new constraint is checked against pending rows, too.
CREATE DOMAIN positive AS int;
CREATE DOMAIN narrower AS positive;
CREATE TABLE plain (a positive);
CREATE TABLE nested (a narrower);
CREATE TABLE unrelated (a int);
SELECT writecache.attach(r, 'write_back', flush_interval => '1 day') FROM unnest('{plain,nested,unrelated}'::regclass[]) r;
INSERT INTO plain VALUES (-5);
INSERT INTO unrelated VALUES (1);
SELECT is(error_of('ALTER DOMAIN positive ADD CONSTRAINT c CHECK (value > 0)'),
          '23514: column "a" of table "plain" contains values that violate the new constraint', 'ADD CHECK');
SELECT is((SELECT rows_pending FROM writecache.stat_write_back WHERE relation = 'unrelated'::regclass), 1::bigint, 'tables of built-in types are left alone');
TRUNCATE plain;
INSERT INTO nested VALUES (-4);
SELECT is(error_of('ALTER DOMAIN positive ADD CONSTRAINT c CHECK (value > 0)'),
          '23514: column "a" of table "nested" contains values that violate the new constraint', 'a domain over the domain');
TRUNCATE nested;
INSERT INTO plain VALUES (NULL);
SELECT is(error_of('ALTER DOMAIN positive SET NOT NULL'), '23502: column "a" of table "plain" contains null values', 'SET NOT NULL');
TRUNCATE plain;
INSERT INTO plain VALUES (-6);
ALTER DOMAIN positive ADD CONSTRAINT c CHECK (value > 0) NOT VALID;
BEGIN;
SELECT is(error_of('ALTER DOMAIN positive VALIDATE CONSTRAINT c'),
          '23514: column "a" of table "plain" contains values that violate the new constraint', 'VALIDATE CONSTRAINT');
ROLLBACK;
TRUNCATE plain;
INSERT INTO plain VALUES (6);
ALTER DOMAIN positive VALIDATE CONSTRAINT c;
SELECT writecache.flush();
SELECT results_eq('SELECT a FROM plain', 'VALUES (6::positive)', 'and the rows that fit are there');

-- Own rows of an attached parent are seen through its partition.
CREATE TABLE whole (a int, b int) PARTITION BY RANGE (a);
CREATE TABLE half PARTITION OF whole FOR VALUES FROM (0) TO (100) PARTITION BY RANGE (a);
CREATE TABLE leaf PARTITION OF half FOR VALUES FROM (0) TO (50);
SELECT writecache.attach('whole', 'write_back', flush_interval => '1 day');
BEGIN;
INSERT INTO whole VALUES (1, 1);
SELECT is((SELECT count(*) FROM leaf), 1::bigint, 'SELECT');
INSERT INTO whole VALUES (2, 2);
SELECT results_eq('UPDATE leaf SET b = 3 WHERE a = 2 RETURNING b', 'VALUES (3)', 'UPDATE');
INSERT INTO whole VALUES (3, 3);
SELECT results_eq('DELETE FROM half WHERE a = 3 RETURNING b', 'VALUES (3)', 'DELETE');
SAVEPOINT s;
INSERT INTO whole VALUES (4, 4);
TRUNCATE leaf;
SELECT is((SELECT count(*) FROM whole), 0::bigint, 'TRUNCATE');
ROLLBACK TO s;
COMMIT;
SELECT results_eq('SELECT a, b FROM whole ORDER BY a', 'VALUES (1, 1), (2, 3)', 'once each');
SELECT writecache.alter('whole', read_pending => false);
BEGIN;
INSERT INTO whole VALUES (5, 5);
SELECT lives_ok($$COPY leaf TO PROGRAM 'grep -c . | grep -qx 3'$$, 'COPY');
COMMIT;

-- A new foreign key finds what is pending, also where queries do not read it.
CREATE TABLE parent (id int PRIMARY KEY);
SELECT writecache.attach('parent', 'write_back', flush_interval => '1 day', read_pending => false);
INSERT INTO parent VALUES (1);
CREATE TABLE child AS SELECT 1 AS ref;
SELECT lives_ok('ALTER TABLE child ADD FOREIGN KEY (ref) REFERENCES parent', 'ADD FOREIGN KEY');
INSERT INTO parent VALUES (2);
SELECT lives_ok('ALTER TABLE child ADD more int DEFAULT 2 REFERENCES parent', 'ADD COLUMN ... REFERENCES');
ALTER TABLE child ADD last int;
UPDATE child SET last = 3;
ALTER TABLE child ADD CONSTRAINT last FOREIGN KEY (last) REFERENCES parent NOT VALID;
INSERT INTO parent VALUES (3);
SELECT lives_ok('ALTER TABLE child VALIDATE CONSTRAINT last', 'VALIDATE CONSTRAINT');
BEGIN;
INSERT INTO parent VALUES (4);
CREATE TABLE other AS SELECT 4 AS ref;
SELECT lives_ok('ALTER TABLE other ADD FOREIGN KEY (ref) REFERENCES parent', 'a row of the same transaction');
COMMIT;

-- What is pending is not cut off from its table.
INSERT INTO unrelated VALUES (2);
SELECT is(error_of('ALTER SCHEMA writecache RENAME TO wc'), '0A000: cannot rename schema "writecache" of extension "pg_writecache"', 'the schema keeps its name');
SELECT throws_ok($$DELETE FROM writecache.attached WHERE relation = 'unrelated'::regclass$$, '55006', 'table "unrelated" has buffered rows', 'DELETE by hand');
SELECT throws_ok($$UPDATE writecache.attached SET attachment = 4711 WHERE relation = 'unrelated'::regclass$$, '55006', 'table "unrelated" has buffered rows', 'UPDATE by hand');
SELECT throws_ok('TRUNCATE writecache.attached', '55006', 'table "unrelated" has buffered rows', 'TRUNCATE by hand');
BEGIN;
SELECT lives_ok($$UPDATE writecache.attached SET flush_rows = 7 WHERE relation = 'unrelated'::regclass$$, 'options may change');
ROLLBACK;
SELECT writecache.flush('unrelated');
SELECT is((SELECT count(*) FROM unrelated), 2::bigint, 'no row is lost');
SELECT lives_ok($$DELETE FROM writecache.attached WHERE relation = 'unrelated'::regclass$$, 'without pending rows nothing is lost');

-- A partition that goes with its schema or its owner: what the parent took for it goes along, and nothing is left over.
CREATE SCHEMA years;
CREATE ROLE dow_years;
GRANT ALL ON SCHEMA public, years TO dow_years;
CREATE TABLE log (y int, what text) PARTITION BY LIST (y);
CREATE TABLE log_else PARTITION OF log DEFAULT;
CREATE TABLE years.log_1 PARTITION OF log FOR VALUES IN (1);
CREATE TABLE years.log_2 PARTITION OF log FOR VALUES IN (2) PARTITION BY LIST (y);
CREATE TABLE log_2_all PARTITION OF years.log_2 DEFAULT;
CREATE TABLE log_3 PARTITION OF log FOR VALUES IN (3);
ALTER TABLE log_3 OWNER TO dow_years;
SELECT writecache.attach('log', 'write_back', flush_interval => '1 day');
INSERT INTO log SELECT y, what FROM generate_series(1, 4) AS y, unnest('{a,b}'::text[]) AS what;
BEGIN;
DROP SCHEMA years CASCADE;
SELECT set_eq('SELECT y, what FROM log', $$VALUES (3, 'a'), (3, 'b'), (4, 'a'), (4, 'b')$$, 'DROP SCHEMA takes the rows of its partitions along');
ROLLBACK;
SELECT is((SELECT count(*) FROM log), 8::bigint, 'rolled back: all are there');
DROP SCHEMA years CASCADE;
SELECT writecache.flush();
SELECT set_eq('SELECT y, what FROM log', $$VALUES (3, 'a'), (3, 'b'), (4, 'a'), (4, 'b')$$, 'and only they');
INSERT INTO log VALUES (3, 'c'), (4, 'c');
DROP OWNED BY dow_years;
SELECT writecache.flush();
SELECT set_eq('SELECT y, what FROM log', $$VALUES (4, 'a'), (4, 'b'), (4, 'c')$$, 'DROP OWNED takes the rows of its partitions along');
SELECT is_empty('SELECT * FROM writecache.rejected', 'none is rejected');
-- The owner of a schema need not be the owner of what is in it.
CREATE SCHEMA years AUTHORIZATION dow_years;
CREATE TABLE years.log_6 PARTITION OF log FOR VALUES IN (6);
INSERT INTO log VALUES (6, 'e'), (4, 'e');
SET ROLE dow_years;
DROP SCHEMA years CASCADE;
RESET ROLE;
SELECT writecache.flush();
SELECT is((SELECT string_agg(y || what, ' ' ORDER BY what) FROM log), '4a 4b 4c 4e', 'DROP SCHEMA by its owner');
-- A parent that goes as well is not stored first.
CREATE SCHEMA years;
ALTER TABLE log SET SCHEMA years;
CREATE TABLE years.log_5 PARTITION OF years.log FOR VALUES IN (5);
INSERT INTO years.log VALUES (5, 'd');
DROP SCHEMA years CASCADE;
SELECT is(to_regclass('log_else'), NULL, 'DROP SCHEMA of the parent drops partitions elsewhere');
DROP ROLE dow_years;

-- DROP OWNED by the owner of the extension takes it along: stored first.
CREATE ROLE dow_owner SUPERUSER;
CREATE ROLE dow_other SUPERUSER;
DROP EXTENSION pg_writecache;
SET ROLE dow_owner;
CREATE EXTENSION pg_writecache;
RESET ROLE;
SELECT writecache.attach('unrelated', 'write_back', flush_interval => '1 day');
INSERT INTO unrelated VALUES (3);
DROP OWNED BY dow_other;
SELECT is((SELECT rows_pending FROM writecache.stat_write_back WHERE relation = 'unrelated'::regclass), 1::bigint, 'nobody else''s');
DROP OWNED BY dow_owner CASCADE;
SELECT is(to_regclass('writecache.attached'), NULL, 'the extension is gone');
SELECT is((SELECT count(*) FROM unrelated), 3::bigint, 'its rows are stored');
DROP ROLE dow_owner, dow_other;

SELECT * FROM finish();
