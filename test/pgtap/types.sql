-- Values of every kind of type reach the table unchanged.
\ir ../tools/twins.psql
SELECT * FROM no_plan();

SELECT make_twins($$
  CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
  CREATE TYPE pair AS (x int, y text);
  CREATE DOMAIN short AS text CHECK (length(VALUE) < 6);
  CREATE DOMAIN pairs AS pair[];
  CREATE TYPE float_range AS RANGE (subtype = float8);
  CREATE TABLE t (
    i2 smallint, i4 int, i8 bigint, n numeric, n2 numeric(10, 3), f4 real, f8 double precision, m money,
    t text, vc varchar(10), c char(8), c1 "char", nm name, bl bytea, b boolean, d date, tm time, tmz timetz, ts timestamp, tsz timestamptz,
    iv interval, u uuid, bi bit(5), vb varbit, ine inet, ci cidr, ma macaddr, pt point, po polygon, ci2 circle, bx box,
    j json, jb jsonb, x xml, tsv tsvector, tq tsquery, ir int4range, mr int8multirange, fr float_range,
    ia int[], ta text[][], pa pair[], md mood, mda mood[], p pair, sh short, ps pairs, rc regclass, ls pg_lsn, o oid);
$$);
SELECT same($$INSERT INTO t VALUES (
  -32768, 2147483647, -9223372036854775808, 123456789012345678901234567890.123456789, 1.0005, 1.1, 'NaN', '12.34',
  'täxt', 'abc', 'pad', 'x', 'a_name', '\xdeadbeef00', true, '2020-02-29', '23:59:59.999999', '12:00+05:30', 'infinity', '2020-01-01 00:00+03',
  '1 mon -2 days 03:04:05.6', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '10101', '110', '10.0.0.1/8', '10.0.0.0/8', '08:00:2b:01:02:03',
  '(1,2)', '((0,0),(1,1),(2,0))', '<(1,1),5>', '(2,2),(0,0)',
  '{"b": 1,  "a":[1, 2 ]}', '{"b": 1,  "a":[1, 2 ], "b": 2}', '<a>b</a>', 'a fat cat', 'fat & rat', '[1,5)', '{[1,3),[7,9)}', '[1.5,2.5]',
  '{1,NULL,3}', '{{a,b},{"c d",NULL}}', ARRAY[ROW(1, 'a')::pair, NULL], 'happy', '{sad,ok}', ROW(7, 'seven'), 'short', ARRAY[ROW(1, NULL)]::pair[],
  'pg_class', '16/B374D848', 4294967295) RETURNING *$$);
SELECT same($$INSERT INTO t SELECT$$);
SELECT same($$INSERT INTO t (n) VALUES ('NaN'), ('Infinity'), ('-Infinity'), (0.000000000000000000000000000001), (1e300) RETURNING n$$);
SELECT same($$INSERT INTO t (f8, f4) VALUES ('-0', '-0'), ('Infinity', '-Infinity'), (1e-300, 1e-30) RETURNING f8, f4$$);
SELECT same($$INSERT INTO t (t, c, vc) VALUES ('', '', ''), (NULL, ' ', 'abc       ') RETURNING t, c, vc, length(c), octet_length(c)$$);
SELECT same($$INSERT INTO t (ia, ta) VALUES ('{}', '{}'), ('[3:5]={1,2,3}', '{{{1}}}') RETURNING ia, ta, array_dims(ia)$$);
SELECT same($$INSERT INTO t (ir, mr) VALUES ('empty', '{}'), ('(,)', '{(,)}'), ('(3,4]', '{[1,2),[2,3)}') RETURNING ir, mr$$);
SELECT same($$INSERT INTO t (p.x, p.y) VALUES (1, 'by field'), (NULL, NULL) RETURNING p, (p).y$$);
SELECT same($$INSERT INTO t (ia[1], ia[4]) VALUES (1, 4) RETURNING ia$$);
SELECT same($$INSERT INTO t (jb) VALUES ('null'), ('[]'), ('"x"'), ('1.10'), ('{"a": {"b": [{}, null]}}') RETURNING jb, jsonb_typeof(jb)$$);
SELECT same($$INSERT INTO t (tsz) VALUES ('2021-03-04 05:06:07+08'), ('-infinity'), ('4713-01-01 BC'), ('294276-01-01') RETURNING tsz$$);
SELECT same_error($$INSERT INTO t (bi) VALUES (B'11') RETURNING *$$, '22026');
SELECT same_error($$INSERT INTO t (vc) VALUES ('far too long for it')$$, '22001');
SELECT same_error($$INSERT INTO t (md) VALUES ('angry')$$, '22P02');
SELECT same_error($$INSERT INTO t (n2) VALUES (1e9)$$, '22003');
SELECT same_error($$INSERT INTO t (sh) VALUES ('long enough to fail')$$, '23514');
SELECT same_error($$INSERT INTO t (jb) VALUES ('{')$$, '22P02');
SELECT same_error($$INSERT INTO t (ts) VALUES ('2020-02-30')$$, '22008');
SELECT same_error($$INSERT INTO t (u) VALUES ('x')$$, '22P02');
SELECT same_rows('t', 20);

-- Types and labels made after attach.
SELECT make_twins($$ALTER TYPE mood ADD VALUE 'ecstatic'$$, '{}');
SELECT same($$INSERT INTO t (md) VALUES ('ecstatic') RETURNING md$$);
SELECT same_rows();
SELECT is(rows_captured(), (SELECT count(*) FROM captured.t), 'all of them went through the write buffer');

SELECT * FROM finish();
