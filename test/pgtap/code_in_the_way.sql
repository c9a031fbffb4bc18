-- User code that runs while rows are staged or stored: it sees what it would see without the extension, and cannot lose rows.
\ir ../tools/twins.psql
SELECT * FROM no_plan();
SET client_min_messages = warning;

-- Rows that refer to each other, stored in the middle of a transaction.
CREATE TABLE tree (id int PRIMARY KEY, parent int REFERENCES tree);
SELECT writecache.attach('tree', 'write_back', flush_interval => '1 day');
BEGIN;
INSERT INTO tree VALUES (1, NULL);
INSERT INTO tree VALUES (2, 1);
SELECT is((SELECT count(*) FROM tree), 2::bigint, 'own rows of a table that refers to itself');
COMMIT;
SET writecache.bulk_bypass = '1kB';
INSERT INTO tree SELECT i, i - 1 FROM generate_series(3, 500) i;
RESET writecache.bulk_bypass;
SELECT is((SELECT count(*) FROM tree), 500::bigint, 'and in bulk');

-- ON CONFLICT DO NOTHING meets own rows.
BEGIN;
INSERT INTO tree VALUES (1000, NULL);
INSERT INTO tree VALUES (1000, 1) ON CONFLICT DO NOTHING;
COMMIT;
SELECT writecache.flush();
SELECT is((SELECT parent FROM tree WHERE id = 1000), NULL, 'the first of two rows of one key stays');
SELECT is((SELECT count(*) FROM writecache.rejected), 0::bigint, 'none is rejected');

-- A statement that detaches the table it writes to.
CREATE TABLE target (a int);
SELECT writecache.attach('target', 'write_back', flush_interval => '1 day');
CREATE FUNCTION detaching(i int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
  IF i = 2 THEN PERFORM writecache.detach('target'); END IF;
  RETURN i;
END $$;
SELECT throws_ok('INSERT INTO target SELECT detaching(i) FROM generate_series(1, 4) i', '55006');
CREATE FUNCTION dropping(i int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
  IF i = 2 THEN DROP EXTENSION pg_writecache; END IF;
  RETURN i;
END $$;
SELECT throws_ok('INSERT INTO target SELECT dropping(i) FROM generate_series(1, 4) i', '55006');

-- Rules run once, by INSERT only.
CREATE TABLE log (id int);
CREATE TABLE ruled (id int, ref int REFERENCES tree);
CREATE TABLE elsewhere (id int, ref int);
CREATE RULE also AS ON INSERT TO ruled DO ALSO INSERT INTO log VALUES (new.id);
SELECT writecache.attach('ruled', 'write_back', flush_interval => '1 day');
INSERT INTO ruled VALUES (7, 1);
SELECT writecache.flush('ruled');
SELECT is((SELECT count(*) FROM log), 1::bigint, 'a rule that also logs does it once');
CREATE RULE instead AS ON INSERT TO ruled DO INSTEAD INSERT INTO elsewhere VALUES (new.id, new.ref);
COPY ruled FROM stdin;
8	1
\.
SELECT writecache.flush('ruled');
SELECT is((SELECT count(*) FROM ruled), 2::bigint, 'COPY takes no notice of rules');

-- A row type whose schema has another name now.
CREATE SCHEMA s;
CREATE TABLE s.t (a int);
SELECT writecache.attach('s.t', 'write_back', flush_interval => '1 day');
SELECT writecache.insert(ROW(1)::s.t);
ALTER SCHEMA s RENAME TO s2;
CREATE SCHEMA s;
CREATE TABLE s.t (a int);
SELECT writecache.insert(ROW(2)::s2.t);
SELECT writecache.flush();
SELECT is((SELECT count(*) FROM s2.t), 2::bigint, 'insert() finds the table that the type belongs to');
SELECT is((SELECT count(*) FROM s.t), 0::bigint, 'not its namesake');

-- Rejected rows: a lock that is not to be had is not a row's fault, and an id names one row.
CREATE TABLE child (a int, ref int REFERENCES tree);
SELECT writecache.attach('child', 'write_back', flush_interval => '1 day');
INSERT INTO child VALUES (1, -1), (2, -1);
SELECT writecache.flush('child');
SELECT is(writecache.discard_rejected('child', 0), 0::bigint, 'no row has the id 0');
SELECT is(writecache.retry_rejected('child', 0), 0::bigint, 'nor can it be tried again');
CREATE FUNCTION locked_out() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'stop' USING ERRCODE = '55P03'; END $$;
CREATE TRIGGER locked_out BEFORE INSERT ON child FOR EACH ROW EXECUTE FUNCTION locked_out();
SELECT throws_ok($$SELECT writecache.retry_rejected('child')$$, '55P03');
SELECT results_eq('SELECT DISTINCT sqlstate, attempts FROM writecache.rejected', $$VALUES ('23503', 1)$$, 'the rows keep their error');

-- An error text that is too long is cut between two characters.
CREATE FUNCTION long_winded() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = 'x' || repeat('é', 2000);
END $$;
CREATE TABLE failing (a int);
CREATE TRIGGER long_winded BEFORE INSERT ON failing FOR EACH ROW EXECUTE FUNCTION long_winded();
SELECT writecache.attach('failing', 'write_back', flush_interval => '1 day', allow_triggers => true);
INSERT INTO failing VALUES (1);
SELECT throws_ok($$SELECT writecache.flush('failing')$$, '55000');
SELECT matches((SELECT last_error FROM writecache.stat_write_back WHERE relation = 'failing'::regclass), '^42501: xé+$');
DROP TABLE failing;

-- COPY of a table shows own rows; TRUNCATE ... CASCADE removes pending ones; a session that replays is left alone.
CREATE TABLE referring (id int, ref int REFERENCES tree);
SELECT writecache.attach('referring', 'write_back', flush_interval => '1 day');
BEGIN;
INSERT INTO referring VALUES (1, NULL);
COPY referring TO PROGRAM 'grep -q 1';
COMMIT;
INSERT INTO referring VALUES (2, NULL);
TRUNCATE tree CASCADE;
SELECT writecache.flush();
SELECT is((SELECT count(*) FROM referring), 0::bigint, 'TRUNCATE CASCADE removes what was committed before it');
SET session_replication_role = replica;
INSERT INTO referring VALUES (3, 12345);
SELECT is((SELECT count(*) FROM referring), 1::bigint, 'a replica''s row goes to the table at once, unchecked');
RESET session_replication_role;
CREATE TABLE whole (a int) PARTITION BY RANGE (a);
CREATE TABLE part PARTITION OF whole FOR VALUES FROM (0) TO (10);
SELECT writecache.attach('whole', 'write_back', flush_interval => '1 day');
PREPARE routed AS INSERT INTO whole VALUES (1) RETURNING tableoid::regclass::text;
SELECT results_eq('routed', $$VALUES ('part')$$, 'RETURNING names the partition');
CREATE ROLE citw_other;
SET ROLE citw_other;
SELECT throws_ok('DROP EXTENSION pg_writecache', '42501');
RESET ROLE;
DROP ROLE citw_other;
SELECT * FROM finish();
