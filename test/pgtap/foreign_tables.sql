-- Foreign tables, and partitions that are, by postgres_fdw over a connection to this very database.
\ir ../tools/twins.psql
SELECT * FROM no_plan();

CREATE EXTENSION postgres_fdw;
DO $$ BEGIN
  EXECUTE format('CREATE SERVER loopback FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host %L, port %L, dbname %L, batch_size %L)',
                 current_setting('unix_socket_directories'), current_setting('port'), current_database(), 50);
END $$;
CREATE USER MAPPING FOR CURRENT_USER SERVER loopback OPTIONS (user 'postgres');
SELECT make_twins($$
  CREATE TABLE remote (id int PRIMARY KEY, v text, n int CHECK (n < 1000), at timestamptz);
  DO $do$ BEGIN
    EXECUTE format('CREATE FOREIGN TABLE t (id int NOT NULL, v text DEFAULT ''local'', n int CHECK (n > 0), at timestamptz DEFAULT ''2020-01-01'') SERVER loopback OPTIONS (schema_name %L, table_name %L)', current_schema(), 'remote');
  END $do$;
$$, '{t}', $$flush_interval => '1 day'$$);
SELECT same($$INSERT INTO t VALUES (1, 'one', 1), (2, NULL, NULL)$$);
SELECT same($$INSERT INTO t (id) VALUES (3) RETURNING *$$);
SELECT same($$INSERT INTO t SELECT x, repeat('v', x), x FROM generate_series(100, 399) x$$);
SELECT same($$COPY t (id, n) FROM PROGRAM 'printf "4\t4\n5\t\\\\N\n"'$$, NULL);
-- Constraints of a foreign table are not checked here, those of the table behind it are: when it is flushed.
SELECT same($$INSERT INTO t VALUES (6, 'x', 0)$$);
SELECT same($$COPY t (id, n) FROM PROGRAM 'printf "7\t-7\n"'$$, NULL);
SELECT same_error($$INSERT INTO t VALUES ('x')$$, '22P02');
SELECT is(writecache.insert(ROW(8, 'row', 8, NULL)::captured.t) + writecache.insert('captured.t', '{"id": 9}'), 2::bigint, 'the functions');
INSERT INTO plain.t VALUES (8, 'row', 8, NULL);
INSERT INTO plain.t (id) VALUES (9);
SELECT same_rows('t', 309);
SELECT same_rows('remote', 309);
SELECT is(rows_captured(), 309::bigint, 'they went through the write buffer');

-- What the other server refuses is rejected, its neighbours are stored.
INSERT INTO captured.t VALUES (1, 'again', 1), (10, 'good', 10), (11, 'too much', 5000), (12, 'good', 12);
SELECT is(writecache.flush('captured.t') >= 0, true);
SELECT results_eq('SELECT id FROM captured.remote WHERE id BETWEEN 10 AND 20 ORDER BY id', 'VALUES (10), (12)', 'good rows');
SELECT results_eq($$SELECT row->>'id', sqlstate, message FROM writecache.rejected ORDER BY id$$, $$VALUES ('1', '23505', 'duplicate key value violates unique constraint "remote_pkey"'),
  ('11', '23514', 'new row for relation "remote" violates check constraint "remote_n_check"')$$, 'bad rows');
DELETE FROM captured.remote WHERE id = 1;
SELECT is(writecache.retry_rejected('captured.t'), 1::bigint, 'tried again');
SELECT is((SELECT v FROM captured.remote WHERE id = 1), 'again');

-- Transactions and its own rows.
BEGIN;
INSERT INTO captured.t VALUES (30, 'staged');
SELECT is((SELECT count(*) FROM captured.t WHERE id = 30), 1::bigint, 'its own rows');
ROLLBACK;
BEGIN;
INSERT INTO captured.t VALUES (31, 'staged');
SAVEPOINT s;
INSERT INTO captured.t VALUES (32, 'staged');
ROLLBACK TO s;
COMMIT;
UPDATE captured.t SET v = 'updated' WHERE id = 31;
SELECT results_eq('SELECT id, v FROM captured.remote WHERE id BETWEEN 30 AND 39', $$VALUES (31, 'updated')$$, 'UPDATE sees what is pending');
INSERT INTO captured.t VALUES (33, 'before ALTER');
ALTER FOREIGN TABLE captured.t ALTER v SET DEFAULT 'x', ALTER n DROP NOT NULL;
ALTER FOREIGN TABLE captured.t RENAME v TO w;
ALTER FOREIGN TABLE captured.t ALTER w OPTIONS (column_name 'v');
INSERT INTO captured.t (id) VALUES (34);
SELECT is(writecache.flush('captured.t') >= 0, true);
SELECT results_eq('SELECT id, v FROM captured.remote WHERE id IN (33, 34) ORDER BY id', $$VALUES (33, 'before ALTER'), (34, 'x')$$, 'ALTER FOREIGN TABLE');

-- Another server that is away for a while keeps its rows pending.
ALTER SERVER loopback OPTIONS (SET port '1');
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'postgres_fdw' AND datname = current_database();
INSERT INTO captured.t (id) VALUES (40);
CREATE TABLE captured.other (id int);
SELECT writecache.attach('captured.other', 'write_back', flush_interval => '1 day');
INSERT INTO captured.other VALUES (1);
SELECT is(writecache.wait(writecache.position(), '1 ms'), false, 'not stored');
SELECT is(writecache.flush('captured.other') >= 0, true, 'other tables are');
SELECT eventually($$SELECT state = 'retrying' FROM writecache.tables WHERE relation = 'captured.t'::regclass$$, 'it is tried again and again');
SELECT is((SELECT rows_pending FROM writecache.stat_write_back WHERE relation = 'captured.t'::regclass), 1::bigint, 'the row is kept');
DO $$ BEGIN EXECUTE format('ALTER SERVER loopback OPTIONS (SET port %L)', current_setting('port')); END $$;
SELECT writecache.alter('captured.t');
SELECT eventually($$SELECT rows_pending = 0 FROM writecache.stat_write_back WHERE relation = 'captured.t'::regclass$$, 'and stored when the server is back');
SELECT is((SELECT count(*) FROM captured.remote WHERE id = 40), 1::bigint, 'once');

-- Partitions here and there.
SELECT make_twins($$
  CREATE TABLE far (id int, v text);
  CREATE TABLE parts (id int, v text) PARTITION BY RANGE (id);
  CREATE TABLE near PARTITION OF parts FOR VALUES FROM (0) TO (100);
  DO $do$ BEGIN
    EXECUTE format('CREATE FOREIGN TABLE far_part PARTITION OF parts FOR VALUES FROM (100) TO (200) SERVER loopback OPTIONS (schema_name %L, table_name %L)', current_schema(), 'far');
  END $do$;
$$, '{parts}', $$flush_interval => '1 day'$$);
SELECT same($$INSERT INTO parts SELECT x, 'v' || x FROM generate_series(0, 199, 7) x RETURNING *$$);
SELECT same($$COPY parts FROM PROGRAM 'printf "5\tnear\n105\tfar\n"'$$, NULL);
SELECT same_error($$INSERT INTO parts VALUES (200)$$, '23514');
SELECT same_rows('parts', 31);
SELECT same_rows('far', 10);
SELECT same_rows('near', 10);

INSERT INTO captured.t (id) VALUES (50);
SELECT writecache.detach('captured.t');
SELECT is((SELECT count(*) FROM captured.remote WHERE id = 50), 1::bigint, 'detached');

-- Another server, or another user there: what is pending was meant for the one before.
CREATE FUNCTION are_stored(statement text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
  EXECUTE statement;
  RETURN is((SELECT sum(rows_pending)::int FROM writecache.stat_write_back WHERE relation IN ('captured.t'::regclass, 'captured.parts'::regclass)), 0, statement);
END $$;
SELECT writecache.attach('captured.t', 'write_back', flush_interval => '1 day');
INSERT INTO captured.t (id) VALUES (61);
INSERT INTO captured.parts VALUES (108);
SELECT are_stored($$ALTER SERVER loopback OPTIONS (ADD application_name 'other')$$);
INSERT INTO captured.t (id) VALUES (62);
SELECT are_stored($$ALTER USER MAPPING FOR CURRENT_USER SERVER loopback OPTIONS (ADD password 'other')$$);
INSERT INTO captured.parts VALUES (109);
SELECT are_stored($$DROP USER MAPPING FOR CURRENT_USER SERVER loopback$$);
CREATE USER MAPPING FOR CURRENT_USER SERVER loopback OPTIONS (user 'postgres');
SELECT is((SELECT count(*) FROM captured.remote WHERE id IN (61, 62)) + (SELECT count(*) FROM captured.far WHERE id IN (108, 109)), 4::bigint, 'all of them');

-- A partition that goes with its server: what the parent took for it is at its place before.
CREATE TABLE captured.parts_else PARTITION OF captured.parts DEFAULT;
INSERT INTO captured.parts VALUES (110, 'far'), (310, 'else');
BEGIN;
DROP SERVER loopback CASCADE;
SELECT results_eq('SELECT id FROM captured.parts WHERE id >= 100', 'VALUES (310)', 'not in another partition');
COMMIT;
SELECT writecache.flush();
SELECT results_eq('SELECT id FROM captured.parts_else', 'VALUES (310)', 'nor later');
SELECT is((SELECT count(*) FROM captured.far WHERE id = 110), 1::bigint, 'but behind the foreign table');
SELECT * FROM finish();
