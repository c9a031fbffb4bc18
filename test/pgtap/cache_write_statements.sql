-- A statement that writes to a table in mode write_through or cache_aside does what it does to a plain table: rows, counts,
-- errors. Afterwards each key is read as the table has it.
\ir ../tools/twins.psql
SELECT * FROM no_plan();
CREATE TABLE ddl (line int GENERATED ALWAYS AS IDENTITY, text text);
INSERT INTO ddl (text) VALUES ($$
  CREATE TABLE t (id int PRIMARY KEY, v text, n int DEFAULT 7, big text, g int GENERATED ALWAYS AS (n * 2) STORED, u int UNIQUE);
  ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
  INSERT INTO t (id, v, n, big, u) SELECT i, 'v' || i, i, repeat('b', i * 100), i FROM generate_series(1, 100) i;
  CREATE TABLE log (what text);
  CREATE TABLE other (id int, x text);
  INSERT INTO other SELECT i, 'x' || i FROM generate_series(50, 150) i;
  CREATE TABLE p (id int, at int, v text, PRIMARY KEY (id, at)) PARTITION BY LIST (at);
  CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
  CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2) PARTITION BY RANGE (id);
  CREATE TABLE p2a (v text, gone int, at int NOT NULL, id int NOT NULL);
  ALTER TABLE p2a DROP gone;
  ALTER TABLE p2 ATTACH PARTITION p2a FOR VALUES FROM (0) TO (100);
  CREATE TABLE p2b PARTITION OF p2 FOR VALUES FROM (100) TO (1000);
  INSERT INTO p SELECT i, 1 + i % 2, 'p' || i FROM generate_series(1, 200) i;
  CREATE TABLE parent (id int PRIMARY KEY, v text);
  CREATE TABLE child (more text, PRIMARY KEY (id)) INHERITS (parent);
  INSERT INTO parent VALUES (1, 'p'), (2, 'p');
  INSERT INTO child VALUES (3, 'c', 'm'), (4, 'c', 'm');
  CREATE TABLE tree (id int PRIMARY KEY, up int REFERENCES tree ON DELETE CASCADE ON UPDATE CASCADE DEFERRABLE INITIALLY DEFERRED);
  INSERT INTO tree VALUES (1, NULL), (2, 1), (3, 2), (4, 1), (5, NULL);
  CREATE VIEW v AS SELECT id, v FROM t WHERE id < 1000 WITH CHECK OPTION;
  CREATE VIEW r AS SELECT id, v FROM t;
  CREATE RULE r AS ON INSERT TO r DO INSTEAD INSERT INTO t (id, v) VALUES (NEW.id, NEW.v) RETURNING id, v;
  CREATE RULE r_also AS ON UPDATE TO r DO INSTEAD (UPDATE t SET v = NEW.v WHERE id = OLD.id; INSERT INTO log VALUES ('rule'));
  CREATE FUNCTION counted() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN
    INSERT INTO log SELECT TG_OP || ' ' || count(*) || ' ' || string_agg(v, ',' ORDER BY v) FROM new_rows; RETURN NULL; END $f$;
  CREATE TRIGGER counted AFTER UPDATE ON t REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION counted();
  CREATE FUNCTION before() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN
    IF NEW.v = 'skip' THEN RETURN NULL; END IF;
    IF NEW.v = 'rekey' THEN NEW.id := NEW.id + 5000; END IF;
    IF NEW.v = 'fail' THEN RAISE 'no'; END IF;
    RETURN NEW; END $f$;
  CREATE TRIGGER before BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION before();
  CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN
    IF NEW.v = 'late' THEN
      PERFORM set_config('search_path', TG_TABLE_SCHEMA || ', public', true);  -- at the commit
      UPDATE t SET v = 'later' WHERE id = NEW.id;
    END IF;
    IF NEW.v = 'too late' THEN RAISE 'too late'; END IF;
    RETURN NULL; END $f$;
  CREATE CONSTRAINT TRIGGER late AFTER INSERT OR UPDATE ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION late();
  CREATE FUNCTION change(int, text) RETURNS text LANGUAGE plpgsql AS $f$ DECLARE x text; BEGIN UPDATE t SET v = $2 WHERE id = $1 RETURNING v || n INTO x; RETURN x; END $f$;
  CREATE FUNCTION change_sql(int, text) RETURNS SETOF t LANGUAGE sql AS $f$ UPDATE t SET v = $2 WHERE id = $1 RETURNING * $f$;
  CREATE FUNCTION looped() RETURNS text LANGUAGE plpgsql AS $f$
  DECLARE x record; result text := ''; c CURSOR FOR SELECT * FROM t WHERE id BETWEEN 30 AND 33 ORDER BY id FOR UPDATE;
  BEGIN
    FOR x IN UPDATE t SET v = v || '+' WHERE id BETWEEN 20 AND 23 RETURNING * LOOP
      BEGIN
        result := result || x.id || x.v;
        UPDATE t SET n = n + 1 WHERE id = x.id;
        IF x.id = 21 THEN RAISE 'undone'; END IF;
      EXCEPTION WHEN raise_exception THEN result := result || '!';
      END;
    END LOOP;
    FOR x IN c LOOP
      IF x.id = 31 THEN DELETE FROM t WHERE CURRENT OF c; ELSE UPDATE t SET v = 'current' WHERE CURRENT OF c; END IF;
    END LOOP;
    RETURN result;
  END $f$;
$$);
SET search_path = public;
CREATE FUNCTION make(place text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
  PERFORM set_config('search_path', place || ', public', true);
  EXECUTE (SELECT text FROM public.ddl);
END $$;
CREATE FUNCTION cached_tables() RETURNS SETOF text LANGUAGE sql AS $$ SELECT unnest('{t,p,parent,child,tree}'::text[]) $$;
-- Every key, through the cache and not.
CREATE FUNCTION right_answers() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
  name text; wrong text;
BEGIN
  PERFORM set_config('search_path', 'captured, public', true);
  FOREACH name IN ARRAY '{t,p,p1,p2a,p2b,parent,child,tree}'::text[] LOOP
    EXECUTE format('SELECT string_agg(c::text || '' <> '' || s::text, E''\n'') FROM (SELECT * FROM %1$I TABLESAMPLE SYSTEM (100)) s FULL JOIN
      (SELECT r AS c, (r).id FROM %2$s WHERE (r).id IS NOT NULL) c ON c.id = s.id WHERE c.c::text IS DISTINCT FROM s::text', name,
      CASE WHEN name LIKE 'p_%' AND name <> 'parent' OR name = 'p' THEN
        format('(SELECT r FROM generate_series(0, 300) i, generate_series(1, 2) a, LATERAL (SELECT x AS r FROM %1$I x WHERE id = i AND at = a) y) z', name)
      ELSE format('(SELECT r FROM writecache.get_many(NULL::%1$I, ARRAY(SELECT generate_series(-100, 7000))) r) z', name) END) INTO wrong;
    IF wrong IS NOT NULL THEN RETURN NEXT fail(name || ': ' || left(wrong, 1000)); END IF;
  END LOOP;
  PERFORM set_config('search_path', 'public', true);
END $$;
CREATE TABLE statements (no int GENERATED ALWAYS AS IDENTITY, text text);
INSERT INTO statements (text) VALUES
 ('INSERT INTO t (id, v) VALUES (201, $$a$$), (202, $$skip$$), (203, $$rekey$$) RETURNING *'),
 ('INSERT INTO t (id, v) VALUES (1, $$conflict$$), (204, $$new$$) ON CONFLICT (id) DO UPDATE SET v = t.v || excluded.v, id = t.id + 400 WHERE t.id < 50 RETURNING t.*, xmax = 0'),
 ('INSERT INTO t (id, v) VALUES (2, $$conflict$$), (205, $$new$$) ON CONFLICT DO NOTHING RETURNING id'),
 ('INSERT INTO t (id, v) VALUES (2, $$duplicate$$)'),
 ('INSERT INTO t (id, v) SELECT id, x FROM other WHERE id > 100 RETURNING id, (SELECT count(*) FROM other), t'),
 ('INSERT INTO t (id, v) SELECT id + 300, x FROM other'),
 ('INSERT INTO t DEFAULT VALUES'),
 ('UPDATE t SET v = upper(v), n = n + 1 WHERE id < 30 RETURNING id, v, g, t.*, length(big)'),
 ('UPDATE t SET v = $$fail$$ WHERE id = 3'),
 ('UPDATE t SET v = $$skip$$ WHERE id = 3 RETURNING *'),
 ('UPDATE t SET v = $$rekey$$ WHERE id = 6'),
 ('UPDATE t SET v = $$late$$ WHERE id = 7 RETURNING v'),
 ('UPDATE t SET (v, big) = (SELECT x, repeat(x, 1000) FROM other o WHERE o.id = t.id) WHERE id BETWEEN 60 AND 63 RETURNING id, left(big, 5)'),
 ('UPDATE t SET id = -id, v = o.x FROM other o WHERE o.id = t.id AND t.id BETWEEN 64 AND 66 RETURNING t.id, o.*, o, t.tableoid::regclass::text, t.ctid IS NOT NULL'),
 ('UPDATE t SET id = id + 1 WHERE id IN (70, 71)'),
 ('UPDATE t a SET n = b.n FROM t b WHERE b.id = a.id + 1 AND a.id BETWEEN 80 AND 85 RETURNING a.id, b.id, b.n'),
 ('UPDATE t SET u = 1 WHERE id = 2'),
 ('UPDATE t SET v = change(id + 1, $$inner$$) WHERE id IN (40, 42) RETURNING id, v'),
 ('UPDATE t SET v = change(id, $$itself$$) WHERE id = 44'),
 ('UPDATE t SET v = v WHERE false'),
 ('DELETE FROM t WHERE id BETWEEN 10 AND 12 RETURNING *, t'),
 ('DELETE FROM t USING other o WHERE o.id = t.id AND o.id = 90 RETURNING o.x, t.v'),
 ('DELETE FROM t WHERE id = 91'),
 ('WITH x AS (DELETE FROM t WHERE id = 92 RETURNING *) INSERT INTO t (id, v) SELECT id + 600, v FROM x RETURNING id, v'),
 ('WITH x AS (UPDATE t SET v = $$with$$ WHERE id = 93 RETURNING *), y AS (SELECT 94 AS id) UPDATE t SET v = x.v FROM x, y WHERE t.id = y.id RETURNING t.id, t.v'),
 ('WITH RECURSIVE c(i) AS (SELECT 95 UNION ALL SELECT i + 1 FROM c WHERE i < 97) UPDATE t SET n = i FROM c WHERE id = i RETURNING id, n'),
 ('SELECT change(13, $$f$$), change(14, $$g$$)'),
 ('SELECT * FROM change_sql(15, $$h$$)'),
 ('SELECT looped()'),
 ('UPDATE t SET v = $$prepared$$ WHERE id = ANY (ARRAY[16, 17, 18]) RETURNING id'),
 ('INSERT INTO v VALUES (206, $$through a view$$) RETURNING *'),
 ('INSERT INTO v VALUES (2000, $$no$$)'),
 ('UPDATE v SET v = $$by view$$ WHERE id = 19 RETURNING id, v'),
 ('DELETE FROM v WHERE id = 24'),
 ('INSERT INTO r VALUES (207, $$rule$$) RETURNING id, v'),
 ('UPDATE r SET v = $$rule$$ WHERE id = 25'),
 ('MERGE INTO t USING other o ON t.id = o.id WHEN MATCHED AND o.id < 55 THEN DELETE WHEN MATCHED THEN UPDATE SET v = o.x WHEN NOT MATCHED AND o.id < 103 THEN INSERT (id, v) VALUES (o.id + 700, o.x)'),
 ('INSERT INTO p VALUES (5, 2, $$new$$), (7, 1, $$new$$) RETURNING *, tableoid::regclass::text'),
 ('INSERT INTO p VALUES (5, 3, $$nowhere$$)'),
 ('INSERT INTO p VALUES (5, 2, $$conflict$$), (250, 2, $$x$$) ON CONFLICT (id, at) DO UPDATE SET v = p.v || excluded.v RETURNING *'),
 ('UPDATE p SET at = 3 - at WHERE id BETWEEN 90 AND 110 RETURNING *, tableoid::regclass::text'),
 ('UPDATE p SET id = id + 95, v = o.x FROM other o WHERE o.id = p.id AND p.id < 56 AND at = 2 RETURNING p.*, o.x'),
 ('UPDATE p2 SET id = 300 - id WHERE id IN (60, 62) RETURNING *'),
 ('UPDATE p1 SET at = 2 WHERE id = 20'),
 ('DELETE FROM p WHERE id % 10 = 0 RETURNING id, at, tableoid::regclass::text'),
 ('UPDATE p2a SET v = $$leaf$$ WHERE id < 10 RETURNING *'),
 ('UPDATE parent SET v = v || id RETURNING *, tableoid::regclass::text'),
 ('UPDATE parent SET id = id + 10 WHERE id IN (1, 3)'),
 ('DELETE FROM parent WHERE id IN (2, 4) RETURNING *'),
 ('INSERT INTO child VALUES (5, $$c$$, $$m$$) RETURNING *'),
 ('UPDATE tree SET id = id * 10 WHERE id IN (1, 2) RETURNING *'),
 ('DELETE FROM tree WHERE id = 10'),
 ('DO $d$ BEGIN UPDATE t SET v = $$do$$ WHERE id = 26; BEGIN UPDATE t SET v = $$undone$$ WHERE id = 27; RAISE $$x$$; EXCEPTION WHEN OTHERS THEN UPDATE t SET v = v || $$.$$ WHERE id = 28; END; END $d$'),
 ('TRUNCATE other'),
 ('SELECT * FROM log ORDER BY what COLLATE "C"');
CREATE FUNCTION all_statements() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE s text;
BEGIN
  FOR s IN SELECT text FROM public.statements ORDER BY no LOOP
    RETURN NEXT same(s, NULL);
    SET CONSTRAINTS ALL IMMEDIATE;
    SET CONSTRAINTS ALL DEFERRED;
  END LOOP;
END $$;
SELECT make(place) FROM unnest('{plain,captured}'::text[]) place;

-- In transactions of their own.
SELECT format('SELECT writecache.attach(%L, ''write_through'')', 'captured.' || x) FROM cached_tables() x \gexec
SELECT * FROM right_answers();
SELECT format('SELECT same(%L, NULL)', text) FROM statements ORDER BY no \gexec
SELECT same_rows(x) FROM cached_tables() x;
SELECT * FROM right_answers();
SET search_path = captured, public;
\set ON_ERROR_STOP 0
UPDATE captured.t SET v = 'too late' WHERE id = 29;
\set ON_ERROR_STOP 1
SELECT is(:'LAST_ERROR_MESSAGE'::text, 'too late', 'an error at the commit');
SET search_path = public;
SELECT isnt((SELECT v FROM captured.t WHERE id = 29), 'too late');
SELECT * FROM right_answers();
SELECT cmp_ok(sum(entries), '>', 100::numeric, 'the cache has been filled') FROM writecache.stat_cache;

-- The same with cache_aside, in one transaction.
DROP SCHEMA plain, captured CASCADE;
CREATE SCHEMA plain;
CREATE SCHEMA captured;
SELECT make(place) FROM unnest('{plain,captured}'::text[]) place;
SELECT format('SELECT writecache.attach(%L, ''cache_aside'')', 'captured.' || x) FROM cached_tables() x \gexec
SELECT * FROM right_answers();
BEGIN;
SELECT * FROM all_statements();
SELECT * FROM right_answers();
COMMIT;
SELECT same_rows(x) FROM cached_tables() x;
SELECT * FROM right_answers();
SELECT * FROM finish();
