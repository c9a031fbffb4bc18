-- DDL with rows pending, of its own transaction and of earlier ones: no row is lost, none is misread, and what is rolled
-- back, to a savepoint too, leaves everything as it was.
\ir ../tools/twins.psql
SELECT * FROM no_plan();

CREATE SCHEMA elsewhere;
CREATE ROLE pgtap_ddl_owner;
GRANT CREATE, USAGE ON SCHEMA public, elsewhere TO pgtap_ddl_owner;
CREATE TABLE ref (id int PRIMARY KEY);
INSERT INTO ref SELECT generate_series(1, 100);
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE FUNCTION content(name text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE r text;
BEGIN
  IF to_regclass(name) IS NULL THEN RETURN 'no table'; END IF;
  EXECUTE format('SELECT string_agg(x::text, '' '' ORDER BY x::text COLLATE "C") FROM %s x', to_regclass(name)) INTO r;
  RETURN r;
END $$;

CREATE TABLE cases (n serial, command text, expected text, target text DEFAULT 't', committed text, rolled_back text, to_savepoint text);
-- Table t with rows 1 and 2 in it, 3 and 4 pending.
CREATE PROCEDURE start() LANGUAGE plpgsql AS $$
BEGIN
  DROP TABLE IF EXISTS t, elsewhere.t, renamed CASCADE;
  DROP TYPE IF EXISTS mood CASCADE;
  DROP DOMAIN IF EXISTS small CASCADE;
  CREATE TYPE mood AS ENUM ('ok');
  CREATE DOMAIN small AS int CHECK (VALUE < 1000);
  CREATE TABLE t (gone int, id int, v text DEFAULT 'd', n small, m mood);
  ALTER TABLE t DROP gone;
  PERFORM writecache.attach('t', 'write_back', flush_interval => '1 day');
  INSERT INTO t VALUES (1, 'one', 10, 'ok'), (2, NULL, NULL, NULL);
  COMMIT;
  PERFORM writecache.flush();
  INSERT INTO t VALUES (3, 'three', 30, 'ok'), (4, NULL, NULL, NULL);
  COMMIT;
END $$;
CREATE PROCEDURE run_cases() LANGUAGE plpgsql AS $$
DECLARE
  c cases;
BEGIN
  FOR c IN SELECT * FROM cases ORDER BY n LOOP
    -- The whole transaction is rolled back.
    CALL start();
    INSERT INTO t VALUES (99, 'never', 0);
    EXECUTE c.command;
    ROLLBACK;
    PERFORM writecache.flush();
    c.rolled_back := content('t');
    -- To a savepoint, with rows before and after.
    CALL start();
    INSERT INTO t VALUES (5);
    BEGIN
      INSERT INTO t VALUES (99, 'never', 0);
      EXECUTE c.command;
      RAISE EXCEPTION 'undo' USING ERRCODE = 'U0001';
    EXCEPTION WHEN SQLSTATE 'U0001' THEN
      INSERT INTO t VALUES (6);
    END;
    COMMIT;
    PERFORM writecache.flush();
    c.to_savepoint := content('t');
    -- Committed.
    CALL start();
    INSERT INTO t (id) VALUES (5);
    EXECUTE c.command;
    COMMIT;
    PERFORM writecache.flush();
    UPDATE cases SET committed = content(c.target), rolled_back = c.rolled_back, to_savepoint = c.to_savepoint WHERE n = c.n;
    COMMIT;
  END LOOP;
END $$;

INSERT INTO cases (command, expected) VALUES
  ('ALTER TABLE t ADD extra text DEFAULT ''x''', '(1,one,10,ok,x) (2,,,,x) (3,three,30,ok,x) (4,,,,x) (5,d,,,x)'),
  ('ALTER TABLE t ADD extra text NOT NULL DEFAULT upper(''x'') || pg_backend_pid() * 0', '(1,one,10,ok,X0) (2,,,,X0) (3,three,30,ok,X0) (4,,,,X0) (5,d,,,X0)'),
  ('ALTER TABLE t ADD extra small DEFAULT 5', '(1,one,10,ok,5) (2,,,,5) (3,three,30,ok,5) (4,,,,5) (5,d,,,5)'),
  ('ALTER TABLE t ADD extra text, ALTER extra SET DEFAULT ''later''', '(1,one,10,ok,) (2,,,,) (3,three,30,ok,) (4,,,,) (5,d,,,)'),
  ('ALTER TABLE t DROP v', '(1,10,ok) (2,,) (3,30,ok) (4,,) (5,,)'),
  ('ALTER TABLE t DROP v, ADD v int DEFAULT 7', '(1,10,ok,7) (2,,,7) (3,30,ok,7) (4,,,7) (5,,,7)'),
  ('ALTER TABLE t DROP id, DROP v, DROP n, DROP m', '() () () () ()'),
  ('ALTER TABLE t RENAME v TO id2', '(1,one,10,ok) (2,,,) (3,three,30,ok) (4,,,) (5,d,,)'),
  ('ALTER TABLE t ALTER id TYPE bigint, ALTER n TYPE text USING ''n='' || n', '(1,one,n=10,ok) (2,,,) (3,three,n=30,ok) (4,,,) (5,d,,)'),
  ('ALTER TABLE t ALTER v TYPE varchar(20)', '(1,one,10,ok) (2,,,) (3,three,30,ok) (4,,,) (5,d,,)'),
  ('ALTER TABLE t ALTER id SET NOT NULL, ADD CHECK (id > 0), ADD UNIQUE (id), ALTER v SET DEFAULT ''z'', ALTER v DROP NOT NULL', '(1,one,10,ok) (2,,,) (3,three,30,ok) (4,,,) (5,d,,)'),
  ('ALTER TABLE t ADD PRIMARY KEY (id), REPLICA IDENTITY FULL', '(1,one,10,ok) (2,,,) (3,three,30,ok) (4,,,) (5,d,,)'),
  ('ALTER TABLE t ADD FOREIGN KEY (id) REFERENCES ref', '(1,one,10,ok) (2,,,) (3,three,30,ok) (4,,,) (5,d,,)'),
  ('ALTER TABLE t ADD EXCLUDE USING btree (id WITH =)', '(1,one,10,ok) (2,,,) (3,three,30,ok) (4,,,) (5,d,,)'),
  ('ALTER TABLE t ADD CONSTRAINT later CHECK (id > 50) NOT VALID', '(1,one,10,ok) (2,,,) (3,three,30,ok) (4,,,) (5,d,,)'),
  ('ALTER TABLE t ADD g int GENERATED ALWAYS AS (n * 2) STORED', '(1,one,10,ok,20) (2,,,,) (3,three,30,ok,60) (4,,,,) (5,d,,,)'),
  ('ALTER TABLE t ALTER v SET STORAGE EXTERNAL, ALTER v SET STATISTICS 50, SET (fillfactor = 50)', '(1,one,10,ok) (2,,,) (3,three,30,ok) (4,,,) (5,d,,)'),
  ('ALTER TABLE t SET LOGGED', '(1,one,10,ok) (2,,,) (3,three,30,ok) (4,,,) (5,d,,)'),
  ('ALTER TABLE t SET TABLESPACE pg_default', '(1,one,10,ok) (2,,,) (3,three,30,ok) (4,,,) (5,d,,)'),
  ('ALTER TABLE t OWNER TO pgtap_ddl_owner', '(1,one,10,ok) (2,,,) (3,three,30,ok) (4,,,) (5,d,,)'),
  ('ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (true)', '(1,one,10,ok) (2,,,) (3,three,30,ok) (4,,,) (5,d,,)'),
  ('CREATE TABLE above (id int); ALTER TABLE t INHERIT above', '(1,one,10,ok) (2,,,) (3,three,30,ok) (4,,,) (5,d,,)'),
  ('CREATE TABLE below (extra int) INHERITS (t); INSERT INTO below VALUES (8); ALTER TABLE t ADD w int DEFAULT 9', '(1,one,10,ok,9) (2,,,,9) (3,three,30,ok,9) (4,,,,9) (5,d,,,9) (8,d,,,9)'),
  ('ALTER TYPE mood ADD VALUE ''great''; ALTER TYPE mood RENAME VALUE ''ok'' TO ''fine''', '(1,one,10,fine) (2,,,) (3,three,30,fine) (4,,,) (5,d,,)'),
  ('DROP TYPE mood CASCADE', '(1,one,10) (2,,) (3,three,30) (4,,) (5,d,)'),
  ('DROP DOMAIN small CASCADE', '(1,one,ok) (2,,) (3,three,ok) (4,,) (5,d,)'),
  ('DROP DOMAIN small CASCADE; ALTER TABLE t ADD n text DEFAULT ''new''', '(1,one,ok,new) (2,,,new) (3,three,ok,new) (4,,,new) (5,d,,new)'),
  ('CREATE INDEX ON t (id); CREATE UNIQUE INDEX ON t (v, id); CREATE INDEX ON t ((n + 1)) WHERE n > 1; CLUSTER t USING t_id_idx; REINDEX TABLE t', '(1,one,10,ok) (2,,,) (3,three,30,ok) (4,,,) (5,d,,)'),
  ('CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION nothing()', '(1,one,10,ok) (2,,,) (3,three,30,ok) (4,,,) (5,d,,)'),
  ('CREATE RULE r AS ON INSERT TO t DO INSTEAD NOTHING', '(1,one,10,ok) (2,,,) (3,three,30,ok) (4,,,) (5,d,,)'),
  ('ALTER TABLE t DISABLE TRIGGER ALL', '(1,one,10,ok) (2,,,) (3,three,30,ok) (4,,,) (5,d,,)'),
  ('ANALYZE t; COMMENT ON TABLE t IS ''x''; GRANT SELECT ON t TO PUBLIC; CREATE STATISTICS st ON id, v FROM t; CREATE PUBLICATION p FOR TABLE t; DROP PUBLICATION p', '(1,one,10,ok) (2,,,) (3,three,30,ok) (4,,,) (5,d,,)'),
  ('SELECT writecache.alter(''t'', flush_rows => 5)', '(1,one,10,ok) (2,,,) (3,three,30,ok) (4,,,) (5,d,,)'),
  ('SELECT writecache.detach(''t'')', '(1,one,10,ok) (2,,,) (3,three,30,ok) (4,,,) (5,d,,)'),
  ('SELECT writecache.detach(''t''); ALTER TABLE t DROP v; SELECT writecache.attach(''t'', ''write_back'')', '(1,10,ok) (2,,) (3,30,ok) (4,,) (5,,)'),
  ('LOCK TABLE t', '(1,one,10,ok) (2,,,) (3,three,30,ok) (4,,,) (5,d,,)'),
  ('TRUNCATE t', NULL),
  ('TRUNCATE TABLE ONLY t, ref CASCADE; INSERT INTO t VALUES (7)', '(7,d,,)'),
  ('ALTER TABLE t ADD extra int; ALTER TABLE t DROP extra; ALTER TABLE t ADD extra int DEFAULT 2; INSERT INTO t VALUES (6)', '(1,one,10,ok,2) (2,,,,2) (3,three,30,ok,2) (4,,,,2) (5,d,,,2) (6,d,,,2)'),
  ('DROP TABLE t', 'no table'),
  ('DROP TABLE t; CREATE TABLE t (id int); INSERT INTO t VALUES (1)', '(1)');
INSERT INTO cases (command, expected, target) VALUES
  ('ALTER TABLE t RENAME TO renamed', '(1,one,10,ok) (2,,,) (3,three,30,ok) (4,,,) (5,d,,)', 'renamed'),
  ('ALTER TABLE t RENAME TO renamed; CREATE TABLE t (id int); INSERT INTO t VALUES (1)', '(1,one,10,ok) (2,,,) (3,three,30,ok) (4,,,) (5,d,,)', 'renamed'),
  ('ALTER TABLE t SET SCHEMA elsewhere', '(1,one,10,ok) (2,,,) (3,three,30,ok) (4,,,) (5,d,,)', 'elsewhere.t'),
  ('CREATE SCHEMA moved; ALTER TABLE t SET SCHEMA moved; ALTER SCHEMA moved RENAME TO moved_again', '(1,one,10,ok) (2,,,) (3,three,30,ok) (4,,,) (5,d,,)', 'moved_again.t'),
  ('CREATE SCHEMA doomed; ALTER TABLE t SET SCHEMA doomed; DROP SCHEMA doomed CASCADE', 'no table', 'doomed.t'),
  ('ALTER TABLE t OWNER TO pgtap_ddl_owner; DROP OWNED BY pgtap_ddl_owner; GRANT CREATE, USAGE ON SCHEMA public, elsewhere TO pgtap_ddl_owner', 'no table', 't'),
  ('ALTER TABLE t OWNER TO pgtap_ddl_owner; REASSIGN OWNED BY pgtap_ddl_owner TO CURRENT_USER', '(1,one,10,ok) (2,,,) (3,three,30,ok) (4,,,) (5,d,,)', 't');
CALL run_cases();
SELECT is(committed, expected, command) FROM cases ORDER BY n;
SELECT is(rolled_back, '(1,one,10,ok) (2,,,) (3,three,30,ok) (4,,,)', 'rolled back: ' || command) FROM cases ORDER BY n;
SELECT is(to_savepoint, '(1,one,10,ok) (2,,,) (3,three,30,ok) (4,,,) (5,d,,) (6,d,,)', 'rolled back to a savepoint: ' || command) FROM cases ORDER BY n;
SELECT is((SELECT count(*) FROM writecache.rejected), 0::bigint, 'no row was rejected');
DROP TABLE IF EXISTS t, renamed, above CASCADE;
DROP SCHEMA moved_again, elsewhere CASCADE;
SELECT is((SELECT count(*) FROM writecache.attached), 0::bigint, 'nothing is attached any more');
SELECT is((SELECT count(*) FROM writecache.watermark), 0::bigint, 'no watermark is left');
SELECT is((SELECT sum(rows_pending) FROM writecache.buffer_queues()), NULL, 'nor a queue');

DROP OWNED BY pgtap_ddl_owner;
DROP ROLE pgtap_ddl_owner;
SELECT * FROM finish();
