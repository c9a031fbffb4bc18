-- Session settings count when the statement runs, never when its rows are stored.
\ir ../tools/twins.psql
SELECT * FROM no_plan();

SELECT make_twins($$
  CREATE TABLE t (id serial, d date, ts timestamptz, tx text, f float8, x bytea, m money, by_default text DEFAULT now()::text || current_setting('my.tag', true));
  CREATE INDEX ON t ((ts AT TIME ZONE 'UTC'));
$$, '{t}', $$flush_interval => '1 day'$$);
SET DateStyle = 'German, DMY';
SET TimeZone = 'Asia/Tokyo';
SELECT same($$INSERT INTO t (d, ts, tx) VALUES ('03.02.2021', '03.02.2021 12:00', (timestamptz '03.02.2021 12:00')::text)$$);
SELECT same($$INSERT INTO t (d, tx) SELECT '1.2.2022', now()::text RETURNING d::text$$);
SET DateStyle = 'ISO, MDY';
SET TimeZone = 'America/New_York';
SET my.tag = 'tagged';
SET extra_float_digits = -10;
SET bytea_output = 'escape';
SET IntervalStyle = 'iso_8601';
SELECT same($$INSERT INTO t (d, ts, tx, f, x) VALUES ('03/02/2021', '03/02/2021 12:00', (interval '1 day 2 hours')::text, 0.1::float8 + 0.2, '\x00ff')$$);
SELECT same($$INSERT INTO t (tx) VALUES ((0.1::float8 + 0.2)::text), ('\x00ff'::bytea::text) RETURNING tx, by_default LIKE '%tagged'$$);
SELECT same($$INSERT INTO t (tx) SELECT current_setting('TimeZone') || current_setting('search_path') LIKE '%x' RETURNING tx IS NULL$$);
RESET ALL;
SET client_min_messages = warning;
SELECT same_rows('t', 6);

-- An index expression or a domain check that looks up names by search_path runs at flush under a safe one, qualified names work.
SELECT make_twins($$CREATE TABLE enc (t text)$$, '{enc}', $$flush_interval => '1 day'$$);
SET client_encoding = 'LATIN1';
SELECT same($$INSERT INTO enc VALUES (chr(228) || 'x')$$);
SET client_encoding = 'UTF8';
SELECT same_rows('enc', 1);

-- statement_timeout, role and replication role.
SET session_replication_role = replica;
SELECT same($$INSERT INTO enc VALUES ('replica')$$, 'aside');
RESET session_replication_role;
SET statement_timeout = '1h';
SELECT same($$INSERT INTO enc VALUES ('timeout')$$);
RESET statement_timeout;
SELECT same_rows('enc', 3);

SELECT * FROM finish();
