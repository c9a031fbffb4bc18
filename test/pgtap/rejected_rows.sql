-- A row that its table refuses at flush is kept in writecache.rejected with the error; neighbours are stored; its owner
-- tries it again or throws it away.
\ir ../tools/twins.psql
SELECT * FROM no_plan();

CREATE ROLE pgtap_reject_owner;
CREATE ROLE pgtap_reject_reader;
CREATE ROLE pgtap_reject_writer;
CREATE SCHEMA r;
GRANT ALL ON SCHEMA r TO PUBLIC;
SET ROLE pgtap_reject_owner;
CREATE TABLE r.ref (id int PRIMARY KEY);
INSERT INTO r.ref SELECT generate_series(1, 10);
CREATE TABLE r.t (gone int, id int PRIMARY KEY, ref int REFERENCES r.ref, during int4range, divisor int, tags text[], EXCLUDE USING gist (during WITH &&));
ALTER TABLE r.t DROP gone;
CREATE INDEX by_quotient ON r.t ((100 / divisor));
CREATE FUNCTION r.picky() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF NEW.id = 66 THEN RAISE EXCEPTION 'not %', NEW.id USING DETAIL = 'It is odd.', HINT = 'Take another.'; END IF;
  IF NEW.id = 67 THEN RAISE 'own code' USING ERRCODE = 'ZZ123'; END IF;
  IF NEW.id = 68 THEN RETURN NULL; END IF;
  RETURN NEW; END $$;
CREATE TRIGGER picky BEFORE INSERT ON r.t FOR EACH ROW EXECUTE FUNCTION r.picky();
SELECT writecache.attach('r.t', 'write_back', flush_interval => '1 day', allow_triggers => true);
GRANT INSERT ON r.t TO pgtap_reject_writer;
GRANT SELECT ON r.t TO pgtap_reject_reader;
RESET ROLE;

SET ROLE pgtap_reject_writer;
INSERT INTO r.t VALUES (1, 1, '[1,2)', 1, '{a,NULL}'), (2, NULL, NULL, NULL, NULL);
INSERT INTO r.t VALUES (1, 1, NULL, 1, '{"same key"}');
INSERT INTO r.t VALUES (3, 99, NULL, 1), (4, 1, '[1,9)', 1), (5, 1, NULL, 0), (66, 1, NULL, 1), (67, 1, NULL, 1), (68, 1, NULL, 1), (6, 1, NULL, 1);
RESET ROLE;
SELECT is(writecache.flush('r.t') >= 0, true, 'flush succeeds');
SELECT results_eq('SELECT id FROM r.t ORDER BY id', 'VALUES (1), (2), (6)', 'good rows are stored');
SELECT results_eq($$SELECT relation::text, row::text, sqlstate, message, detail, constraint_name, attempts, staged_by::text FROM writecache.rejected ORDER BY (row->>'id')::int$$, $$VALUES
  ('r.t', '{"id": 1, "ref": 1, "tags": ["same key"], "during": null, "divisor": 1}', '23505', 'duplicate key value violates unique constraint "t_pkey"', 'Key (id)=(1) already exists.', 't_pkey', 1, 'pgtap_reject_writer'),
  ('r.t', '{"id": 3, "ref": 99, "tags": null, "during": null, "divisor": 1}', '23503', 'insert or update on table "t" violates foreign key constraint "t_ref_fkey"', 'Key (ref)=(99) is not present in table "ref".', 't_ref_fkey', 1, 'pgtap_reject_writer'),
  ('r.t', '{"id": 4, "ref": 1, "tags": null, "during": "[1,9)", "divisor": 1}', '23P01', 'conflicting key value violates exclusion constraint "t_during_excl"', 'Key (during)=([1,9)) conflicts with existing key (during)=([1,2)).', 't_during_excl', 1, 'pgtap_reject_writer'),
  ('r.t', '{"id": 5, "ref": 1, "tags": null, "during": null, "divisor": 0}', '22012', 'division by zero', NULL, NULL, 1, 'pgtap_reject_writer'),
  ('r.t', '{"id": 66, "ref": 1, "tags": null, "during": null, "divisor": 1}', 'P0001', 'not 66', 'It is odd.', NULL, 1, 'pgtap_reject_writer'),
  ('r.t', '{"id": 67, "ref": 1, "tags": null, "during": null, "divisor": 1}', 'ZZ123', 'own code', NULL, NULL, 1, 'pgtap_reject_writer')$$, 'bad ones are rejected, with the error');
SELECT is((SELECT bool_and(first_attempt = last_attempt AND first_attempt BETWEEN now() - interval '1 hour' AND now()) FROM writecache.rejected), true, 'times');
SELECT is((SELECT rows_rejected FROM writecache.stat_write_back WHERE relation = 'r.t'::regclass), 6::bigint, 'counted');
SELECT is((SELECT rows_pending FROM writecache.stat_write_back WHERE relation = 'r.t'::regclass), 0::bigint, 'nothing is pending');

-- Who may see them.
CREATE FUNCTION seen_as(role text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE n bigint;
BEGIN
  PERFORM set_config('role', role, true);
  SELECT count(*) INTO n FROM writecache.rejected;
  PERFORM set_config('role', 'none', true);
  RETURN n;
END $$;
SELECT is(seen_as('pgtap_reject_owner'), 6::bigint, 'the owner');
SELECT is(seen_as('pgtap_reject_reader'), 6::bigint, 'who may read the table');
SELECT is(seen_as('pgtap_reject_writer'), 0::bigint, 'not who may only write to it');
GRANT SELECT (id, ref) ON r.t TO pgtap_reject_writer;
SELECT is(seen_as('pgtap_reject_writer'), 0::bigint, 'nor who may read some columns');
ALTER TABLE r.t ENABLE ROW LEVEL SECURITY;
SELECT is(seen_as('pgtap_reject_reader'), 0::bigint, 'nor who is subject to row security');
SELECT is(seen_as('pgtap_reject_owner'), 6::bigint, 'the owner is not');
ALTER TABLE r.t DISABLE ROW LEVEL SECURITY;
SELECT is(as_role('pgtap_reject_reader', 'SELECT * FROM writecache.rejected_rows'), '42501 permission denied for table rejected_rows', 'the table behind the view is for nobody');
SELECT is(as_role('pgtap_reject_reader', 'DELETE FROM writecache.rejected'), '55000 cannot delete from view "rejected"', 'nor is the view written to');
-- A leaky function in the query sees nothing more.
CREATE FUNCTION leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$ BEGIN RAISE EXCEPTION 'saw %', $1; END $$;
SELECT is(as_role('pgtap_reject_writer', 'SELECT count(*) FROM writecache.rejected WHERE leak(message)'), 'ok', 'a security barrier');

-- Trying again: what still fails stays, with its last error; what fits is stored.
CREATE FUNCTION id_of(key int) RETURNS bigint LANGUAGE sql AS $$ SELECT id FROM writecache.rejected WHERE (row->>'id')::int = key $$;
SELECT is(as_role('pgtap_reject_reader', $$SELECT writecache.retry_rejected('r.t')$$), '42501 must be owner of table t', 'for the owner only');
SELECT is(as_role('pgtap_reject_writer', $$SELECT writecache.discard_rejected('r.t')$$), '42501 must be owner of table t', 'for the owner only');
SELECT is(writecache.retry_rejected('r.t', -1), 0::bigint, 'no such row');
SELECT is(writecache.retry_rejected('r.ref', id_of(3)), 0::bigint, 'not a row of this table');
SELECT is(writecache.retry_rejected('r.t', id_of(3)), 0::bigint, 'still refused');
SELECT results_eq('SELECT attempts, sqlstate, last_attempt > first_attempt FROM writecache.rejected WHERE id = id_of(3)', $$VALUES (2, '23503', true)$$, 'counted');
INSERT INTO r.ref VALUES (99);
DELETE FROM r.t WHERE id = 1;
BEGIN;
SELECT is(writecache.retry_rejected('r.t', id_of(3)), 1::bigint, 'stored');
ROLLBACK;
SELECT is((SELECT count(*) FROM r.t WHERE id = 3), 0::bigint, 'rolled back');
SELECT isnt(id_of(3), NULL, 'and rejected as before');
SET ROLE pgtap_reject_owner;
SELECT is(writecache.retry_rejected('r.t', id_of(3)), 1::bigint, 'stored by the owner');
RESET ROLE;
SELECT results_eq('SELECT id, ref, divisor FROM r.t WHERE id = 3', 'VALUES (3, 99, 1)', 'it is there');
SELECT is(id_of(3), NULL, 'and no longer rejected');
SELECT is(writecache.retry_rejected('r.t'), 2::bigint, 'all of them: those that fit now');
SELECT results_eq('SELECT id, tags FROM r.t ORDER BY id', $$VALUES (1, '{same key}'::text[]), (2, NULL), (3, NULL), (4, NULL), (6, NULL)$$, 'are stored');
SELECT results_eq($$SELECT (row->>'id')::int, attempts FROM writecache.rejected ORDER BY 1$$, 'VALUES (5, 2), (66, 2), (67, 2)', 'the others stay');
-- A row that breaks in another way has the new error.
UPDATE r.t SET id = 5 WHERE id = 2;
DROP INDEX r.by_quotient;
SELECT is(writecache.retry_rejected('r.t', id_of(5)), 0::bigint, 'refused again');
SELECT results_eq('SELECT sqlstate, constraint_name, attempts FROM writecache.rejected WHERE id = id_of(5)', $$VALUES ('23505', 't_pkey', 3)$$, 'for another reason');
-- After the columns have changed.
ALTER TABLE r.t ADD extra int;
SELECT is(error_of($$SELECT writecache.retry_rejected('r.t')$$), E'55000: columns of table "t" have changed since the row was rejected\nHINT: Insert it from column "row" of writecache.rejected and discard it.', 'cannot be read any more');
INSERT INTO r.t SELECT (jsonb_populate_record(NULL::r.t, row || '{"id": 7}')).* FROM writecache.rejected WHERE id = id_of(5);
SELECT is(writecache.flush('r.t') >= 0, true);
SELECT results_eq('SELECT id, ref, divisor FROM r.t WHERE id = 7', 'VALUES (7, 1, 0)', 'but by its JSON form');
-- Throwing away.
SELECT is(writecache.discard_rejected('r.t', -1), 0::bigint, 'no such row');
SELECT is(writecache.discard_rejected('r.ref', id_of(5)), 0::bigint, 'not a row of this table');
SELECT is(writecache.discard_rejected('r.t', id_of(5)), 1::bigint, 'one');
BEGIN;
SELECT is(writecache.discard_rejected('r.t'), 2::bigint, 'all');
ROLLBACK;
SELECT is(as_role('pgtap_reject_owner', $$SELECT writecache.discard_rejected('r.t')$$), 'ok', 'by the owner');
SELECT is((SELECT count(*) FROM writecache.rejected), 0::bigint, 'none is left');
SELECT is(writecache.discard_rejected('r.t'), 0::bigint, 'none to discard');
SELECT is(writecache.retry_rejected('r.t'), 0::bigint, 'none to try');
SELECT is(error_of('SELECT writecache.retry_rejected(NULL)'), '22004: relation must not be null');
SELECT is(error_of('SELECT writecache.discard_rejected(NULL, 1)'), '22004: relation must not be null');
SELECT is(error_of('SELECT writecache.retry_rejected(4000000000::oid)'), '42P01: relation with OID 4000000000 does not exist');
SELECT is(error_of('SELECT writecache.discard_rejected(4000000000::oid)'), '42P01: relation with OID 4000000000 does not exist');
SELECT is(error_of($$SELECT writecache.retry_rejected('r.no_such')$$), '42P01: relation "r.no_such" does not exist');

-- Rows without a JSON form.
CREATE TYPE r.odd AS ENUM ('a', 'b');
CREATE FUNCTION r.no_json(r.odd) RETURNS json LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no JSON'; END $$;
CREATE CAST (r.odd AS json) WITH FUNCTION r.no_json(r.odd);
CREATE TABLE r.odd_rows (id int PRIMARY KEY, o r.odd);
SELECT writecache.attach('r.odd_rows', 'write_back', flush_interval => '1 day');
INSERT INTO r.odd_rows VALUES (1, 'a'), (1, 'b');
SELECT is(writecache.flush('r.odd_rows') >= 0, true);
SELECT results_eq('SELECT row, sqlstate FROM writecache.rejected', $$VALUES (NULL::jsonb, '23505')$$, 'rejected all the same');
DELETE FROM r.odd_rows;
SELECT is(writecache.retry_rejected('r.odd_rows'), 1::bigint, 'and stored in its exact form');
SELECT is((SELECT o::text FROM r.odd_rows), 'b');

-- Every row bad, many good ones around bad ones, wide rows.
CREATE TABLE r.many (id int PRIMARY KEY, v text);
INSERT INTO r.many SELECT x, 'there already' FROM generate_series(1, 3000) x;
SELECT writecache.attach('r.many', 'write_back', flush_interval => '1 day');
INSERT INTO r.many SELECT x, 'again' FROM generate_series(1, 3000) x;
SELECT is(writecache.flush('r.many') >= 0, true);
SELECT is((SELECT count(*) FROM writecache.rejected WHERE relation = 'r.many'::regclass AND row->>'v' = 'again'), 3000::bigint, 'all of them are rejected');
SELECT is(writecache.discard_rejected('r.many'), 3000::bigint);
INSERT INTO r.many SELECT CASE WHEN x % 500 = 0 THEN x / 500 ELSE 10000 + x END, repeat('v', x % 50) FROM generate_series(1, 10000) x;
SELECT is(writecache.flush('r.many') >= 0, true);
SELECT is((SELECT count(*) FROM r.many), 12980::bigint, 'the good ones are stored');
SELECT is((SELECT count(*) FROM writecache.rejected WHERE relation = 'r.many'::regclass), 20::bigint, 'the bad ones rejected');
SELECT is((SELECT array_agg((row->>'id')::int ORDER BY id) FROM writecache.rejected WHERE relation = 'r.many'::regclass), (SELECT array_agg(x) FROM generate_series(1, 20) x), 'in the order they came');
SELECT is(writecache.discard_rejected('r.many'), 20::bigint);
INSERT INTO r.many VALUES (1, repeat('long ', 5000));
SELECT is(writecache.flush('r.many') >= 0, true);
DELETE FROM r.many WHERE id = 1;
SELECT is(writecache.retry_rejected('r.many'), 1::bigint, 'a long row');
SELECT is((SELECT length(v) FROM r.many WHERE id = 1), 25000);

-- on_conflict => 'ignore': keys that are there already, of the table or of the batch; other errors are rejected.
CREATE TABLE r.ignoring (id int PRIMARY KEY, u int UNIQUE, ref int REFERENCES r.ref, during int4range, EXCLUDE USING gist (during WITH &&));
SELECT writecache.attach('r.ignoring', 'write_back', flush_interval => '1 day', on_conflict => 'ignore');
INSERT INTO r.ignoring VALUES (1, 1, 1, '[1,5)');
SELECT is(writecache.flush('r.ignoring') >= 0, true);
INSERT INTO r.ignoring VALUES (1, 2, 1, NULL), (2, 1, 1, NULL), (3, 3, 1, '[2,3)'), (4, 4, 1, NULL), (4, 5, 1, NULL), (5, 5, 98, NULL), (6, 6, 1, NULL);
SELECT is(writecache.flush('r.ignoring') >= 0, true);
SELECT results_eq('SELECT id, u FROM r.ignoring ORDER BY id', 'VALUES (1, 1), (4, 4), (6, 6)', 'first come, first stored');
SELECT results_eq($$SELECT (row->>'id')::int, sqlstate FROM writecache.rejected WHERE relation = 'r.ignoring'::regclass$$, $$VALUES (5, '23503')$$, 'a foreign key is no conflict');
SELECT writecache.alter('r.ignoring', on_conflict => 'reject');
INSERT INTO r.ignoring VALUES (1, 9, 1, NULL);
SELECT is(writecache.flush('r.ignoring') >= 0, true);
SELECT is((SELECT count(*) FROM writecache.rejected WHERE relation = 'r.ignoring'::regclass), 2::bigint, 'rejected again');
SELECT writecache.alter('r.ignoring', on_conflict => 'ignore');
SELECT is(writecache.retry_rejected('r.ignoring') >= 1, true, 'ignored when tried again');
SELECT results_eq($$SELECT (row->>'id')::int FROM writecache.rejected WHERE relation = 'r.ignoring'::regclass$$, 'VALUES (5)', 'and gone');

-- Partitions, and a drain in place of the worker: DDL stores what is pending, bad rows and all.
CREATE TABLE r.parts (a int PRIMARY KEY, b int) PARTITION BY RANGE (a);
CREATE TABLE r.parts_1 PARTITION OF r.parts FOR VALUES FROM (0) TO (100);
CREATE TABLE r.parts_2 PARTITION OF r.parts FOR VALUES FROM (100) TO (200);
SELECT writecache.attach('r.parts', 'write_back', flush_interval => '1 day');
INSERT INTO r.parts VALUES (1, 1), (150, 1), (1, 2), (150, 2), (50, 3);
BEGIN;
ALTER TABLE r.parts ADD c int DEFAULT 5;
SELECT is((SELECT count(*) FROM writecache.rejected WHERE relation = 'r.parts'::regclass), 2::bigint, 'rejected by the drain');
ROLLBACK;
SELECT is((SELECT count(*) FROM writecache.rejected WHERE relation = 'r.parts'::regclass), 0::bigint, 'pending again');
ALTER TABLE r.parts ADD c int DEFAULT 5;
SELECT results_eq('SELECT a, b, c FROM r.parts ORDER BY a', 'VALUES (1, 1, 5), (50, 3, 5), (150, 1, 5)', 'good rows are stored');
SELECT results_eq($$SELECT row->>'a', row->>'b', sqlstate FROM writecache.rejected WHERE relation = 'r.parts'::regclass ORDER BY 1$$, $$VALUES ('1', '2', '23505'), ('150', '2', '23505')$$, 'bad ones rejected once');
SELECT is((SELECT rows_rejected FROM writecache.stat_write_back WHERE relation = 'r.parts'::regclass), 2::bigint, 'and counted');
-- A value that has no jsonb form blocks nothing: its row is kept in exact form only.
CREATE TABLE r.formless (a int PRIMARY KEY, j json);
SELECT writecache.attach('r.formless', 'write_back', flush_interval => '1 day');
INSERT INTO r.formless VALUES (1, '{}'), (1, '{"a": "\u0000"}'), (1, '{"a": 1}'), (2, '{}');
SELECT is(writecache.flush('r.formless') >= 0, true);
SELECT results_eq('SELECT a FROM r.formless ORDER BY a', 'VALUES (1), (2)', 'neighbours of a row without jsonb form are stored');
SELECT results_eq($$SELECT row->'j', octet_length(exact) > 0, sqlstate FROM writecache.rejected WHERE relation = 'r.formless'::regclass ORDER BY row$$, $$VALUES ('{"a": 1}'::jsonb, true, '23505'), (NULL, true, '23505')$$, 'it is rejected without one');
-- They outlive detach, and go with the table.
SELECT writecache.detach('r.parts');
SELECT is((SELECT count(*) FROM writecache.rejected WHERE relation = 'r.parts'::regclass), 2::bigint, 'kept after detach');
SELECT is(writecache.discard_rejected('r.parts'), 2::bigint, 'for the owner to decide');
INSERT INTO r.many VALUES (2);
SELECT is(writecache.flush('r.many') >= 0, true);
SELECT is((SELECT count(*) FROM writecache.rejected_rows WHERE relation = 'r.many'::regclass), 1::bigint);
SELECT oid AS many FROM pg_class WHERE oid = 'r.many'::regclass \gset
DROP TABLE r.many;
SELECT is((SELECT count(*) FROM writecache.rejected_rows WHERE relation = :many), 0::bigint, 'dropped with the table');

SET client_min_messages = error;
DROP SCHEMA r CASCADE;
DROP ROLE pgtap_reject_owner, pgtap_reject_reader, pgtap_reject_writer;
SELECT * FROM finish();
