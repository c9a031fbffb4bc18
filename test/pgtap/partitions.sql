-- Partitioned tables, and partitions attached themselves: routing, bounds and messages are a plain table's.
\ir ../tools/twins.psql
SELECT * FROM no_plan();

SELECT make_twins($$
  CREATE TABLE t (at date NOT NULL, v int, note text DEFAULT 'n') PARTITION BY RANGE (at);
  CREATE TABLE t_2020 PARTITION OF t FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
  -- Another column order and a dropped column.
  CREATE TABLE t_2021 (gone int, note text DEFAULT 'of 2021', v int, at date NOT NULL);
  ALTER TABLE t_2021 DROP gone;
  ALTER TABLE t ATTACH PARTITION t_2021 FOR VALUES FROM ('2021-01-01') TO ('2022-01-01');
$$);
SELECT same($$INSERT INTO t VALUES ('2020-05-05', 1), ('2021-05-05', 2) RETURNING at, v, note$$);
SELECT same($$INSERT INTO t (v, at) SELECT x, date '2020-01-01' + x FROM generate_series(0, 700) x$$);
SELECT same_rows('t', 703);
SELECT same($$SELECT tableoid::regclass::text, count(*), min(at), max(at) FROM t GROUP BY 1 ORDER BY 1$$, NULL);
-- There is no partition for it: the row is refused at once, as on a plain table.
SELECT same_error($$INSERT INTO t VALUES ('2030-01-01', 1)$$, '23514');
SELECT same_error($$INSERT INTO t VALUES (NULL, 1)$$, '23514');
-- Nor do constraints of the partition itself wait for the flush.
SELECT make_twins($$ALTER TABLE t_2021 ADD CHECK (v < 1000)$$, '{}');
SELECT same_error($$INSERT INTO t VALUES ('2021-01-01', 1000)$$, '23514');

-- A partition made after attach takes rows.
SELECT make_twins($$CREATE TABLE t_2022 PARTITION OF t FOR VALUES FROM ('2022-01-01') TO ('2023-01-01')$$, '{}');
SELECT same($$INSERT INTO t VALUES ('2022-05-05', 3)$$);
SELECT same_rows('t', 704);

-- A partition attached itself.
SELECT make_twins($$
  CREATE TABLE p (k int, v text) PARTITION BY LIST (k);
  CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1, 2);
  CREATE TABLE p_rest PARTITION OF p DEFAULT;
$$, '{p1,p_rest}');
SELECT same($$INSERT INTO p1 VALUES (1, 'direct') RETURNING tableoid::regclass::text, *$$);
SELECT same($$INSERT INTO p_rest VALUES (7, 'direct')$$);
SELECT same_error($$INSERT INTO p1 VALUES (3, 'not here')$$, '23514');
SELECT same_error($$INSERT INTO p_rest VALUES (1, 'not here')$$, '23514');
SELECT same_error($$INSERT INTO p1 VALUES (NULL, 'not here')$$, '23514');
-- By way of the parent, which is not attached.
SELECT same($$INSERT INTO p VALUES (2, 'routed'), (8, 'routed') RETURNING tableoid::regclass::text, *$$, 'plain');
SELECT same_rows('p', 4);
SELECT same_rows('p1', 2);

-- Sub-partitions, hash and an expression key; identity of the parent, generated columns.
SELECT make_twins($$
  CREATE TABLE h (id bigint GENERATED ALWAYS AS IDENTITY, name text, len int GENERATED ALWAYS AS (length(name)) STORED) PARTITION BY HASH (lower(name));
  CREATE TABLE h0 PARTITION OF h FOR VALUES WITH (MODULUS 2, REMAINDER 0);
  CREATE TABLE h1 PARTITION OF h FOR VALUES WITH (MODULUS 2, REMAINDER 1) PARTITION BY RANGE (id);
  CREATE TABLE h1_low PARTITION OF h1 FOR VALUES FROM (MINVALUE) TO (50);
  CREATE TABLE h1_high PARTITION OF h1 FOR VALUES FROM (50) TO (MAXVALUE);
  CREATE UNIQUE INDEX ON h1_low (id);
$$, '{h}');
SELECT same($$INSERT INTO h (name) SELECT 'Name ' || x FROM generate_series(1, 100) x RETURNING id, len$$);
SELECT same_rows('h', 100);
SELECT same($$SELECT tableoid::regclass::text, count(*), sum(id), sum(len) FROM h GROUP BY 1 ORDER BY 1$$, NULL);
SELECT is(rows_captured('h'), 100::bigint, 'they went through the write buffer');

SELECT * FROM finish();
