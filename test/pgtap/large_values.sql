-- Large values: short, inline, compressed and TOASTed ones from another table, and rows of any size.
\ir ../tools/twins.psql
SELECT * FROM no_plan();

SELECT make_twins($$
  CREATE TABLE src (id int, plain text, packed text, bytes bytea);
  ALTER TABLE src ALTER plain SET STORAGE EXTERNAL;
  INSERT INTO src SELECT x, repeat(md5(x::text), 100 * x), repeat('compressible ', 1000 * x), decode(repeat('00ff', 2000 * x), 'hex') FROM generate_series(1, 12) x;
  CREATE TABLE t (id int, plain text, packed text, bytes bytea);
  CREATE TABLE docs (id int, body jsonb);
$$, '{t,docs}', $$flush_interval => '1 day'$$);
-- Out of line in the source, compressed or not, and the source is gone before the rows are stored.
SELECT same($$INSERT INTO t SELECT * FROM src WHERE id <= 3$$);
SELECT same($$INSERT INTO t SELECT id + 100, packed, plain, bytes || bytes FROM src WHERE id <= 2 RETURNING id, length(plain), md5(packed), octet_length(bytes)$$);
SELECT same($$DELETE FROM src WHERE id <= 3$$, NULL);
VACUUM FULL plain.src;
VACUUM FULL captured.src;
SELECT same_rows('t', 5);
SELECT same($$INSERT INTO t SELECT * FROM src WHERE id <= 6$$);
SELECT same($$TRUNCATE src$$, NULL);
SELECT same_rows('t', 8);
-- Stored as a plain table stores them: out of line if need be, and compressed.
SELECT is(x.captured, x.plain, 'stored sizes of ' || x.id)
  FROM (SELECT p.id, (pg_column_size(p.plain), pg_column_size(p.packed), pg_column_size(p.bytes)) AS plain,
               (pg_column_size(c.plain), pg_column_size(c.packed), pg_column_size(c.bytes)) AS captured
          FROM plain.t p JOIN captured.t c USING (id)) x WHERE x.id < 100 ORDER BY id;

-- Rows of many sizes, around a block of the buffer and above: those that fit no block are stored at once.
SELECT same(format($$INSERT INTO t (id, plain) VALUES (%s, repeat('x', %s))$$, 1000 + s, s))
  FROM unnest('{0,1,126,127,128,2000,8000,8200,30000,60000,65000,65400,65500,65536,66000,131000,1000000,5000000}'::int[]) s;
SELECT same_rows('t', 20);
SELECT same($$INSERT INTO t (id, plain) SELECT x, repeat(chr(64 + x), case when x % 5 = 0 then 200000 else 100 end) FROM generate_series(1, 23) x$$);
SELECT same($$INSERT INTO t (id, bytes) SELECT x, convert_to(repeat('0123456789', 6000), 'UTF8') FROM generate_series(1, 40) x RETURNING id, octet_length(bytes)$$);
SELECT same_rows('t', 80);

SELECT same($$INSERT INTO docs SELECT x, jsonb_object_agg('k' || y, repeat(md5(y::text), 5)) FROM generate_series(1, 5) x, generate_series(1, 100 * x) y GROUP BY x$$);
SELECT same_rows('docs', 5);
SELECT same($$INSERT INTO docs SELECT id, body || '{"more": [1, 2, 3]}' FROM docs$$, NULL);
SELECT same_rows('docs', 5);

-- A transaction changes and deletes what it has just written, out of line, by the first statement that looks at it.
BEGIN;
SELECT same($$INSERT INTO t (id, plain) SELECT x, repeat(md5(x::text), 200) FROM generate_series(5001, 5006) x$$);
SELECT same($$DELETE FROM t WHERE id = 5001 RETURNING length(plain)$$, NULL);
SELECT same($$INSERT INTO t (id, plain) SELECT x, repeat(md5(x::text), 200) FROM generate_series(5007, 5009) x$$);
SELECT same($$UPDATE t SET plain = 'short' WHERE id IN (5002, 5007) RETURNING id$$, NULL);
SELECT same($$UPDATE t SET plain = plain || plain WHERE id IN (5003, 5008) RETURNING id$$, NULL);
SELECT same($$DELETE FROM t WHERE id IN (5003, 5009) RETURNING length(plain)$$, NULL);
SELECT same_rows('t', 80);
COMMIT;
SELECT cmp_ok(rows_captured(), '>', 40::bigint, 'most of them went through the write buffer');

SELECT * FROM finish();
