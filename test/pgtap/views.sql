-- The views show what is attached and what is going on, to everybody, in columns that stay as they are.
\ir ../tools/twins.psql
SELECT * FROM no_plan();

CREATE FUNCTION columns_of(name text) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(attname || ' ' || format_type(atttypid, NULL), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = name::regclass AND attnum > 0 AND NOT attisdropped
$$;
SELECT is(columns_of('writecache.tables'), 'relation regclass, mode writecache.mode, state text, flush_interval interval, flush_rows bigint, flush_bytes bigint, when_full text, read_pending boolean, on_conflict text, allow_triggers boolean, key text[], max_staleness interval', 'writecache.tables');
SELECT is(columns_of('writecache.stat_write_back'), 'relation regclass, rows_pending bigint, bytes_pending bigint, oldest_pending interval, rows_captured bigint, bytes_captured bigint, rows_flushed bigint, rows_rejected bigint, batches bigint, last_flush timestamp with time zone, last_error text, last_error_at timestamp with time zone, failures integer, passing_through boolean, held_back_by integer', 'writecache.stat_write_back');
SELECT is(columns_of('writecache.rejected'), 'id bigint, relation regclass, row jsonb, sqlstate text, message text, detail text, constraint_name text, attempts integer, first_attempt timestamp with time zone, last_attempt timestamp with time zone, staged_by regrole, exact bytea', 'writecache.rejected');
SELECT results_eq('SELECT enum_range(NULL::writecache.mode)::text', $$VALUES ('{write_back,write_around,write_through,cache_aside}')$$, 'the modes');

-- Everything of the extension says what it is.
SELECT is_empty($$
  SELECT pg_describe_object(d.classid, d.objid, d.objsubid) FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND d.refclassid = 'pg_extension'::regclass
   WHERE e.extname = 'pg_writecache' AND d.deptype = 'e' AND obj_description(d.objid, d.classid::regclass::name) IS NULL
     AND NOT (d.classid = 'pg_type'::regclass AND EXISTS (SELECT FROM pg_type t WHERE t.oid = d.objid AND (t.typrelid <> 0 OR t.typelem <> 0)))
     AND NOT (d.classid = 'pg_class'::regclass AND EXISTS (SELECT FROM pg_class c WHERE c.oid = d.objid AND c.relkind IN ('i', 'S')))$$, 'every object has a comment');
SELECT is_empty($$
  SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
   WHERE c.relnamespace = 'writecache'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped AND col_description(c.oid, a.attnum) IS NULL$$, 'and every column of its tables');
SELECT is_empty($$
  SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'writecache'::regnamespace AND p.proname NOT IN ('get', 'get_many', 'pending') AND (p.provolatile <> 'v' OR p.proparallel <> 'u')$$, 'no function but those that read a table is cached or run in parallel');

-- A table's life, number by number.
CREATE TABLE t (id int PRIMARY KEY, v text);
SELECT is_empty('SELECT * FROM writecache.stat_write_back', 'nothing is attached');
SELECT writecache.attach('t', 'write_back', flush_interval => '1 day');
SELECT results_eq('SELECT relation::text, rows_pending, bytes_pending, oldest_pending, rows_captured, bytes_captured, rows_flushed, rows_rejected, batches, last_flush, last_error, last_error_at FROM writecache.stat_write_back',
  $$VALUES ('t', 0::bigint, 0::bigint, NULL::interval, 0::bigint, 0::bigint, 0::bigint, 0::bigint, 0::bigint, NULL::timestamptz, NULL, NULL::timestamptz)$$, 'attached');
BEGIN;
INSERT INTO t VALUES (1, 'one'), (2, 'two');
SELECT is((SELECT rows_pending FROM writecache.stat_write_back), 0::bigint, 'what is not committed does not count');
COMMIT;
INSERT INTO t VALUES (3, repeat('three', 200)) RETURNING id;
SELECT unnest(ARRAY[is(rows_pending, 3::bigint, 'rows_pending'), cmp_ok(bytes_pending, '>', 1000::bigint, 'bytes_pending'), is(rows_captured, 3::bigint, 'rows_captured'), is(bytes_captured, bytes_pending, 'bytes_captured'),
       ok(oldest_pending > '0' AND oldest_pending < '1 hour', 'oldest_pending'), is(rows_flushed, 0::bigint, 'rows_flushed')]) FROM writecache.stat_write_back;
SELECT oldest_pending AS before FROM writecache.stat_write_back \gset
INSERT INTO t VALUES (4);
SELECT cmp_ok(oldest_pending, '>', :'before'::interval, 'the oldest row grows older') FROM writecache.stat_write_back;
SELECT is(writecache.flush(), 4::bigint);
SELECT unnest(ARRAY[is(rows_pending, 0::bigint, 'rows_pending'), is(bytes_pending, 0::bigint, 'bytes_pending'), is(oldest_pending, NULL, 'oldest_pending'), is(rows_captured, 4::bigint, 'rows_captured'),
       is(rows_flushed, 4::bigint, 'rows_flushed'), is(batches, 1::bigint, 'batches'), ok(last_flush BETWEEN now() - interval '1 hour' AND clock_timestamp(), 'last_flush'), is(last_error, NULL, 'last_error')]) FROM writecache.stat_write_back;
INSERT INTO t VALUES (1, 'again'), (5, NULL);
SELECT writecache.flush() >= 0;
SELECT unnest(ARRAY[is(rows_captured, 6::bigint, 'rows_captured'), is(rows_flushed, 6::bigint, 'rows_flushed counts what left the buffer'), is(rows_rejected, 1::bigint, 'rows_rejected'), is(batches, 2::bigint, 'batches')]) FROM writecache.stat_write_back;
SELECT is((SELECT count(*) FROM t), 5::bigint, 'five are in the table');
-- Another database's tables are not shown; a table that is gone neither.
CREATE TABLE gone (id int);
SELECT writecache.attach('gone', 'write_back', flush_interval => '1 day');
INSERT INTO gone VALUES (1);
SELECT results_eq('SELECT relation::text FROM writecache.stat_write_back ORDER BY 1', $$VALUES ('gone'), ('t')$$);
DROP TABLE gone;
SELECT results_eq('SELECT relation::text FROM writecache.stat_write_back ORDER BY 1', $$VALUES ('t')$$);
SELECT is((SELECT count(*) FROM writecache.buffer_queues()), 1::bigint, 'nor its queue');
SELECT ok(buffer_bytes BETWEEN 60000000 AND 67108864 AND free_bytes BETWEEN 0 AND buffer_bytes AND block_bytes > 0 AND buffer_bytes % block_bytes = 0 AND path LIKE '%pg_dynshmem%', 'the buffer as a whole') FROM writecache.buffer_status();

-- For everybody.
CREATE ROLE pgtap_views_nobody;
SELECT is(as_role('pgtap_views_nobody', 'SELECT * FROM writecache.tables, writecache.stat_write_back, writecache.rejected, writecache.attached'), 'ok', 'to look at');
SELECT is(as_role('pgtap_views_nobody', 'SELECT * FROM writecache.buffer_status()'), 'ok');
SELECT matches(as_role('pgtap_views_nobody', statement), '^(42501|55000)', statement) FROM unnest(ARRAY[
  'DELETE FROM writecache.attached', 'UPDATE writecache.attached SET flush_rows = 1', 'TRUNCATE writecache.attached', 'DELETE FROM writecache.tables', 'DELETE FROM writecache.stat_write_back',
  'INSERT INTO writecache.watermark VALUES (1, 1, 1)', 'INSERT INTO writecache.rejected_rows DEFAULT VALUES', $$SELECT nextval('writecache.attachment_seq')$$, 'CREATE TABLE writecache.mine (id int)']) statement;
DROP ROLE pgtap_views_nobody;

SELECT * FROM finish();
