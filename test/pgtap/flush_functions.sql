-- flush, position and wait return once what was acknowledged before is stored, and say so when it cannot be.
\ir ../tools/twins.psql
SELECT * FROM no_plan();

CREATE ROLE pgtap_flush_nobody;
CREATE TABLE a (id int);
CREATE TABLE b (id int);
CREATE TABLE plain_table (id int);
CREATE VIEW v AS SELECT * FROM a;
SELECT writecache.attach('a', 'write_back', flush_interval => '1 day'), writecache.attach('b', 'write_back', flush_interval => '1 day');
CREATE FUNCTION pending(name text) RETURNS bigint LANGUAGE sql AS 'SELECT rows_pending FROM writecache.stat_write_back WHERE relation = name::regclass';

-- One table, all tables, none.
SELECT is(writecache.flush(), 0::bigint, 'nothing to do');
SELECT is(writecache.flush('a'), 0::bigint, 'nothing to do');
INSERT INTO a VALUES (1), (2);
INSERT INTO b VALUES (1), (2), (3);
SELECT is(writecache.flush('a'), 2::bigint, 'the rows stored meanwhile');
SELECT is(pending('b'), 3::bigint, 'only this table');
SELECT is(writecache.flush(), 3::bigint, 'all tables');
INSERT INTO a VALUES (3);
SELECT is(writecache.flush(NULL), 1::bigint, 'NULL is all tables');
INSERT INTO a VALUES (4);
SELECT is(writecache.flush(relation => 'a'), 1::bigint, 'by name');
SELECT is((SELECT count(*) FROM a), 4::bigint, 'they are there');
SELECT is(error_of($$SELECT writecache.flush('plain_table')$$), E'55000: table "plain_table" is not attached as write_back\nHINT: Attach it with writecache.attach().');
SELECT is(error_of($$SELECT writecache.flush('v')$$), E'55000: table "v" is not attached as write_back\nHINT: Attach it with writecache.attach().');
SELECT is(error_of($$SELECT writecache.flush('pg_class')$$), E'55000: table "pg_class" is not attached as write_back\nHINT: Attach it with writecache.attach().');
SELECT is(error_of($$SELECT writecache.flush(4000000000::oid)$$), '42P01: relation with OID 4000000000 does not exist');
SELECT is(error_of($$SELECT writecache.flush('nowhere')$$), '42P01: relation "nowhere" does not exist');
INSERT INTO a VALUES (5);
SELECT is(as_role('pgtap_flush_nobody', $$SELECT writecache.flush('a')$$), 'ok', 'anybody may wait');
SELECT is(as_role('pgtap_flush_nobody', $$SELECT writecache.wait(writecache.position())$$), 'ok', 'anybody may wait');
SELECT is(pending('a'), 0::bigint, 'it is stored');

-- Within a transaction: what it has staged itself is not acknowledged yet.
BEGIN;
INSERT INTO a VALUES (6);
SELECT is(writecache.flush('a'), 0::bigint, 'not its own rows');
SELECT is(writecache.flush(), 0::bigint, 'not its own rows');
SELECT is(writecache.wait(writecache.position()), true, 'not its own rows');
COMMIT;
SELECT is(pending('a'), 1::bigint, 'committed, and pending');
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SELECT is(writecache.flush('a'), 1::bigint, 'in a read-only transaction');
COMMIT;
-- Under a lock that keeps the worker out it is stored by the transaction itself.
INSERT INTO a VALUES (7);
INSERT INTO b VALUES (7);
BEGIN;
LOCK TABLE a IN SHARE MODE;
SELECT is(writecache.flush(), 2::bigint, 'all tables, one of them locked');
SELECT is(writecache.flush(), 0::bigint, 'once');
SELECT is(writecache.flush('a'), 0::bigint, 'once');
SELECT is(writecache.wait(writecache.position()), true, 'and wait does not wait');
ROLLBACK;
SELECT is(pending('a'), 1::bigint, 'pending again');
SELECT is(pending('b'), 0::bigint, 'stored by the worker');
BEGIN;
LOCK TABLE a;
INSERT INTO a VALUES (8);
SELECT is(writecache.wait(writecache.position()), true, 'wait stores them too');
SAVEPOINT s;
SELECT is(writecache.flush('a'), 0::bigint, 'already stored');
ROLLBACK TO s;
COMMIT;
SELECT is(pending('a'), 0::bigint, 'nothing is left');
SELECT is((SELECT string_agg(id::text, ' ' ORDER BY id) FROM a), '1 2 3 4 5 6 7 8', 'each once');
BEGIN;
LOCK TABLE a IN ROW EXCLUSIVE MODE;
SELECT is(writecache.flush(), 0::bigint, 'a lock that the worker gets along with');
COMMIT;

-- Tokens.
SELECT writecache.position() AS before \gset
INSERT INTO a VALUES (9);
SELECT writecache.position() AS after \gset
SELECT cmp_ok(:after::bigint, '>', :before::bigint, 'the position moves');
SELECT is(writecache.wait(:before), true, 'what came before is stored');
SELECT is(pending('a'), 1::bigint, 'the row after it need not be');
SELECT is(writecache.wait(0), true, 'nothing came before the beginning');
SELECT is(writecache.wait(:after, NULL), true, 'waits without limit');
SELECT is(pending('a'), 0::bigint, 'stored');
SELECT is(writecache.wait(:after, '0'), true, 'is stored');
SELECT is(writecache.wait(writecache.position(), '1 day'), true, 'nothing is pending');
BEGIN;
INSERT INTO a VALUES (10);
ROLLBACK;
SELECT is(writecache.wait(writecache.position()), true, 'a transaction that was rolled back');
INSERT INTO a VALUES (11);
SELECT is(writecache.wait(writecache.position(), '1 month'), true, 'a long time');
SELECT is(error_of('SELECT writecache.wait(NULL)'), E'22004: token must not be null\nHINT: Take it from writecache.position().');
SELECT is(error_of('SELECT writecache.wait(-1)'), E'22023: invalid position token: -1\nHINT: Take it from writecache.position() of this server.');
SELECT is(error_of('SELECT writecache.wait(9223372036854775807)'), E'22023: invalid position token: 9223372036854775807\nHINT: Take it from writecache.position() of this server.');
SELECT is(error_of($$SELECT writecache.wait(0, '-1 s')$$), '22023: timeout must not be negative');
SELECT is(error_of($$SELECT writecache.wait(writecache.position(), '178000000 years')$$), NULL, 'the longest time there is');

-- A table that cannot be stored: it says so at once, keeps its rows, holds nobody else up, and goes on when it is mended.
CREATE TABLE broken (id int);
CREATE TABLE missing (id int);
CREATE FUNCTION needs_missing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.missing VALUES (NEW.id); RETURN NEW; END $$;
CREATE TRIGGER tr BEFORE INSERT ON broken FOR EACH ROW EXECUTE FUNCTION needs_missing();
SELECT writecache.attach('broken', 'write_back', flush_interval => '1 day', allow_triggers => true);
ALTER TABLE missing RENAME TO away;
INSERT INTO broken VALUES (1), (2);
INSERT INTO a VALUES (12);
SELECT is(error_of($$SELECT writecache.flush('broken')$$), E'55000: could not store the buffered rows of table "broken"\nDETAIL: The last error was: 42P01: relation "public.missing" does not exist\nHINT: The rows are kept. Mend the cause and call writecache.alter() for the table to try again at once.', 'flush says why');
SELECT is((SELECT state FROM writecache.tables WHERE relation = 'broken'::regclass), 'paused', 'the table is paused');
SELECT is((SELECT last_error FROM writecache.stat_write_back WHERE relation = 'broken'::regclass), '42P01: relation "public.missing" does not exist', 'and says why');
SELECT isnt((SELECT last_error_at FROM writecache.stat_write_back WHERE relation = 'broken'::regclass), NULL, 'and since when');
SELECT is(pending('broken'), 2::bigint, 'its rows are kept');
SELECT is(writecache.flush('a'), 1::bigint, 'no other table is held up');
SELECT is(left(error_of('SELECT writecache.flush()'), 60), '55000: could not store the buffered rows of table "broken"' || E'\nD', 'nor hidden');
SELECT is(left(error_of('SELECT writecache.wait(writecache.position())'), 60), '55000: could not store the buffered rows of table "broken"' || E'\nD', 'nor hidden');
SELECT is(left(error_of('UPDATE broken SET id = id'), 60), '55000: could not store the buffered rows of table "broken"' || E'\nD', 'what changes rows does not go on without them');
SELECT is(left(error_of('SELECT * FROM broken FOR UPDATE'), 60), '55000: could not store the buffered rows of table "broken"' || E'\nD', 'nor what locks them');
SELECT is(error_of('SELECT * FROM broken'), NULL, 'reading does');
SELECT is(left(error_of('INSERT INTO broken VALUES (3)'), 46), '42P01: relation "public.missing" does not exis', 'new rows meet the error themselves');
SELECT is((SELECT count(*) FROM broken), 2::bigint, 'the old ones are there');
ALTER TABLE away RENAME TO missing;
SELECT is((SELECT state FROM writecache.tables WHERE relation = 'broken'::regclass), 'paused', 'it cannot know that it is mended');
SELECT writecache.alter('broken');
INSERT INTO broken VALUES (3);
SELECT is((SELECT rows_captured FROM writecache.stat_write_back WHERE relation = 'broken'::regclass), 3::bigint, 'new rows are taken');
SELECT is(writecache.flush('broken') >= 0, true, 'alter tells it');
SELECT is((SELECT string_agg(id::text, ' ' ORDER BY id) FROM broken), '1 2 3', 'its rows are stored');
SELECT is((SELECT string_agg(id::text, ' ' ORDER BY id) FROM missing), '1 2 3', 'once');
SELECT is((SELECT state FROM writecache.tables WHERE relation = 'broken'::regclass), 'active', 'active again');
-- DDL that mends it needs no flush; what removes it neither.
ALTER TABLE missing RENAME TO away;
INSERT INTO broken VALUES (4);
SELECT isnt(error_of($$SELECT writecache.flush('broken')$$), NULL, 'broken again');
SELECT is(error_of('ALTER TABLE broken DISABLE TRIGGER tr'), NULL, 'a trigger can be disabled');
SELECT writecache.alter('broken');
SELECT is(writecache.flush('broken') >= 0, true);
ALTER TABLE broken ENABLE TRIGGER tr;
INSERT INTO broken VALUES (5);
SELECT isnt(error_of($$SELECT writecache.flush('broken')$$), NULL, 'and again');
SELECT is(error_of('DROP TRIGGER tr ON broken'), NULL, 'or dropped');
SELECT writecache.alter('broken');
SELECT is(writecache.flush('broken') >= 0, true);
SELECT is((SELECT string_agg(id::text, ' ' ORDER BY id) FROM broken), '1 2 3 4 5', 'its rows are stored');
CREATE TRIGGER tr BEFORE INSERT ON broken FOR EACH ROW EXECUTE FUNCTION needs_missing();
INSERT INTO broken VALUES (6);
SELECT isnt(error_of($$SELECT writecache.flush('broken')$$), NULL, 'once more');
SELECT is(left(error_of($$SELECT writecache.detach('broken')$$), 60), '42P01: relation "public.missing" does not exist', 'detach cannot store them either');
SELECT is(pending('broken'), 1::bigint, 'they are kept');
DROP TABLE broken;
SELECT is(writecache.flush(), 0::bigint, 'dropped with its rows');
DROP ROLE pgtap_flush_nobody;

SELECT * FROM finish();
