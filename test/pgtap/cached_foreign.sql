-- Rows of foreign tables by key, and of views that read such: nobody sees what a transaction wrote there and took back, and
-- what a foreign server shows is as old as the transaction that asks it.
SET client_min_messages = warning;
SELECT * FROM no_plan();
CREATE SCHEMA cf;
SET search_path = cf, public;
CREATE EXTENSION postgres_fdw;
DO $$ BEGIN
  EXECUTE format('CREATE SERVER cf_loopback FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host %L, port %L, dbname %L)',
                 current_setting('unix_socket_directories'), current_setting('port'), current_database());
END $$;
CREATE USER MAPPING FOR CURRENT_USER SERVER cf_loopback OPTIONS (user 'postgres');
CREATE TABLE remote (id int PRIMARY KEY, v text);
INSERT INTO remote SELECT g, 'v' || g FROM generate_series(1, 10) g;
CREATE FOREIGN TABLE f (id int, v text) SERVER cf_loopback OPTIONS (schema_name 'cf', table_name 'remote');
CREATE VIEW w AS SELECT id, upper(v) AS v FROM (SELECT * FROM f OFFSET 0) x;
CREATE TABLE root (id int, v text) PARTITION BY RANGE (id);
CREATE FOREIGN TABLE leaf PARTITION OF root FOR VALUES FROM (0) TO (1000) SERVER cf_loopback OPTIONS (schema_name 'cf', table_name 'remote');
CREATE VIEW pw AS SELECT * FROM root;
SELECT writecache.attach(r, 'cache_aside', key => '{id}', max_staleness => '1 h') FROM unnest('{f,w,pw}'::regclass[]) r;
CREATE FUNCTION three() RETURNS text LANGUAGE sql AS
  'SELECT concat_ws('' '', (writecache.get(NULL::f, 1)).v, (writecache.get(NULL::w, 1)).v, (writecache.get(NULL::pw, 1)).v)';

SELECT is(three(), 'v1 V1 v1', 'computed');
UPDATE remote SET v = 'new' WHERE id = 1;
SELECT is(three(), 'v1 V1 v1', 'kept');
SELECT is((SELECT array_agg(v) FROM writecache.get_many(NULL::f, ARRAY[2, 99, 2])), '{v2,NULL,v2}');
INSERT INTO remote VALUES (99, 'v99');
SELECT is(writecache.get(NULL::f, 99), NULL, 'that there is none is kept');
SELECT ok(writecache.evict('f', 99));
SELECT is((writecache.get(NULL::f, 99)).v, 'v99');
SELECT writecache.invalidate(r) FROM unnest('{f,w,pw}'::regclass[]) r;
SELECT is(three(), 'new NEW new', 'anew');

-- Own writes over there, which take no transaction id here.
CREATE FUNCTION write_and_look(way text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE seen text;
BEGIN
  PERFORM writecache.invalidate(r) FROM unnest('{f,w,pw}'::regclass[]) r;
  BEGIN
    EXECUTE way;
    seen := three();
    RAISE 'taken back';
  EXCEPTION WHEN raise_exception THEN
    RETURN seen;
  END;
END $$;
SELECT is(write_and_look(way), seen, way) FROM (VALUES ('UPDATE f SET v = ''own'' WHERE id = 1', 'own OWN own'), ('UPDATE root SET v = ''own'' WHERE id = 1', 'own OWN own'),
  ('WITH u AS (UPDATE f SET v = ''own'' WHERE id = 1 RETURNING id) SELECT * FROM u', 'own OWN own'),
  ('DELETE FROM f WHERE id = 1', ''), ('TRUNCATE f', '')) x (way, seen);
SELECT is(three(), 'new NEW new', 'what was taken back is seen by nobody');
BEGIN;
DELETE FROM f WHERE id = 1;
SELECT is(three(), '', 'own');
COPY f FROM stdin;
1	copied
\.
SELECT is(three(), 'copied COPIED copied');
ROLLBACK;
SELECT is(three(), 'new NEW new', 'after ROLLBACK');
BEGIN;
SELECT writecache.invalidate(r) FROM unnest('{f,w,pw}'::regclass[]) r;
INSERT INTO root VALUES (50, 'own');
SELECT is((writecache.get(NULL::f, 50)).v, 'own', 'INSERT by way of a parent');
ROLLBACK;
SELECT is(writecache.get(NULL::f, 50), NULL);

-- A row is as old as the transaction in which the server was asked.
SELECT writecache.alter(r, max_staleness => '300 ms') FROM unnest('{f,w,pw}'::regclass[]) r;
SELECT writecache.invalidate(r) FROM unnest('{f,w,pw}'::regclass[]) r;
BEGIN;
SELECT count(*) FROM f;
SELECT pg_sleep(0.4);
SELECT is(three(), 'new NEW new', 'as the server was 0.4 s ago');
COMMIT;
UPDATE remote SET v = 'newer' WHERE id = 1;
SELECT is(three(), 'newer NEWER newer', 'too old for others');

-- Rows that wait in this transaction for its commit are stored when they are read.
CREATE TABLE b (id int, v text);
SELECT writecache.attach('b', 'write_back', flush_interval => '1 day');
CREATE VIEW bw AS SELECT id, count(*) AS n FROM b GROUP BY id;
SELECT writecache.attach('bw', 'cache_aside', key => '{id}', max_staleness => '1 h');
BEGIN;
INSERT INTO b VALUES (1, 'own');
SELECT is((writecache.get(NULL::bw, 1)).n, 1::bigint, 'own row');
ROLLBACK;
SELECT is(writecache.get(NULL::bw, 1), NULL, 'seen by nobody else');

DROP SERVER cf_loopback CASCADE;
DROP SCHEMA cf CASCADE;
SELECT * FROM finish();
