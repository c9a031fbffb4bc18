/* pg_writecache 1.0 */

\echo Use "CREATE EXTENSION pg_writecache" to load this file. \quit

CREATE SCHEMA writecache;
COMMENT ON SCHEMA writecache IS 'pg_writecache: write-back buffering and row caching behind plain SQL';

-- ------------------------------------------------------------------------------------------------------------------
-- What is attached
-- ------------------------------------------------------------------------------------------------------------------

CREATE TYPE writecache.mode AS ENUM ('write_back', 'write_around', 'write_through', 'cache_aside');
COMMENT ON TYPE writecache.mode IS 'the caching pattern that a table is attached to';

CREATE SEQUENCE writecache.attachment_seq AS integer;
-- Anywhere: an extension that was dropped and created again must not meet the records of its former life.
SELECT pg_catalog.setval('writecache.attachment_seq', 1 + pg_catalog.floor(pg_catalog.random() * 1000000000)::integer);
COMMENT ON SEQUENCE writecache.attachment_seq IS
  'numbers attachments; a number is never used for two attachments of one database';

CREATE TABLE writecache.attached (
  relation        regclass PRIMARY KEY,
  attachment      integer NOT NULL UNIQUE DEFAULT nextval('writecache.attachment_seq'),
  mode            writecache.mode NOT NULL,
  flush_interval  interval CHECK (flush_interval >= interval '1 ms' AND flush_interval <= interval '1 day'),
  flush_rows      bigint CHECK (flush_rows > 0),
  flush_bytes     bigint CHECK (flush_bytes > 0),
  when_full       text NOT NULL DEFAULT 'wait' CHECK (when_full IN ('wait', 'write_through', 'error')),
  read_pending    boolean NOT NULL DEFAULT true,
  on_conflict     text NOT NULL DEFAULT 'reject' CHECK (on_conflict IN ('reject', 'ignore')),
  allow_triggers  boolean NOT NULL DEFAULT false,
  key             text[] CHECK (cardinality(key) > 0),
  max_staleness   interval CHECK (max_staleness >= interval '0')
);
COMMENT ON TABLE writecache.attached IS
  'attached tables and their options; change it with writecache.attach, alter and detach only';
COMMENT ON COLUMN writecache.attached.relation IS 'the attached table';
COMMENT ON COLUMN writecache.attached.attachment IS 'names this attachment in the buffer file';
COMMENT ON COLUMN writecache.attached.mode IS 'the caching pattern';
COMMENT ON COLUMN writecache.attached.flush_interval IS 'flush when the oldest row is this old; null: the setting writecache.flush_interval';
COMMENT ON COLUMN writecache.attached.flush_rows IS 'flush when this many rows are pending; null: the setting writecache.flush_rows';
COMMENT ON COLUMN writecache.attached.flush_bytes IS 'flush when this many bytes are pending; null: the setting writecache.flush_bytes';
COMMENT ON COLUMN writecache.attached.when_full IS 'what a commit does when the buffer is full: wait, write_through or error';
COMMENT ON COLUMN writecache.attached.read_pending IS 'whether queries see buffered rows';
COMMENT ON COLUMN writecache.attached.on_conflict IS 'what happens to a row whose key is in the table already: it goes to writecache.rejected, or is ignored as by ON CONFLICT DO NOTHING';
COMMENT ON COLUMN writecache.attached.allow_triggers IS 'row triggers run at flush, as the owner of the table';
COMMENT ON COLUMN writecache.attached.key IS 'the columns by which rows are cached; null: the primary key';
COMMENT ON COLUMN writecache.attached.max_staleness IS 'how old a cached row of a view or a foreign table may be; null for tables, whose cached rows are never stale';

SELECT pg_catalog.pg_extension_config_dump('writecache.attached', '');
SELECT pg_catalog.pg_extension_config_dump('writecache.attachment_seq', '');

CREATE TABLE writecache.watermark (
  attachment   integer PRIMARY KEY,
  incarnation  bigint NOT NULL,
  seq          bigint NOT NULL
) WITH (fillfactor = 10);
COMMENT ON TABLE writecache.watermark IS
  'per attachment, how far its rows are stored; updated in the transaction that stores them, the second witness after a crash';
COMMENT ON COLUMN writecache.watermark.attachment IS 'see writecache.attached';
COMMENT ON COLUMN writecache.watermark.incarnation IS 'the buffer file that the position belongs to';
COMMENT ON COLUMN writecache.watermark.seq IS 'every record up to this sequence number is in the table';

CREATE TABLE writecache.rejected_rows (
  id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  relation         regclass NOT NULL,
  row              jsonb,
  exact            bytea NOT NULL,
  layout           bigint NOT NULL,
  sqlstate         text NOT NULL,
  message          text,
  detail           text,
  constraint_name  text,
  attempts         integer NOT NULL,
  first_attempt    timestamptz NOT NULL,
  last_attempt     timestamptz NOT NULL,
  staged_by        regrole
);
CREATE INDEX rejected_rows_by_relation ON writecache.rejected_rows (relation, id);
COMMENT ON TABLE writecache.rejected_rows IS
  'rows that their table refused when they were flushed; read it through writecache.rejected';
COMMENT ON COLUMN writecache.rejected_rows.id IS 'names the row in retry_rejected and discard_rejected';
COMMENT ON COLUMN writecache.rejected_rows.relation IS 'the table that the row was for';
COMMENT ON COLUMN writecache.rejected_rows.row IS 'the row, to look at; null if a type has no JSON form';
COMMENT ON COLUMN writecache.rejected_rows.exact IS 'the row in internal form, to store later';
COMMENT ON COLUMN writecache.rejected_rows.layout IS 'fingerprint of the columns that the internal form was made for';
COMMENT ON COLUMN writecache.rejected_rows.sqlstate IS 'error code of the last attempt';
COMMENT ON COLUMN writecache.rejected_rows.message IS 'error message of the last attempt';
COMMENT ON COLUMN writecache.rejected_rows.detail IS 'error detail of the last attempt';
COMMENT ON COLUMN writecache.rejected_rows.constraint_name IS 'the constraint that the row violates, if it is one';
COMMENT ON COLUMN writecache.rejected_rows.attempts IS 'how often the row was tried';
COMMENT ON COLUMN writecache.rejected_rows.first_attempt IS 'when the row was refused first';
COMMENT ON COLUMN writecache.rejected_rows.last_attempt IS 'when the row was refused last';
COMMENT ON COLUMN writecache.rejected_rows.staged_by IS 'the role that inserted it';

SELECT pg_catalog.pg_extension_config_dump('writecache.rejected_rows', '');
SELECT pg_catalog.pg_extension_config_dump('writecache.rejected_rows_id_seq', '');

CREATE FUNCTION writecache.attached_changed() RETURNS trigger
  LANGUAGE c AS 'MODULE_PATHNAME', 'pgwc_attached_changed';
COMMENT ON FUNCTION writecache.attached_changed() IS
  'makes every session look again at a table whose row in writecache.attached changed (a restored dump, for example)';
CREATE TRIGGER attached_changed AFTER INSERT OR UPDATE OR DELETE ON writecache.attached
  FOR EACH ROW EXECUTE FUNCTION writecache.attached_changed();
CREATE TRIGGER attached_emptied BEFORE TRUNCATE ON writecache.attached
  FOR EACH STATEMENT EXECUTE FUNCTION writecache.attached_changed();
COMMENT ON TRIGGER attached_emptied ON writecache.attached IS 'refuses while rows are buffered';
COMMENT ON TRIGGER attached_changed ON writecache.attached IS
  'invalidates plans and caches of the table concerned; refuses to cut off one that has buffered rows';

CREATE FUNCTION writecache.attach(
  relation regclass, mode writecache.mode,
  flush_interval interval DEFAULT NULL, flush_rows bigint DEFAULT NULL, flush_bytes bigint DEFAULT NULL,
  when_full text DEFAULT NULL, read_pending boolean DEFAULT NULL, on_conflict text DEFAULT NULL,
  allow_triggers boolean DEFAULT NULL, key text[] DEFAULT NULL, max_staleness interval DEFAULT NULL)
RETURNS void LANGUAGE c AS 'MODULE_PATHNAME', 'pgwc_attach';
COMMENT ON FUNCTION writecache.attach(regclass, writecache.mode, interval, bigint, bigint, text, boolean, text, boolean, text[], interval) IS
  'attaches a table to a caching pattern; for its owner. Transactional. Mode write_back locks the table against writers. Flush options are of mode write_back; key and max_staleness of the other modes.';

CREATE FUNCTION writecache.alter(
  relation regclass,
  flush_interval interval DEFAULT NULL, flush_rows bigint DEFAULT NULL, flush_bytes bigint DEFAULT NULL,
  when_full text DEFAULT NULL, read_pending boolean DEFAULT NULL, on_conflict text DEFAULT NULL,
  allow_triggers boolean DEFAULT NULL, key text[] DEFAULT NULL, max_staleness interval DEFAULT NULL,
  reset text[] DEFAULT NULL)
RETURNS void LANGUAGE c AS 'MODULE_PATHNAME', 'pgwc_alter';
COMMENT ON FUNCTION writecache.alter(regclass, interval, bigint, bigint, text, boolean, text, boolean, text[], interval, text[]) IS
  'changes the options given; null leaves an option as it is, and reset names those that go back to their defaults. For the owner of the table. Resumes a paused table.';

CREATE FUNCTION writecache.detach(relation regclass)
RETURNS void LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'pgwc_detach';
COMMENT ON FUNCTION writecache.detach(regclass) IS
  'stores what is pending and makes the table an ordinary one again, in this transaction; for its owner';

-- ------------------------------------------------------------------------------------------------------------------
-- Writing
-- ------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION writecache.insert(rows anyelement)
RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'pgwc_insert_row';
COMMENT ON FUNCTION writecache.insert(anyelement) IS
  'inserts a row, or every element of an array of rows, into the attached table whose row type it is; returns the number of rows';

CREATE FUNCTION writecache.insert(relation regclass, rows jsonb)
RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'pgwc_insert_jsonb';
COMMENT ON FUNCTION writecache.insert(regclass, jsonb) IS
  'inserts a JSON object, or every object of an array, into an attached table; absent keys take the column default; returns the number of rows';

-- ------------------------------------------------------------------------------------------------------------------
-- Flushing and waiting
-- ------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION writecache.flush(relation regclass DEFAULT NULL)
RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'pgwc_flush';
COMMENT ON FUNCTION writecache.flush(regclass) IS
  'returns once everything acknowledged before the call is stored, for one table or all of this database; returns the rows stored meanwhile';

CREATE FUNCTION writecache.position()
RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'pgwc_position';
COMMENT ON FUNCTION writecache.position() IS
  'returns a token for everything acknowledged so far, to hand to writecache.wait in this or another session';

CREATE FUNCTION writecache.wait(token bigint, timeout interval DEFAULT NULL)
RETURNS boolean LANGUAGE c AS 'MODULE_PATHNAME', 'pgwc_wait';
COMMENT ON FUNCTION writecache.wait(bigint, interval) IS
  'waits until everything acknowledged before the token was taken is stored; false if the timeout passed first';

-- ------------------------------------------------------------------------------------------------------------------
-- Rows that a table refused
-- ------------------------------------------------------------------------------------------------------------------

CREATE VIEW writecache.rejected WITH (security_barrier) AS
  SELECT r.id, r.relation, r.row, r.sqlstate, r.message, r.detail, r.constraint_name, r.attempts,
         r.first_attempt, r.last_attempt, r.staged_by, r.exact
    FROM writecache.rejected_rows r JOIN pg_catalog.pg_class c ON c.oid = r.relation
   WHERE pg_catalog.pg_has_role(c.relowner, 'USAGE')
      OR pg_catalog.has_table_privilege(c.oid, 'SELECT') AND NOT pg_catalog.row_security_active(c.oid);
COMMENT ON VIEW writecache.rejected IS
  'rows that their table refused when they were flushed, with the error; for the owner and for those who may read all of the table';
COMMENT ON COLUMN writecache.rejected.id IS 'names the row in retry_rejected and discard_rejected';
COMMENT ON COLUMN writecache.rejected.relation IS 'the table that the row was for';
COMMENT ON COLUMN writecache.rejected.row IS 'the row; null if a type has no JSON form or the table has other columns now';
COMMENT ON COLUMN writecache.rejected.sqlstate IS 'error code of the last attempt';
COMMENT ON COLUMN writecache.rejected.message IS 'error message of the last attempt';
COMMENT ON COLUMN writecache.rejected.detail IS 'error detail of the last attempt';
COMMENT ON COLUMN writecache.rejected.constraint_name IS 'the constraint that the row violates, if it is one';
COMMENT ON COLUMN writecache.rejected.attempts IS 'how often the row was tried';
COMMENT ON COLUMN writecache.rejected.first_attempt IS 'when the row was refused first';
COMMENT ON COLUMN writecache.rejected.last_attempt IS 'when the row was refused last';
COMMENT ON COLUMN writecache.rejected.staged_by IS 'the role that inserted it';
COMMENT ON COLUMN writecache.rejected.exact IS 'the row in the server''s internal form, which retry_rejected stores';

CREATE FUNCTION writecache.retry_rejected(relation regclass, id bigint DEFAULT NULL)
RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'pgwc_retry_rejected';
COMMENT ON FUNCTION writecache.retry_rejected(regclass, bigint) IS
  'tries again to store one rejected row, or all of a table, in this transaction; returns how many are in the table now. For the owner of the table.';

CREATE FUNCTION writecache.reject_pending(relation regclass)
RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'pgwc_reject_pending';
COMMENT ON FUNCTION writecache.reject_pending(regclass) IS
  'moves the buffered rows of a table to writecache.rejected without trying to store them, in this transaction; returns how many. For a table that cannot be stored and must be got out of the way. For the owner of the table.';

CREATE FUNCTION writecache.discard_rejected(relation regclass, id bigint DEFAULT NULL)
RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'pgwc_discard_rejected';
COMMENT ON FUNCTION writecache.discard_rejected(regclass, bigint) IS
  'throws away one rejected row, or all of a table; returns how many. For the owner of the table.';

-- ------------------------------------------------------------------------------------------------------------------
-- Looking
-- ------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION writecache.buffer_queues(
  OUT attachment integer, OUT rows_pending bigint, OUT bytes_pending bigint, OUT oldest_pending interval,
  OUT rows_captured bigint, OUT bytes_captured bigint, OUT rows_flushed bigint, OUT rows_rejected bigint, OUT batches bigint,
  OUT blocks integer, OUT state text,
  OUT last_flush timestamptz, OUT last_error text, OUT last_error_at timestamptz,
  OUT failures integer, OUT passing_through boolean, OUT held_back_by integer)
RETURNS SETOF record LANGUAGE c AS 'MODULE_PATHNAME', 'pgwc_buffer_queues';
COMMENT ON FUNCTION writecache.buffer_queues() IS
  'one row per queue of this database in the write buffer; counters since the server started';

CREATE FUNCTION writecache.pending(relation anyelement)
RETURNS SETOF anyelement LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 1000 AS 'MODULE_PATHNAME', 'pgwc_pending';
COMMENT ON FUNCTION writecache.pending(anyelement) IS
  'returns the rows of a write-back table that are in the buffer and not in the table, as the snapshot of the query sees them. The argument names the table: NULL::table. Needs SELECT on all columns, and no row security that applies to the caller.';

CREATE FUNCTION writecache.buffer_status(
  OUT buffer_bytes bigint, OUT free_bytes bigint, OUT block_bytes integer, OUT path text, OUT last_sync timestamptz)
RETURNS record LANGUAGE c AS 'MODULE_PATHNAME', 'pgwc_buffer_status';
COMMENT ON FUNCTION writecache.buffer_status() IS 'the write buffer as a whole: its size, what is free, its file';

CREATE VIEW writecache.tables AS
  SELECT a.relation, a.mode, coalesce(q.state, 'active') AS state, a.flush_interval, a.flush_rows, a.flush_bytes,
         CASE a.mode WHEN 'write_back' THEN a.when_full END AS when_full,
         CASE a.mode WHEN 'write_back' THEN a.read_pending END AS read_pending,
         CASE a.mode WHEN 'write_back' THEN a.on_conflict END AS on_conflict,
         CASE a.mode WHEN 'write_back' THEN a.allow_triggers END AS allow_triggers,
         a.key, a.max_staleness
    FROM writecache.attached a LEFT JOIN writecache.buffer_queues() q USING (attachment);
COMMENT ON VIEW writecache.tables IS 'attached tables, their options (null: the setting of that name, or not for this mode) and state';
COMMENT ON COLUMN writecache.tables.relation IS 'the attached table';
COMMENT ON COLUMN writecache.tables.mode IS 'the caching pattern';
COMMENT ON COLUMN writecache.tables.state IS 'active; retrying: its last flush failed and is tried again; paused: it waits to be mended and for writecache.alter';
COMMENT ON COLUMN writecache.tables.flush_interval IS 'flush when the oldest row is this old; null: the setting';
COMMENT ON COLUMN writecache.tables.flush_rows IS 'flush when this many rows are pending; null: the setting';
COMMENT ON COLUMN writecache.tables.flush_bytes IS 'flush when this many bytes are pending; null: the setting';
COMMENT ON COLUMN writecache.tables.when_full IS 'what a commit does when the buffer is full';
COMMENT ON COLUMN writecache.tables.read_pending IS 'whether queries see buffered rows';
COMMENT ON COLUMN writecache.tables.on_conflict IS 'what happens to a row whose key is in the table already';
COMMENT ON COLUMN writecache.tables.allow_triggers IS 'row triggers run at flush, as the owner of the table';
COMMENT ON COLUMN writecache.tables.key IS 'the columns by which rows are cached; null: the primary key';
COMMENT ON COLUMN writecache.tables.max_staleness IS 'how old a cached row of a view or a foreign table may be';

CREATE VIEW writecache.stat_write_back AS
  SELECT a.relation,
         coalesce(q.rows_pending, 0) AS rows_pending, coalesce(q.bytes_pending, 0) AS bytes_pending,
         q.oldest_pending,
         coalesce(q.rows_captured, 0) AS rows_captured, coalesce(q.bytes_captured, 0) AS bytes_captured,
         coalesce(q.rows_flushed, 0) AS rows_flushed, coalesce(q.rows_rejected, 0) AS rows_rejected,
         coalesce(q.batches, 0) AS batches,
         q.last_flush, q.last_error, q.last_error_at,
         coalesce(q.failures, 0) AS failures, coalesce(q.passing_through, false) AS passing_through,
         q.held_back_by
    FROM writecache.attached a LEFT JOIN writecache.buffer_queues() q USING (attachment)
   WHERE a.mode = 'write_back';
COMMENT ON VIEW writecache.stat_write_back IS
  'per write-back table: what is pending, what was captured and flushed since the server started, the last flush and error';
COMMENT ON COLUMN writecache.stat_write_back.relation IS 'the attached table';
COMMENT ON COLUMN writecache.stat_write_back.rows_pending IS 'rows acknowledged and not flushed';
COMMENT ON COLUMN writecache.stat_write_back.bytes_pending IS 'their bytes';
COMMENT ON COLUMN writecache.stat_write_back.oldest_pending IS 'age of the oldest of them, at most; null if there is none';
COMMENT ON COLUMN writecache.stat_write_back.rows_captured IS 'rows acknowledged into the buffer';
COMMENT ON COLUMN writecache.stat_write_back.bytes_captured IS 'their bytes';
COMMENT ON COLUMN writecache.stat_write_back.rows_flushed IS 'rows taken out of the buffer: stored, rejected or ignored';
COMMENT ON COLUMN writecache.stat_write_back.rows_rejected IS 'those of them that the table refused';
COMMENT ON COLUMN writecache.stat_write_back.batches IS 'transactions that flushed rows';
COMMENT ON COLUMN writecache.stat_write_back.last_flush IS 'when the last of them committed';
COMMENT ON COLUMN writecache.stat_write_back.last_error IS
  'SQLSTATE and message of the last flush that failed, for the owner of the table and pg_read_all_stats; a rejected row is no failure';
COMMENT ON COLUMN writecache.stat_write_back.last_error_at IS 'when that was';
COMMENT ON COLUMN writecache.stat_write_back.failures IS 'how many flushes have failed since one succeeded';
COMMENT ON COLUMN writecache.stat_write_back.passing_through IS
  'new rows go straight to the table, because its flushes keep failing: see the setting writecache.pass_through_failures';
COMMENT ON COLUMN writecache.stat_write_back.held_back_by IS
  'process id of the session with the oldest snapshot that keeps flushed rows in the buffer; null if none does';

-- ------------------------------------------------------------------------------------------------------------------
-- The row cache
-- ------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION writecache.get(relation anyelement, key anycompatible)
RETURNS anyelement LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'pgwc_get';
COMMENT ON FUNCTION writecache.get(anyelement, anycompatible) IS
  'returns the row with a key of one column, from the row cache if it is there; null if there is none. The first argument names the relation: NULL::table. A key given as text is read as a literal of the column''s type. Needs SELECT on all columns.';
CREATE FUNCTION writecache.get(relation anyelement, first "any", VARIADIC others "any")
RETURNS anyelement LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'pgwc_get';
COMMENT ON FUNCTION writecache.get(anyelement, "any", "any") IS
  'the same for a key of several columns: one argument per key column';

CREATE FUNCTION writecache.get_many(relation anyelement, keys anycompatiblearray)
RETURNS SETOF anyelement LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 100 AS 'MODULE_PATHNAME', 'pgwc_get_many';
COMMENT ON FUNCTION writecache.get_many(anyelement, anycompatiblearray) IS
  'returns one row per key, in the order of the keys; a row of nulls where there is none. Otherwise as writecache.get.';
CREATE FUNCTION writecache.get_many(relation anyelement, first "any", VARIADIC others "any")
RETURNS SETOF anyelement LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 100 AS 'MODULE_PATHNAME', 'pgwc_get_many';
COMMENT ON FUNCTION writecache.get_many(anyelement, "any", "any") IS
  'the same for keys of several columns: one array per key column';

CREATE FUNCTION writecache.evict(relation regclass, key anycompatible)
RETURNS boolean LANGUAGE c AS 'MODULE_PATHNAME', 'pgwc_evict';
COMMENT ON FUNCTION writecache.evict(regclass, anycompatible) IS
  'takes the row with a key of one column out of the row cache; false if it was not there. Of a view or a foreign table: as the calling role sees it. For those who may read the relation. Not rolled back.';
CREATE FUNCTION writecache.evict(relation regclass, first "any", VARIADIC others "any")
RETURNS boolean LANGUAGE c AS 'MODULE_PATHNAME', 'pgwc_evict';
COMMENT ON FUNCTION writecache.evict(regclass, "any", "any") IS
  'the same for a key of several columns: one argument per key column';

CREATE FUNCTION writecache.invalidate(relation regclass)
RETURNS bigint LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'pgwc_invalidate';
COMMENT ON FUNCTION writecache.invalidate(regclass) IS
  'takes all rows of a relation out of the row cache; returns how many. What was read before the call does not get in after it. For those who may read the relation. Not rolled back.';

CREATE FUNCTION writecache.warm(
  relation regclass, query text DEFAULT NULL, max_rows bigint DEFAULT NULL, max_bytes bigint DEFAULT NULL)
RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'pgwc_warm';
COMMENT ON FUNCTION writecache.warm(regclass, text, bigint, bigint) IS
  'puts rows of a relation into the row cache: those whose keys the query returns, in its order, or all of them, the largest keys first. Ends before they would make room for each other, after max_rows rows, or when the relation takes max_bytes of the cache; returns how many of them are in the cache. Needs SELECT on all columns; the query runs as the caller. See writecache.stat_progress_warm.';

CREATE FUNCTION writecache.progress_warm(
  OUT pid integer, OUT relation oid, OUT rows_expected bigint, OUT rows_read bigint, OUT rows_cached bigint)
RETURNS SETOF record LANGUAGE c AS 'MODULE_PATHNAME', 'pgwc_progress_warm';
COMMENT ON FUNCTION writecache.progress_warm() IS 'sessions of this database that run writecache.warm; writecache.stat_progress_warm is easier to read';

CREATE VIEW writecache.stat_progress_warm AS
  SELECT pid, relation::regclass AS relation, rows_expected, rows_read, rows_cached FROM writecache.progress_warm();
COMMENT ON VIEW writecache.stat_progress_warm IS
  'one row per session of this database that runs writecache.warm; details for its role and pg_read_all_stats';
COMMENT ON COLUMN writecache.stat_progress_warm.pid IS 'process of the session';
COMMENT ON COLUMN writecache.stat_progress_warm.relation IS 'the relation whose rows it caches';
COMMENT ON COLUMN writecache.stat_progress_warm.rows_expected IS 'how many rows the relation had when it was analyzed last; null with a query';
COMMENT ON COLUMN writecache.stat_progress_warm.rows_read IS 'keys or rows read so far';
COMMENT ON COLUMN writecache.stat_progress_warm.rows_cached IS 'those of them that are in the cache';

CREATE FUNCTION writecache.cache_relations(
  OUT relation oid, OUT entries bigint, OUT bytes bigint, OUT hits_by_page bigint, OUT hits_by_tid bigint,
  OUT hits_by_age bigint, OUT misses bigint, OUT proofs_failed bigint, OUT fills bigint, OUT evictions bigint,
  OUT single_flight_waits bigint)
RETURNS SETOF record LANGUAGE c AS 'MODULE_PATHNAME', 'pgwc_cache_relations';
COMMENT ON FUNCTION writecache.cache_relations() IS 'what the row cache knows of relations of this database; writecache.stat_cache is easier to read';

CREATE FUNCTION writecache.cache_status(
  OUT cache_bytes bigint, OUT used_bytes bigint, OUT entries bigint, OUT relations integer, OUT shards integer,
  OUT largest_row bigint)
RETURNS record LANGUAGE c AS 'MODULE_PATHNAME', 'pgwc_cache_status';
COMMENT ON FUNCTION writecache.cache_status() IS
  'the row cache as a whole, of all databases: bytes that entries can take and take, how many there are, of how many relations, in how many parts, and the largest row that can be cached';

CREATE FUNCTION writecache.reset_stat_cache(relation regclass DEFAULT NULL)
RETURNS void LANGUAGE c AS 'MODULE_PATHNAME', 'pgwc_reset_stat_cache';
COMMENT ON FUNCTION writecache.reset_stat_cache(regclass) IS
  'sets the counters of a relation in writecache.stat_cache to zero; for its owner. Without a relation: those of all of this database, for its owner.';

CREATE VIEW writecache.stat_cache AS
  SELECT r.relation::regclass AS relation, r.mode, coalesce(c.entries, 0) AS entries, coalesce(c.bytes, 0) AS bytes,
         coalesce(c.hits_by_page, 0) AS hits_by_page, coalesce(c.hits_by_tid, 0) AS hits_by_tid,
         coalesce(c.hits_by_age, 0) AS hits_by_age, coalesce(c.misses, 0) AS misses,
         coalesce(c.proofs_failed, 0) AS proofs_failed, coalesce(c.fills, 0) AS fills,
         coalesce(c.evictions, 0) AS evictions, coalesce(c.single_flight_waits, 0) AS single_flight_waits,
         round((c.hits_by_page + c.hits_by_tid + c.hits_by_age)::numeric
               / nullif(c.hits_by_page + c.hits_by_tid + c.hits_by_age + c.misses + c.proofs_failed, 0), 4) AS hit_ratio
    FROM (SELECT a.relation::oid AS relation, a.mode FROM writecache.attached a
            JOIN pg_catalog.pg_class k ON k.oid = a.relation
           WHERE a.mode <> 'write_back' AND k.relkind <> 'p'
          UNION ALL
          SELECT p.relid, a.mode FROM writecache.attached a, pg_catalog.pg_partition_tree(a.relation) p
           WHERE a.mode <> 'write_back' AND p.isleaf AND p.level > 0
             AND NOT EXISTS (SELECT FROM writecache.attached o WHERE o.relation = p.relid)) r
    LEFT JOIN writecache.cache_relations() c USING (relation);
COMMENT ON VIEW writecache.stat_cache IS
  'per cached relation, and per partition of a cached partitioned table: what is in the row cache, and how reads fared since the server started or the counters were reset';
COMMENT ON COLUMN writecache.stat_cache.relation IS 'the relation or partition';
COMMENT ON COLUMN writecache.stat_cache.mode IS 'the caching pattern';
COMMENT ON COLUMN writecache.stat_cache.entries IS 'rows of it in the cache';
COMMENT ON COLUMN writecache.stat_cache.bytes IS 'memory that they take';
COMMENT ON COLUMN writecache.stat_cache.hits_by_page IS 'rows proved by the unchanged LSN of their page';
COMMENT ON COLUMN writecache.stat_cache.hits_by_tid IS 'rows proved by a look at their place in the table';
COMMENT ON COLUMN writecache.stat_cache.hits_by_age IS 'rows of a view or foreign table that were young enough';
COMMENT ON COLUMN writecache.stat_cache.misses IS 'reads that found no entry';
COMMENT ON COLUMN writecache.stat_cache.proofs_failed IS 'reads that found an entry which was not true any more';
COMMENT ON COLUMN writecache.stat_cache.fills IS 'entries made or replaced';
COMMENT ON COLUMN writecache.stat_cache.evictions IS 'entries that made room for others';
COMMENT ON COLUMN writecache.stat_cache.single_flight_waits IS 'reads of a view or foreign table that waited for another session to compute the row';
COMMENT ON COLUMN writecache.stat_cache.hit_ratio IS 'hits to reads; null if there were none';

-- ------------------------------------------------------------------------------------------------------------------
-- Who may do what: the functions check the owner or INSERT rights themselves
-- ------------------------------------------------------------------------------------------------------------------

GRANT USAGE ON SCHEMA writecache TO PUBLIC;
GRANT SELECT ON writecache.attached, writecache.tables, writecache.stat_write_back, writecache.rejected, writecache.stat_cache,
  writecache.stat_progress_warm TO PUBLIC;
-- Whoever dumps the database dumps these.
GRANT SELECT ON writecache.attachment_seq, writecache.rejected_rows_id_seq TO PUBLIC;
GRANT SELECT ON writecache.rejected_rows TO pg_database_owner;
REVOKE EXECUTE ON FUNCTION writecache.attached_changed() FROM PUBLIC;
