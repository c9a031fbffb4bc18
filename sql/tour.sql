-- A tour of a write-back table: attach, insert, look, flush, what goes wrong, detach.
\set QUIET off
\set SHOW_CONTEXT always
CREATE TABLE stations (id int PRIMARY KEY, name text);
INSERT INTO stations VALUES (1, 'Potsdam'), (2, 'Jena');
CREATE TABLE readings (
  station  int NOT NULL REFERENCES stations,
  at       timestamptz NOT NULL,
  celsius  numeric(4, 1) CHECK (celsius > -90),
  PRIMARY KEY (station, at),
  EXCLUDE USING btree (at WITH =)
);
CREATE UNIQUE INDEX one_per_day ON readings (station, ((at AT TIME ZONE 'UTC')::date));
SET TimeZone = 'UTC';

-- attach says what will be checked later.
SELECT writecache.attach('readings', 'write_back', flush_interval => '1 day');
TABLE writecache.tables;

-- A plain INSERT is captured; so are RETURNING, INSERT ... SELECT, COPY and the functions.
EXPLAIN (COSTS OFF) INSERT INTO readings VALUES (1, '2020-01-01', -3.5);
EXPLAIN (COSTS OFF, VERBOSE) INSERT INTO readings VALUES (1, '2020-01-01', -3.5) RETURNING celsius * 1.8 + 32 AS fahrenheit;
INSERT INTO readings VALUES (1, '2020-01-01', -3.5);
INSERT INTO readings VALUES (1, '2020-01-02', 20.25) RETURNING celsius * 1.8 + 32 AS fahrenheit;
INSERT INTO readings SELECT 1, timestamptz '2020-02-01' + day * interval '1 day', day FROM generate_series(1, 5) day;
COPY readings FROM stdin;
2	2020-03-01 00:00	7.5
2	2020-03-02 00:01	\N
\.
COPY readings (celsius, at, station) FROM stdin (FORMAT csv, HEADER) WHERE celsius > 0;
celsius,at,station
8.5,2020-03-03 00:02,2
-8.5,2020-03-04 00:03,2
\.
SELECT writecache.insert(ROW(2, '2020-03-05', 9.5)::readings);
SELECT writecache.insert(ARRAY[ROW(2, '2020-03-06', 9.5), ROW(2, '2020-03-07', 9.6)]::readings[]);
SELECT writecache.insert('readings', '[{"station": 2, "at": "2020-03-08", "celsius": 10}, {"station": 2, "at": "2020-03-09"}]');

-- What cannot wait is done at once.
EXPLAIN (COSTS OFF) INSERT INTO readings VALUES (1, '2020-01-01', -3.5) ON CONFLICT DO NOTHING;
SET writecache.capture = off;
EXPLAIN (COSTS OFF) INSERT INTO readings VALUES (1, '2020-01-01', -3.5);
RESET writecache.capture;

-- So many are pending; flush stores them.
SELECT relation, rows_pending, bytes_pending > 0 AS some_bytes, oldest_pending > '0' AS some_age, rows_captured, rows_flushed, batches, last_flush FROM writecache.stat_write_back;
SELECT writecache.flush('readings');
SELECT relation, rows_pending, bytes_pending, oldest_pending, rows_captured, rows_flushed, rows_rejected, batches > 0 AS some_batches, last_flush <= now() AS has_flushed, last_error FROM writecache.stat_write_back;
SELECT * FROM readings ORDER BY station, at;

-- Errors of a row come at once, those of several rows when they are stored.
INSERT INTO readings VALUES (1, NULL, 0);
INSERT INTO readings VALUES (1, '2020-04-01', -100);
INSERT INTO readings VALUES (1, '2020-04-01', 1000);
INSERT INTO readings VALUES (1, 'yesterdayish', 0);
COPY readings FROM stdin;
1	2020-04-01	1
1	2020-04-02	-99
\.
COPY readings FROM stdin;
1	2020-04-01	1
1	2020-04-02
\.
COPY readings FROM stdin WHERE celsius / 0 > 1;
1	2020-04-01	1
\.
INSERT INTO readings VALUES (1, '2020-04-01 12:00', 12), (1, '2020-04-01 13:00', 13), (3, '2020-04-02', 14), (2, '2020-04-01 12:00', 15);
SELECT writecache.flush() >= 0 AS flushed;
SELECT relation, row, sqlstate, message, detail, constraint_name, attempts, staged_by = current_user::regrole AS mine FROM writecache.rejected ORDER BY id;
INSERT INTO stations VALUES (3, 'Fehmarn');
SELECT writecache.retry_rejected('readings');
SELECT writecache.discard_rejected('readings');
SELECT * FROM readings WHERE at >= '2020-04-01' ORDER BY station, at;

-- Options.
SELECT writecache.alter('readings', flush_rows => 1000, on_conflict => 'ignore');
SELECT relation, flush_interval, flush_rows, on_conflict FROM writecache.tables;
SELECT writecache.alter('readings', flush_rows => 0);
SELECT writecache.attach('readings', 'write_back');
SELECT writecache.attach('pg_class', 'write_back');
CREATE VIEW warm AS SELECT * FROM readings WHERE celsius > 10;
SELECT writecache.attach('warm', 'write_back');

-- A transaction that is rolled back leaves nothing behind; one that is committed leaves everything.
BEGIN;
INSERT INTO readings VALUES (3, '2020-05-01', 1);
SAVEPOINT s;
INSERT INTO readings VALUES (3, '2020-05-02', 2);
ROLLBACK TO s;
INSERT INTO readings VALUES (3, '2020-05-03', 3);
COMMIT;
BEGIN;
INSERT INTO readings VALUES (3, '2020-05-04', 4);
ROLLBACK;
SELECT writecache.position() > 0 AS token;
SELECT writecache.wait(writecache.position(), '1 min');
SELECT * FROM readings WHERE at >= '2020-05-01' ORDER BY at;

-- detach stores what is pending and leaves an ordinary table.
INSERT INTO readings VALUES (3, '2020-06-01', 6);
SELECT writecache.detach('readings');
SELECT count(*) FROM readings;
EXPLAIN (COSTS OFF) INSERT INTO readings VALUES (1, '2020-01-01', -3.5);
SELECT writecache.flush('readings');
TABLE writecache.tables;
DROP TABLE readings, stations CASCADE;
