-- Who may insert what is decided as on a plain table: privileges, column privileges, row security, security definer.
\ir ../tools/twins.psql
SELECT * FROM no_plan();

CREATE ROLE pgtap_owner;
CREATE ROLE pgtap_writer;
CREATE ROLE pgtap_nobody;
GRANT CREATE ON SCHEMA plain, captured TO pgtap_owner;
CREATE FUNCTION same_as(role text, statement text, path text DEFAULT 'captured') RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
  of_plain jsonb; of_captured jsonb; how text;
BEGIN
  PERFORM set_config('role', role, true);
  how := path_of(statement);
  of_plain := outcome('plain', statement);
  of_captured := outcome('captured', statement);
  PERFORM set_config('role', 'none', true);
  PERFORM set_config('search_path', 'public', true);
  RETURN NEXT is(jsonb_pretty(of_captured), jsonb_pretty(of_plain), role || ' as on a plain table: ' || left(statement, 150));
  IF path IS NOT NULL THEN RETURN NEXT is(how, path, role || ' ' || path || ': ' || left(statement, 150)); END IF;
END $$;
CREATE FUNCTION refused_as(role text, statement text, state text DEFAULT '42501') RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
  of_plain jsonb; of_captured jsonb;
BEGIN
  PERFORM set_config('role', role, true);
  of_plain := outcome('plain', statement);
  of_captured := outcome('captured', statement);
  PERFORM set_config('role', 'none', true);
  PERFORM set_config('search_path', 'public', true);
  RETURN NEXT is(of_plain->>'sqlstate', state, role || ' is refused on a plain table: ' || left(statement, 150));
  RETURN NEXT is(jsonb_pretty(of_captured), jsonb_pretty(of_plain), role || ' is refused as on a plain table: ' || left(statement, 150));
END $$;

SELECT make_twins($$
  CREATE TABLE t (id int, v text DEFAULT 'd', n int);
  ALTER TABLE t OWNER TO pgtap_owner;
$$);
SELECT same_as('pgtap_owner', 'INSERT INTO t VALUES (1) RETURNING *');
SELECT refused_as('pgtap_nobody', 'INSERT INTO t VALUES (1)');
SELECT refused_as('pgtap_nobody', 'INSERT INTO t DEFAULT VALUES');
SELECT make_twins('GRANT INSERT ON t TO pgtap_writer', '{}');
SELECT same_as('pgtap_writer', 'INSERT INTO t VALUES (2), (3)');
SELECT refused_as('pgtap_writer', 'INSERT INTO t VALUES (2) RETURNING id');
SELECT refused_as('pgtap_writer', 'INSERT INTO t SELECT * FROM t');
SELECT make_twins('GRANT SELECT (id) ON t TO pgtap_writer', '{}');
SELECT same_as('pgtap_writer', 'INSERT INTO t VALUES (4) RETURNING id');
SELECT refused_as('pgtap_writer', 'INSERT INTO t VALUES (4) RETURNING v');
SELECT refused_as('pgtap_writer', 'INSERT INTO t VALUES (4) RETURNING *');
SELECT make_twins('REVOKE ALL ON t FROM pgtap_writer; GRANT INSERT (id, n) ON t TO pgtap_writer', '{}');
SELECT same_as('pgtap_writer', 'INSERT INTO t (n, id) VALUES (1, 5)');
SELECT refused_as('pgtap_writer', 'INSERT INTO t VALUES (5, ''v'')');
SELECT refused_as('pgtap_writer', 'INSERT INTO t (v) VALUES (''v'')');
SELECT refused_as('pgtap_writer', 'UPDATE t SET id = 1');
SELECT same_rows('t', 5);

-- The extension's functions ask for the same rights.
SELECT is(as_role('pgtap_nobody', $$SELECT writecache.insert(ROW(1, 'x', 2)::captured.t)$$), '42501 permission denied for table t', 'insert(row)');
SELECT is(as_role('pgtap_nobody', $$SELECT writecache.insert(ARRAY[ROW(1, 'x', 2)::captured.t])$$), '42501 permission denied for table t', 'insert(array)');
SELECT is(as_role('pgtap_nobody', $$SELECT writecache.insert('captured.t', '{"id": 1}')$$), '42501 permission denied for table t', 'insert(jsonb)');
SELECT is(as_role('pgtap_writer', $$SELECT writecache.insert('captured.t', '{"id": 6, "n": 1}')$$), 'ok', 'insert(jsonb) with rights on the columns it names');
SELECT is(as_role('pgtap_writer', $$SELECT writecache.insert('captured.t', '{"id": 6, "v": 1}')$$), '42501 permission denied for table t', 'insert(jsonb) naming another');
SELECT is(as_role('pgtap_writer', $$SELECT writecache.insert(ROW(1, 'x', 2)::captured.t)$$), '42501 permission denied for table t', 'insert(row) names all');
SELECT is(as_role('pgtap_owner', $$SELECT writecache.insert(ROW(7, 'x', 2)::captured.t)$$), 'ok', 'insert(row) of the owner');
SELECT is(as_role('pgtap_writer', $$SELECT writecache.attach('plain.t', 'write_back')$$), '42501 must be owner of table t', 'attach');
SELECT is(as_role('pgtap_writer', $$SELECT writecache.alter('captured.t', flush_rows => 5)$$), '42501 must be owner of table t', 'alter');
SELECT is(as_role('pgtap_writer', $$SELECT writecache.detach('captured.t')$$), '42501 must be owner of table t', 'detach');
SELECT is(as_role('pgtap_writer', $$SELECT writecache.retry_rejected('captured.t')$$), '42501 must be owner of table t', 'retry_rejected');
SELECT is(as_role('pgtap_writer', $$SELECT writecache.discard_rejected('captured.t')$$), '42501 must be owner of table t', 'discard_rejected');
SELECT is(as_role('pgtap_writer', $$SELECT writecache.reject_pending('captured.t')$$), '42501 must be owner of table t', 'reject_pending');
SELECT is(as_role('pgtap_writer', $$INSERT INTO writecache.attached (relation, mode) VALUES ('plain.t', 'write_back')$$), '42501 permission denied for table attached', 'the catalog is not written to by hand');
SELECT is(as_role('pgtap_nobody', $$SELECT * FROM writecache.tables; SELECT * FROM writecache.stat_write_back; SELECT * FROM writecache.attached; SELECT * FROM writecache.rejected$$), 'ok', 'the views are for everybody');
SELECT is(as_role('pgtap_nobody', $$SELECT * FROM writecache.rejected_rows$$), '42501 permission denied for table rejected_rows', 'rejected rows are not');
SELECT is(as_role('pgtap_nobody', $$SELECT * FROM writecache.watermark$$), '42501 permission denied for table watermark', 'nor is the watermark');
SELECT is(as_role('pgtap_owner', $$SELECT writecache.alter('captured.t', flush_rows => 5)$$), 'ok', 'alter by the owner');

-- Security definer functions insert with their owner's rights, and the row's values are computed with them.
SELECT make_twins($$
  REVOKE ALL ON t FROM pgtap_writer;
  CREATE FUNCTION add_one(int) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS 'DECLARE r text; BEGIN INSERT INTO t (id, v) VALUES ($1, current_user || ''/'' || session_user) RETURNING v INTO r; RETURN r; END';
  ALTER FUNCTION add_one(int) OWNER TO pgtap_owner;
$$, '{}');
SELECT same_as('pgtap_writer', 'SELECT add_one(20)', NULL);
SELECT refused_as('pgtap_writer', 'INSERT INTO t VALUES (21)');
SELECT writecache.flush();
SELECT is((SELECT v FROM captured.t WHERE id = 20), (SELECT v FROM plain.t WHERE id = 20), 'current_user is that of the statement');

-- Row security: the owner's rows are captured, the policies hold for everybody else.
SELECT make_twins($$
  CREATE TABLE guarded (who name DEFAULT current_user, n int);
  ALTER TABLE guarded OWNER TO pgtap_owner;
  GRANT INSERT, SELECT ON guarded TO pgtap_writer;
  ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
  CREATE POLICY own ON guarded FOR INSERT WITH CHECK (who = current_user AND n < 100);
  CREATE POLICY look ON guarded FOR SELECT USING (n < 50);
$$, '{guarded}');
SELECT same_as('pgtap_owner', $$INSERT INTO guarded VALUES ('anybody', 1000) RETURNING *$$);
SELECT same_as('pgtap_writer', $$INSERT INTO guarded VALUES (DEFAULT, 1)$$, 'plain');
SELECT same_as('pgtap_writer', $$INSERT INTO guarded VALUES (DEFAULT, 2) RETURNING *$$, 'plain');
SELECT refused_as('pgtap_writer', $$INSERT INTO guarded VALUES ('anybody', 1)$$);
SELECT refused_as('pgtap_writer', $$INSERT INTO guarded VALUES (DEFAULT, 100)$$);
SELECT refused_as('pgtap_writer', $$INSERT INTO guarded VALUES (DEFAULT, 60) RETURNING *$$);
SELECT isnt(as_role('pgtap_writer', $$SELECT writecache.insert(ROW('anybody', 1)::captured.guarded)$$), 'ok', 'insert(row) under a policy');
SELECT isnt(as_role('pgtap_writer', $$SELECT writecache.insert('captured.guarded', '{"who": "anybody"}')$$), 'ok', 'insert(jsonb) under a policy');
SELECT is(as_role('pgtap_writer', $$SELECT writecache.insert('captured.guarded', '{"n": 3}')$$), 'ok', 'insert(jsonb) that the policy allows');
INSERT INTO plain.guarded VALUES ('pgtap_writer', 3);
SELECT make_twins('ALTER TABLE guarded FORCE ROW LEVEL SECURITY', '{}');
SELECT refused_as('pgtap_owner', $$INSERT INTO guarded VALUES ('anybody', 1000)$$);
SELECT same_as('pgtap_owner', $$INSERT INTO guarded VALUES (DEFAULT, 5)$$, 'plain');
SELECT make_twins('ALTER TABLE guarded DISABLE ROW LEVEL SECURITY', '{}');
SELECT same_as('pgtap_writer', $$INSERT INTO guarded VALUES ('anybody', 1000)$$);
SELECT same_rows('guarded', 6);

-- A table that loses its writer's privilege after the rows were acknowledged still gets them.
SELECT make_twins($$CREATE TABLE later (a int); ALTER TABLE later OWNER TO pgtap_owner; GRANT INSERT ON later TO pgtap_writer$$, '{later}', $$flush_interval => '1 day'$$);
SELECT same_as('pgtap_writer', 'INSERT INTO later VALUES (1)');
SELECT make_twins('REVOKE INSERT ON later FROM pgtap_writer, pgtap_owner', '{}');
SELECT same_rows('later', 1);
DROP SCHEMA captured, plain CASCADE;
DROP OWNED BY pgtap_owner, pgtap_writer, pgtap_nobody;
DROP ROLE pgtap_owner, pgtap_writer, pgtap_nobody;

SELECT * FROM finish();
