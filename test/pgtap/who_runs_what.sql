-- Storing buffered rows asks for no rights that staging them did not ask for, and runs nobody's code with another's rights.
\ir ../tools/twins.psql
SELECT * FROM no_plan();
SET client_min_messages = warning;

CREATE ROLE wrw_owner;
CREATE ROLE wrw_writer;
GRANT CREATE, USAGE ON SCHEMA public TO wrw_owner, wrw_writer;
CREATE TABLE parent (id int PRIMARY KEY);
INSERT INTO parent VALUES (1);
GRANT SELECT, REFERENCES ON parent TO wrw_owner;

-- The owner's own policies and grants are no obstacle for rows of those who may insert.
SET ROLE wrw_owner;
CREATE TABLE policed (id int, ref int REFERENCES parent);
ALTER TABLE policed ENABLE ROW LEVEL SECURITY;
ALTER TABLE policed FORCE ROW LEVEL SECURITY;
CREATE POLICY p ON policed FOR INSERT WITH CHECK (id > 100);
CREATE TABLE revoked (id int, ref int REFERENCES parent);
REVOKE INSERT ON revoked FROM wrw_owner;
SELECT writecache.attach('policed', 'write_back', flush_interval => '1 day');
SELECT writecache.attach('revoked', 'write_back', flush_interval => '1 day');
RESET ROLE;
INSERT INTO policed VALUES (1, 1);
INSERT INTO revoked VALUES (1, 1);
SELECT writecache.flush();
SELECT is((SELECT count(*) FROM policed), 1::bigint, 'a forced policy of the owner does not stop the flush of another''s row');
SELECT is((SELECT count(*) FROM revoked), 1::bigint, 'nor does the owner''s lack of INSERT');
BEGIN;
INSERT INTO revoked VALUES (2, 1);
SELECT is((SELECT count(*) FROM revoked), 2::bigint, 'nor that of who stores it in the same transaction');
COMMIT;
GRANT INSERT (id, ref), SELECT ON revoked TO wrw_writer;
ALTER TABLE revoked ADD COLUMN other int;
SET ROLE wrw_writer;
BEGIN;
INSERT INTO revoked (id, ref) VALUES (3, 1);
SELECT is((SELECT count(*) FROM revoked), 3::bigint, 'rights on columns are enough');
COMMIT;
RESET ROLE;

-- A trigger on a partition runs as who inserts, at once.
CREATE TABLE whole (id int, seen name) PARTITION BY RANGE (id);
CREATE TABLE part PARTITION OF whole FOR VALUES FROM (0) TO (100);
SELECT writecache.attach('whole', 'write_back', flush_interval => '1 day');
GRANT INSERT, SELECT ON whole TO wrw_writer;
GRANT TRIGGER ON part TO wrw_writer;
INSERT INTO whole VALUES (1, 'before');
SET ROLE wrw_writer;
CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF new.id = 9 THEN RETURN NULL; END IF;
  new.seen := current_user;
  RETURN new;
END $$;
CREATE TRIGGER see BEFORE INSERT ON part FOR EACH ROW EXECUTE FUNCTION see();
PREPARE insert_whole AS INSERT INTO whole VALUES ($1, 'x') RETURNING seen;
CREATE TEMP TABLE returned (seen name);
DO $$
DECLARE
  result name;
BEGIN
  INSERT INTO whole VALUES (2, 'x') RETURNING seen INTO result;
  INSERT INTO returned VALUES (result);
  INSERT INTO whole VALUES (9, 'x') RETURNING seen INTO result;
  IF FOUND THEN INSERT INTO returned VALUES ('skipped by the trigger'); END IF;
END $$;
SELECT is((SELECT string_agg(seen, ',') FROM returned), 'wrw_writer', 'RETURNING shows what the trigger made, and not what it skipped');
RESET ROLE;
SELECT is((SELECT string_agg(seen, ',' ORDER BY id) FROM whole), 'before,wrw_writer', 'the trigger ran as who inserted');

-- With allow_triggers they run as the owner: only the owner may add one.
CREATE TABLE allowed (id int NOT NULL, seen name);
SELECT writecache.attach('allowed', 'write_back', flush_interval => '1 day', allow_triggers => true);
GRANT TRIGGER, INSERT ON allowed TO wrw_writer;
SET ROLE wrw_writer;
SELECT throws_ok('CREATE TRIGGER see BEFORE INSERT ON allowed FOR EACH ROW EXECUTE FUNCTION see()', '42501');
RESET ROLE;

-- What a BEFORE trigger completes is not refused before the trigger has run.
CREATE FUNCTION complete() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN new.id := coalesce(new.id, 5); RETURN new; END $$;
CREATE TRIGGER complete BEFORE INSERT ON allowed FOR EACH ROW EXECUTE FUNCTION complete();
SELECT lives_ok('INSERT INTO allowed (seen) VALUES (''x'')', 'a row that its trigger completes');
SELECT writecache.flush('allowed');
SELECT is((SELECT id FROM allowed), 5, 'is completed');

-- The extension's own trigger is for its own table.
SET ROLE wrw_writer;
CREATE TABLE mine ();
SELECT throws_ok('CREATE TRIGGER t AFTER INSERT ON mine FOR EACH ROW EXECUTE FUNCTION writecache.attached_changed()', '42501');
RESET ROLE;
CREATE TRIGGER t AFTER INSERT ON mine FOR EACH ROW EXECUTE FUNCTION writecache.attached_changed();
SELECT throws_ok('INSERT INTO mine DEFAULT VALUES', '39P01');


DROP TABLE mine;
DROP OWNED BY wrw_writer, wrw_owner CASCADE;
DROP ROLE wrw_writer, wrw_owner;
SELECT * FROM finish();
