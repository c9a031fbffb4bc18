-- The ways rows are stored: whatever the table has, it ends up as if they had been inserted plainly.
\ir ../tools/twins.psql
SELECT * FROM no_plan();

-- Every kind of index and late constraint.
SELECT make_twins($$
  CREATE EXTENSION IF NOT EXISTS btree_gist SCHEMA public;
  CREATE TABLE ref (id int PRIMARY KEY);
  INSERT INTO ref SELECT generate_series(1, 100);
  CREATE TABLE t (id int PRIMARY KEY, ref_id int REFERENCES ref, name text UNIQUE DEFERRABLE, during int4range, tags text[], place point,
                  EXCLUDE USING gist (ref_id WITH =, during WITH &&));
  CREATE INDEX ON t (lower(name), ref_id);
  CREATE INDEX ON t USING gin (tags);
  CREATE INDEX ON t USING hash (name);
  CREATE INDEX ON t USING brin (id);
  CREATE INDEX ON t USING spgist (place);
  CREATE INDEX ON t (id) WHERE ref_id > 50;
$$);
SELECT same($$INSERT INTO t SELECT x, 1 + x % 100, 'Name ' || x, int4range(x, x + 1), ARRAY['t' || x % 5, 'all'], point(x, -x) FROM generate_series(1, 400) x$$);
SELECT same_rows('t', 400);
SET enable_seqscan = off;
SELECT same($$SELECT count(*), sum(id) FROM t WHERE tags @> '{t3}'$$, NULL);
SELECT same($$SELECT id FROM t WHERE lower(name) = 'name 77'$$, NULL);
SELECT same($$SELECT id FROM t WHERE name = 'Name 77'$$, NULL);
SELECT same($$SELECT count(*) FROM t WHERE id > 300 AND ref_id > 50$$, NULL);
SELECT same($$SELECT count(*) FROM t WHERE place <@ box '((10,-10),(20,-20))'$$, NULL);
SELECT same($$SELECT count(*) FROM t WHERE ref_id = 5 AND during && '[4,205)'$$, NULL);
RESET enable_seqscan;

-- Rows that break a late constraint go to writecache.rejected, their neighbours are stored.
INSERT INTO captured.t (id, ref_id, name, during) VALUES (1001, 1, 'good', 'empty'), (1, 1, 'same key', 'empty'), (1002, 9999, 'no such ref', 'empty'),
  (1003, 2, 'Name 5', 'empty'), (1004, 5, 'overlaps', '[4,5)'), (1005, NULL, 'good too', NULL);
SELECT writecache.flush() >= 0;
SELECT results_eq('SELECT id FROM captured.t WHERE id > 1000 ORDER BY id', 'VALUES (1001), (1005)', 'good rows are stored');
SELECT results_eq($$SELECT (row->>'id')::int, sqlstate, constraint_name FROM writecache.rejected WHERE relation = 'captured.t'::regclass ORDER BY 1$$,
  $$VALUES (1, '23505', 't_pkey'), (1002, '23503', 't_ref_id_fkey'), (1003, '23505', 't_name_key'), (1004, '23P01', 't_ref_id_during_excl')$$, 'bad ones are rejected');

-- Triggers, when allowed, run at flush as the owner, under a safe search_path, for each row, once.
CREATE ROLE pgtap_flush_owner;
CREATE ROLE pgtap_flush_writer;
GRANT CREATE, USAGE ON SCHEMA captured TO pgtap_flush_owner;
GRANT USAGE ON SCHEMA captured TO pgtap_flush_writer;
SET ROLE pgtap_flush_owner;
CREATE TABLE captured.triggered (id int, inserted_by text DEFAULT current_user, stored_by text);
CREATE TABLE captured.log (what text, rows int, who text, path text);
CREATE FUNCTION captured.stored() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.stored_by := current_user || '/' || current_setting('search_path'); RETURN NEW; END $$;
CREATE FUNCTION captured.drop_odd() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.id % 2 = 1 THEN RETURN NULL; END IF; RETURN NEW; END $$;
CREATE FUNCTION captured.logged() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_LEVEL = 'STATEMENT' THEN INSERT INTO captured.log SELECT TG_WHEN || ' ' || TG_LEVEL, count(*), current_user FROM new_rows;
  ELSE INSERT INTO captured.log VALUES (TG_WHEN || ' ' || TG_LEVEL, NEW.id, current_user); END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER a BEFORE INSERT ON captured.triggered FOR EACH ROW EXECUTE FUNCTION captured.stored();
CREATE TRIGGER b BEFORE INSERT ON captured.triggered FOR EACH ROW WHEN (NEW.id > 100) EXECUTE FUNCTION captured.drop_odd();
CREATE TRIGGER c AFTER INSERT ON captured.triggered FOR EACH ROW EXECUTE FUNCTION captured.logged();
CREATE TRIGGER d AFTER INSERT ON captured.triggered REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION captured.logged();
GRANT INSERT ON captured.triggered TO pgtap_flush_writer;
SELECT throws_ok($$SELECT writecache.attach('captured.triggered', 'write_back')$$, '55000', 'cannot attach table "triggered" as write_back: "triggered" has triggers on INSERT');
SELECT writecache.attach('captured.triggered', 'write_back', allow_triggers => true, flush_interval => '1 day');
SET ROLE pgtap_flush_writer;
INSERT INTO captured.triggered (id) SELECT generate_series(1, 3);
INSERT INTO captured.triggered (id) SELECT generate_series(101, 104);
RESET ROLE;
SELECT is((SELECT count(*) FROM captured.log), 0::bigint, 'no trigger ran before the flush');
SELECT writecache.flush() >= 0;
SELECT results_eq('SELECT id, inserted_by, stored_by FROM captured.triggered ORDER BY id',
  $$SELECT x, 'pgtap_flush_writer', 'pgtap_flush_owner/pg_catalog, pg_temp' FROM unnest('{1,2,3,102,104}'::int[]) x$$, 'stored by the owner, inserted by the writer');
SELECT results_eq($$SELECT rows, who FROM captured.log WHERE what = 'AFTER ROW' ORDER BY 1$$, $$SELECT x, 'pgtap_flush_owner' FROM unnest('{1,2,3,102,104}'::int[]) x$$, 'row triggers ran for each row, as the owner');
SELECT results_eq($$SELECT sum(rows), max(who) FROM captured.log WHERE what = 'AFTER STATEMENT'$$, $$VALUES (5::bigint, 'pgtap_flush_owner')$$, 'the statement trigger saw all of them');
SELECT is((SELECT rows_captured FROM writecache.stat_write_back WHERE relation = 'captured.triggered'::regclass), 7::bigint, 'they went through the write buffer');
-- A trigger that fails for a row rejects that row.
SET ROLE pgtap_flush_owner;
CREATE FUNCTION captured.picky() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.id = 202 THEN RAISE EXCEPTION 'not this one' USING DETAIL = 'really', ERRCODE = 'P9999'; END IF; RETURN NEW; END $$;
CREATE TRIGGER p BEFORE INSERT ON captured.triggered FOR EACH ROW EXECUTE FUNCTION captured.picky();
INSERT INTO captured.triggered (id) VALUES (200), (202), (204);
RESET ROLE;
SELECT writecache.flush() >= 0;
SELECT results_eq('SELECT id FROM captured.triggered WHERE id >= 200 ORDER BY id', 'VALUES (200), (204)');
SELECT results_eq($$SELECT row->>'id', sqlstate, message, detail FROM writecache.rejected WHERE relation = 'captured.triggered'::regclass$$, $$VALUES ('202', 'P9999', 'not this one', 'really')$$);

-- A target whose index function cannot do what only its owner may: SECURITY_RESTRICTED_OPERATION.
-- Values of identity and generated columns are those that were given to the client.
SELECT make_twins($$
  CREATE TABLE parts (id int GENERATED ALWAYS AS IDENTITY, g int GENERATED ALWAYS AS (v * 2) STORED, v int) PARTITION BY RANGE (v);
  CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
  CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (10) TO (100);
$$, '{parts}');
SELECT same($$INSERT INTO parts (v) VALUES (5), (50) RETURNING *$$);
SELECT same($$INSERT INTO parts OVERRIDING SYSTEM VALUE VALUES (99, DEFAULT, 7) RETURNING *$$);
SELECT same_rows('parts', 3);

-- Conflicts that are ignored.
CREATE TABLE captured.ignoring (id int PRIMARY KEY, v text);
SELECT writecache.attach('captured.ignoring', 'write_back', on_conflict => 'ignore');
INSERT INTO captured.ignoring VALUES (1, 'first'), (2, 'second');
SELECT writecache.flush() >= 0;
INSERT INTO captured.ignoring VALUES (2, 'again'), (3, 'third'), (3, 'third again');
SELECT writecache.flush() >= 0;
SELECT results_eq('SELECT * FROM captured.ignoring ORDER BY id', $$VALUES (1, 'first'), (2, 'second'), (3, 'third')$$);
SELECT is((SELECT count(*) FROM writecache.rejected WHERE relation = 'captured.ignoring'::regclass), 0::bigint, 'none of them was rejected');

-- Many rows, in any number of batches.
CREATE TABLE captured.many (id int, k text);
CREATE INDEX ON captured.many (k, id);
SELECT writecache.attach('captured.many', 'write_back', flush_rows => 777);
INSERT INTO captured.many SELECT x, md5(x::text) FROM generate_series(1, 20000) x;
SELECT is(writecache.flush('captured.many') <= 20000, true);
SELECT results_eq('SELECT count(*), count(DISTINCT id), sum(id) FROM captured.many', 'VALUES (20000::bigint, 20000::bigint, 200010000::bigint)');
DROP SCHEMA captured, plain CASCADE;
DROP ROLE pgtap_flush_owner, pgtap_flush_writer;

SELECT * FROM finish();
