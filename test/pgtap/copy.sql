-- COPY FROM stores what it stores in a plain table and fails as there, to the line and column of the input.
\ir ../tools/twins.psql
SELECT * FROM no_plan();

-- Runs a COPY in both and says whether it was captured: rows of the write buffer count when they are committed.
CREATE FUNCTION file(name text) RETURNS text LANGUAGE sql AS $$ SELECT current_setting('data_directory') || '/pgtap_' || name $$;
CREATE FUNCTION same_copy(statement text) RETURNS SETOF text LANGUAGE sql AS $$ SELECT same(replace(statement, '<dir>/', file('')), NULL) $$;
CREATE FUNCTION bad_copy(statement text, state text) RETURNS SETOF text LANGUAGE sql AS $$ SELECT same_error(replace(statement, '<dir>/', file('')), state) $$;

SELECT make_twins($$
  CREATE TABLE t (id int NOT NULL, v text DEFAULT 'd', n numeric(6, 2) CHECK (n < 100), at timestamptz DEFAULT '2020-01-01 00:00Z');
  CREATE TABLE computed (a int, g int GENERATED ALWAYS AS (a * 2) STORED, i int GENERATED ALWAYS AS IDENTITY, s serial, b text DEFAULT upper('x'));
$$, '{t,computed}', $$flush_interval => '1 day'$$);

-- Text.
SELECT same_copy($$COPY t FROM PROGRAM 'printf "1\tone\t1.5\t2021-01-01\n2\t\\\\N\t\\\\N\t\\\\N\n"'$$);
SELECT same_copy($$COPY t (id) FROM PROGRAM 'printf "3\n4\n"'$$);
SELECT same_copy($$COPY t (v, id) FROM PROGRAM 'printf "tab\\\\\\\\tnewline\\\\\\\\nback\\\\\\\\\\\\\\\\\t5\n\t6\n"'$$);
SELECT same_copy($$COPY t (id, v) FROM PROGRAM 'printf "7\tlast line without newline"'$$);
SELECT same_copy($$COPY t (id, v) FROM PROGRAM 'printf "8\tseen\n\\\\.\n9\tnot seen\n"'$$);
SELECT same_copy($$COPY t (id, v) FROM PROGRAM 'printf "10|none\n"' (DELIMITER '|', NULL 'none')$$);
SELECT same_copy($$COPY t (id, v) FROM PROGRAM 'printf "11\tcr\r\n12\tlf\r\n"'$$);
SELECT same_copy($$COPY t (id, v) FROM PROGRAM 'printf "13\tnot ascii: \\344\n"' (ENCODING 'LATIN1')$$);
SELECT same_copy($$COPY t FROM '/dev/null'$$);
SELECT same_rows('t', 12);
SELECT is(rows_captured(), (SELECT count(*) FROM captured.t), 'they went through the write buffer');

-- CSV, with all its options.
SELECT same_copy($$COPY t (id, v, n) FROM PROGRAM 'printf "id,v,n\n20,plain,1\n21,\"quoted, \"\"twice\"\"\nsecond line\",2\n22,,\n23,\"\",3\n"' (FORMAT csv, HEADER)$$);
SELECT same_copy($$COPY t (id, v) FROM PROGRAM 'printf "id;v\n24;~a;~~b~\n"' (FORMAT csv, HEADER match, DELIMITER ';', QUOTE '~')$$);
SELECT same_copy($$COPY t (id, v) FROM PROGRAM 'printf "25,\"a\\\\\"b\"\n"' (FORMAT csv, ESCAPE '\')$$);
SELECT same_copy($$COPY t (id, v) FROM PROGRAM 'printf "26,\n27,nix\n"' (FORMAT csv, NULL 'nix', FORCE_NOT_NULL (v))$$);
SELECT same_copy($$COPY t (id, v) FROM PROGRAM 'printf "28,\"nix\"\n"' (FORMAT csv, NULL 'nix', FORCE_NULL (v))$$);
SELECT same_copy($$COPY t (id, v) FROM PROGRAM 'printf "29,old syntax\n"' CSV$$);
SELECT same_copy($$COPY t (id, v) FROM PROGRAM 'printf "30,old syntax\n"' WITH DELIMITER ',' NULL AS 'x'$$);
SELECT same_rows('t', 22);

-- Binary, as written by COPY TO; files.
CREATE TABLE many AS SELECT x AS id, 'row ' || x AS v, (x % 100)::numeric(6, 2) AS n, timestamptz '2020-01-01' + x * interval '1 s' AS at FROM generate_series(1, 3000) x;
DO $$ BEGIN
  EXECUTE format('COPY many TO %L (FORMAT binary)', file('binary'));
  EXECUTE format('COPY many TO %L', file('text'));
  EXECUTE format('COPY many TO %L (FORMAT csv, HEADER)', file('csv'));
END $$;
SELECT same_copy($$COPY t FROM '<dir>/binary' (FORMAT binary)$$);
SELECT same_copy($$COPY t FROM '<dir>/text'$$);
SELECT same_copy($$COPY t FROM '<dir>/csv' (FORMAT csv, HEADER true)$$);
SELECT same_rows('t', 9000);

-- WHERE, over columns that are given, defaults and functions.
SELECT same_copy($$COPY t FROM '<dir>/text' WHERE id BETWEEN 100 AND 199 AND v LIKE '%5'$$);
SELECT same_copy($$COPY t FROM '<dir>/text' WHERE false$$);
SELECT same_copy($$COPY t FROM '<dir>/text' WHERE NULL$$);
SELECT same_copy($$COPY t (id) FROM PROGRAM 'printf "50\n51\n"' WHERE v = 'd' AND at < now() AND id > 50$$);
SELECT same_copy($$COPY t (id, n) FROM PROGRAM 'printf "52\t1000\n53\t1\n"' WHERE n < 100$$);
SELECT bad_copy($$COPY t (id, n) FROM PROGRAM 'printf "54\t1\n55\t1000\n"' WHERE n > 0$$, '23514');
SELECT bad_copy($$COPY t FROM '<dir>/text' WHERE 10 / (id - 7) < 5$$, '22012');
SELECT bad_copy($$COPY t FROM '<dir>/text' WHERE id$$, '42804');
SELECT bad_copy($$COPY t FROM '<dir>/text' WHERE nope = 1$$, '42703');
SELECT bad_copy($$COPY t FROM '<dir>/text' WHERE id IN (SELECT 1)$$, '0A000');
SELECT bad_copy($$COPY t FROM '<dir>/text' WHERE max(id) > 1$$, '42803');
SELECT bad_copy($$COPY t FROM '<dir>/text' WHERE generate_series(1, 2) = 1$$, '0A000');
SELECT same_copy($$COPY t (id) FROM PROGRAM 'printf "56\n"' WHERE tableoid > 0$$);
SELECT same_copy($$COPY t (id) FROM PROGRAM 'printf "57\n"' WHERE t IS NOT NULL$$);
SELECT same_rows('t', 9010);

-- Columns that are computed.
SELECT same_copy($$COPY computed (a) FROM PROGRAM 'printf "1\n2\n\\\\N\n"'$$);
SELECT same_copy($$COPY computed (b, a, i) FROM PROGRAM 'printf "given\t3\t100\n"'$$);
SELECT same_copy($$COPY computed FROM PROGRAM 'printf "4\t200\t300\tall\n"'$$);
SELECT same_copy($$COPY computed (a) FROM PROGRAM 'printf "5\n6\n"' WHERE a = 5$$);
SELECT bad_copy($$COPY computed (a, g) FROM PROGRAM 'printf "1\t2\n"'$$, '42P10');
SELECT bad_copy($$COPY computed (a) FROM PROGRAM 'printf "2000000000\n"'$$, '22003');
SELECT bad_copy($$COPY computed (i) FROM PROGRAM 'printf "\\\\N\n"'$$, '23502');
SELECT same_copy($$COPY computed (a) FROM PROGRAM 'printf "1\n"' WHERE g = 2$$);
SELECT same_rows('computed', 6);

-- Errors in the input.
SELECT bad_copy($$COPY t (id) FROM PROGRAM 'printf "60\n61\nnot a number\n62\n"'$$, '22P02');
SELECT bad_copy($$COPY t (id, v) FROM PROGRAM 'printf "60\ta\n61\n"'$$, '22P04');
SELECT bad_copy($$COPY t (id) FROM PROGRAM 'printf "60\textra\n"'$$, '22P04');
SELECT bad_copy($$COPY t (id) FROM PROGRAM 'printf "60\n\\\\N\n"'$$, '23502');
SELECT bad_copy($$COPY t (v) FROM PROGRAM 'printf "a\nb\n"'$$, '23502');
SELECT bad_copy($$COPY t (id, n) FROM PROGRAM 'printf "60\t1\n61\t500\n"'$$, '23514');
SELECT bad_copy($$COPY t (id, n) FROM PROGRAM 'printf "60\t123456.789\n"'$$, '22003');
SELECT bad_copy($$COPY t (id, at) FROM PROGRAM 'printf "60\t2020-02-30\n"'$$, '22008');
SELECT bad_copy($$COPY t (id, v) FROM PROGRAM 'printf "60,\"unterminated\n"' CSV$$, '22P04');
SELECT bad_copy($$COPY t (id, v) FROM PROGRAM 'printf "60\t\\377\n"' (ENCODING 'UTF8')$$, '22021');
SELECT bad_copy($$COPY t (id, v) FROM PROGRAM 'printf "60\ta\r61\tb\n"'$$, '22P04');
SELECT bad_copy($$COPY t (id, v) FROM PROGRAM 'printf "x,y\n60,a\n"' (FORMAT csv, HEADER match)$$, '22P04');
SELECT bad_copy($$COPY t FROM PROGRAM 'printf "no header"' (FORMAT binary)$$, '22P04');
SELECT bad_copy($$COPY t (id) FROM '<dir>/binary' (FORMAT binary)$$, '22P04');
SELECT bad_copy($$COPY t (v, id, n, at) FROM '<dir>/binary' (FORMAT binary)$$, '22021');
SELECT bad_copy($$COPY t (id) FROM PROGRAM 'printf "60\n"; exit 3'$$, '38000');
SELECT bad_copy($$COPY t FROM '<dir>/nowhere'$$, '58P01');
SELECT bad_copy($$COPY t FROM 'relative'$$, '58P01');
SELECT bad_copy($$COPY t FROM '/tmp'$$, '42809');
-- Errors in the statement.
SELECT bad_copy($$COPY t (nope) FROM '/dev/null'$$, '42703');
SELECT bad_copy($$COPY t (id, id) FROM '/dev/null'$$, '42701');
SELECT bad_copy($$COPY t (ctid) FROM '/dev/null'$$, '42703');
SELECT bad_copy($$COPY t FROM '/dev/null' (FORMAT xml)$$, '22023');
SELECT bad_copy($$COPY t FROM '/dev/null' (NO_SUCH_OPTION)$$, '42601');
SELECT bad_copy($$COPY t FROM '/dev/null' (FORMAT csv, FORMAT csv)$$, '42601');
SELECT bad_copy($$COPY t FROM '/dev/null' (FORMAT binary, DELIMITER ',')$$, '42601');
SELECT bad_copy($$COPY t FROM '/dev/null' (FORCE_NULL (id))$$, '0A000');
SELECT bad_copy($$COPY t FROM '/dev/null' (FORMAT csv, FORCE_NULL (nope))$$, '42703');
SELECT bad_copy($$COPY t FROM '/dev/null' (ENCODING 'klingon')$$, '22023');
SELECT bad_copy($$COPY t FROM '/dev/null' (DELIMITER 'ab')$$, '0A000');
SELECT bad_copy($$COPY no_such_table FROM '/dev/null'$$, '42P01');
SELECT bad_copy($$COPY t FROM '<dir>/text' (FREEZE)$$, '25000');
SELECT same_rows('t', 9010);

-- What is left to PostgreSQL's own COPY works all the same.
SELECT same_copy($x$DO $$ BEGIN TRUNCATE t; COPY t (id) FROM PROGRAM 'printf "70\n71\n"'; END $$$x$);
SET writecache.capture = off;
SELECT same_copy($$COPY t (id) FROM PROGRAM 'printf "72\n"'$$);
SELECT is((SELECT count(*) FROM captured.t WHERE id = 72), 1::bigint, 'capture = off');
RESET writecache.capture;
SET default_transaction_isolation = 'serializable';
SELECT same_copy($$COPY t (id) FROM PROGRAM 'printf "73\n"'$$);
SELECT is((SELECT count(*) FROM captured.t WHERE id = 73), 1::bigint, 'serializable');
RESET default_transaction_isolation;
SELECT same_rows('t', 4);
SELECT make_twins($$
  CREATE VIEW simple AS SELECT id, v FROM t;
  CREATE VIEW by_trigger AS SELECT id FROM t;
  CREATE FUNCTION instead() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO t (id, v) VALUES (NEW.id, ''by trigger''); RETURN NEW; END';
  CREATE TRIGGER instead INSTEAD OF INSERT ON by_trigger FOR EACH ROW EXECUTE FUNCTION instead();
  CREATE TABLE parts (a int, b text DEFAULT 'x') PARTITION BY LIST (a);
  CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
  CREATE TABLE parts_2 (b text CHECK (b <> 'bad'), a int);
  ALTER TABLE parts ATTACH PARTITION parts_2 FOR VALUES IN (2);
$$, '{parts}');
SELECT bad_copy($$COPY simple FROM '/dev/null'$$, '42809');
SELECT same_copy($$COPY by_trigger FROM PROGRAM 'printf "80\n81\n"'$$);
SELECT same_rows('t', 6);
-- A partitioned table: the partition's checks at once, with the line.
SELECT same_copy($$COPY parts FROM PROGRAM 'printf "1\tone\n2\ttwo\n"'$$);
SELECT bad_copy($$COPY parts FROM PROGRAM 'printf "1\tone\n3\tthree\n"'$$, '23514');
SELECT bad_copy($$COPY parts FROM PROGRAM 'printf "1\tone\n2\tbad\n"'$$, '23514');
SELECT same_copy($$COPY parts_1 FROM PROGRAM 'printf "1\tdirectly\n"'$$);
SELECT bad_copy($$COPY parts_1 FROM PROGRAM 'printf "2\tdirectly\n"'$$, '23514');
SELECT same_rows('parts', 3);

-- Transactions: a savepoint takes COPY back, and what follows sees its rows.
BEGIN;
COPY captured.t (id) FROM PROGRAM 'printf "90\n91\n"';
SAVEPOINT s;
COPY captured.t (id) FROM PROGRAM 'printf "92\n"';
ROLLBACK TO s;
COPY captured.t (id) FROM PROGRAM 'printf "93\n"';
SELECT is((SELECT string_agg(id::text, ',' ORDER BY id) FROM captured.t WHERE id BETWEEN 90 AND 99), '90,91,93', 'its own rows');
UPDATE captured.t SET v = 'updated' WHERE id = 91;
COMMIT;
INSERT INTO plain.t (id, v) VALUES (90, 'd'), (93, 'd'), (91, 'updated');
SELECT same_rows('t', 9);
-- Too much for the buffer, one row that is, and none at all.
SET writecache.bulk_bypass = '64kB';
SELECT same_copy($$COPY t FROM '<dir>/text'$$);
SELECT is((SELECT count(*) FROM captured.t WHERE v LIKE 'row %'), 3000::bigint, 'stored at once');
RESET writecache.bulk_bypass;
SELECT same_copy($$COPY t (id, v) FROM PROGRAM 'printf "94\t%s\n" "$(head -c 1200000 /dev/zero | tr "\\0" x)"'$$);
SELECT same_rows('t', 3010);
-- Errors leave nothing.
BEGIN;
COPY captured.t (id) FROM PROGRAM 'printf "10095\n"';
SAVEPOINT s;
SELECT isnt(error_of($$COPY captured.t (id) FROM PROGRAM 'printf "10096\nbad\n"'$$), NULL, 'fails in its second line');
COPY captured.t (id) FROM PROGRAM 'printf "10097\n"';
COMMIT;
SELECT writecache.flush() >= 0;
SELECT is((SELECT string_agg(id::text, ',' ORDER BY id) FROM captured.t WHERE id > 10000), '10095,10097', 'not the line before it either');

-- Rights: the table's, its columns', files and programs; row security.
CREATE ROLE pgtap_copy_writer;
SELECT make_twins($$
  CREATE TABLE r (a int, b int, c int DEFAULT 3);
  GRANT INSERT (a, b) ON r TO pgtap_copy_writer;
  CREATE TABLE guarded (a int);
  ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
  GRANT ALL ON guarded TO pgtap_copy_writer;
$$, '{r,guarded}');
GRANT pg_execute_server_program TO pgtap_copy_writer;
CREATE FUNCTION both_as(statement text) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(as_role('pgtap_copy_writer', replace(statement, '<t>', place)), ' / ') FROM unnest('{plain,captured}'::text[]) place
$$;
SELECT is(both_as($$COPY <t>.r (a, b) FROM PROGRAM 'printf "1\t2\n"'$$), 'ok / ok', 'columns that may be inserted');
SELECT is(both_as($$COPY <t>.r (a, c) FROM PROGRAM 'printf "1\t2\n"'$$), '42501 permission denied for table r / 42501 permission denied for table r', 'and one that may not');
SELECT is(both_as($$COPY <t>.r FROM PROGRAM 'printf "1\t2\t3\n"'$$), '42501 permission denied for table r / 42501 permission denied for table r', 'all columns');
SELECT is(both_as($$COPY <t>.r (a) FROM PROGRAM 'printf "1\n"' WHERE b IS NULL$$), '42501 permission denied for table r / 42501 permission denied for table r', 'WHERE reads its columns');
SELECT make_twins('GRANT SELECT (b) ON r TO pgtap_copy_writer', '{}');
SELECT is(both_as($$COPY <t>.r (a) FROM PROGRAM 'printf "1\n"' WHERE b IS NULL$$), 'ok / ok', 'with the right to read them');
SELECT is(both_as($$COPY <t>.r (a) FROM PROGRAM 'printf "1\n"' WHERE c = 3$$), '42501 permission denied for table r / 42501 permission denied for table r', 'but not others');
SELECT matches(both_as($$COPY <t>.r (a) FROM '/dev/null'$$), '^42501 (.*) / 42501 \1$', 'a file');
REVOKE pg_execute_server_program FROM pgtap_copy_writer;
SELECT matches(both_as($$COPY <t>.r (a) FROM PROGRAM 'true'$$), '^42501 (.*) / 42501 \1$', 'a program');
GRANT pg_read_server_files TO pgtap_copy_writer;
SELECT is(both_as($$COPY <t>.r (a) FROM '/dev/null'$$), 'ok / ok', 'a file for who may read files');
SELECT is(both_as($$COPY <t>.guarded (a) FROM '/dev/null'$$), '0A000 COPY FROM not supported with row-level security / 0A000 COPY FROM not supported with row-level security', 'row security');
SELECT same_rows('r', 2);
DROP OWNED BY pgtap_copy_writer;
DROP ROLE pgtap_copy_writer;

SELECT * FROM finish();
