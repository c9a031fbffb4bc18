-- Views, rules and triggers in front of an attached table.
\ir ../tools/twins.psql
SELECT * FROM no_plan();

SELECT make_twins($$
  CREATE TABLE t (id int, v text, secret text DEFAULT 'default of the table');
  CREATE VIEW simple AS SELECT id, v FROM t;
  ALTER VIEW simple ALTER v SET DEFAULT 'default of the view';
  CREATE VIEW low AS SELECT * FROM t WHERE id < 10;
  CREATE VIEW low_checked AS SELECT * FROM t WHERE id < 10 WITH CHECK OPTION;
  CREATE VIEW over_it AS SELECT id FROM low_checked WHERE id > 0 WITH LOCAL CHECK OPTION;
  CREATE VIEW barrier WITH (security_barrier) AS SELECT * FROM t WHERE id <> 5;
  CREATE VIEW not_updatable AS SELECT id, count(*) FROM t GROUP BY id;
  CREATE VIEW by_trigger AS SELECT id * 1 AS id FROM t;
  CREATE FUNCTION instead() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO t (id, v) VALUES (NEW.id, ''by trigger''); RETURN NEW; END';
  CREATE TRIGGER instead INSTEAD OF INSERT ON by_trigger FOR EACH ROW EXECUTE FUNCTION instead();
  CREATE VIEW by_rule AS SELECT id + 0 AS id FROM t;
  CREATE RULE r AS ON INSERT TO by_rule DO INSTEAD INSERT INTO t (id, v) VALUES (NEW.id, 'by rule') RETURNING id;
$$);
SELECT same($$INSERT INTO simple VALUES (1), (2) RETURNING *$$);
SELECT same($$INSERT INTO simple SELECT x, 'x' FROM generate_series(1, 3) x$$);
SELECT same($$INSERT INTO low VALUES (100, 'allowed without a check option') RETURNING *$$);
SELECT same($$INSERT INTO low_checked VALUES (1, 'checked') RETURNING *$$, 'plain');
SELECT same_error($$INSERT INTO low_checked VALUES (100, 'refused')$$, '44000');
SELECT same($$INSERT INTO over_it VALUES (1)$$, 'plain');
SELECT same_error($$INSERT INTO over_it VALUES (0)$$, '44000');
SELECT same_error($$INSERT INTO over_it VALUES (11)$$, '44000');
SELECT same($$INSERT INTO barrier VALUES (5), (6) RETURNING id$$);
SELECT same_error($$INSERT INTO not_updatable VALUES (1, 1)$$, '55000');
SELECT same($$INSERT INTO by_trigger VALUES (1), (2)$$, NULL);
SELECT same($$INSERT INTO by_trigger VALUES (3) RETURNING id$$, NULL);
SELECT same($$INSERT INTO by_rule VALUES (1) RETURNING id$$);
SELECT same($$INSERT INTO by_rule SELECT x FROM generate_series(1, 5) x$$);
SELECT same_rows('t', 19);

-- Rules of the table itself.
SELECT make_twins($$
  CREATE TABLE ruled (a int, b text);
  CREATE TABLE audit (a int, b text);
  CREATE RULE also AS ON INSERT TO ruled WHERE NEW.a > 10 DO ALSO INSERT INTO audit VALUES (NEW.a, 'seen');
  CREATE RULE never AS ON INSERT TO ruled WHERE NEW.a < 0 DO INSTEAD NOTHING;
$$, '{ruled,audit}');
SELECT same($$INSERT INTO ruled VALUES (1, 'x'), (11, 'y'), (-1, 'z')$$);
SELECT same($$INSERT INTO ruled SELECT x, 'x' FROM generate_series(-5, 20) x$$);
SELECT same_rows('ruled', 20);
SELECT same_rows('audit', 11);
SELECT make_twins($$CREATE RULE gone AS ON INSERT TO ruled WHERE NEW.b = 'gone' DO INSTEAD DELETE FROM ruled WHERE a = NEW.a$$, '{}');
SELECT same($$INSERT INTO ruled VALUES (1, 'gone')$$, NULL);
SELECT same_rows('ruled', 20);
SELECT make_twins($$CREATE RULE all_gone AS ON INSERT TO ruled DO INSTEAD NOTHING$$, '{}');
SELECT same($$INSERT INTO ruled VALUES (1, 'gone')$$, NULL);
SELECT same_rows('ruled', 20);

-- Triggers of other events never hinder capture; one for INSERT that is made later does.
SELECT make_twins($$
  CREATE TABLE triggered (a int, b text);
  CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.b := upper(NEW.b); RETURN NEW; END';
  CREATE TRIGGER on_update BEFORE UPDATE ON triggered FOR EACH ROW EXECUTE FUNCTION shout();
$$, '{triggered}');
SELECT same($$INSERT INTO triggered VALUES (1, 'quiet') RETURNING *$$);
SELECT same_rows('triggered', 1);
SELECT same($$UPDATE triggered SET a = 2 RETURNING *$$, NULL);
SELECT make_twins($$CREATE TRIGGER on_insert BEFORE INSERT ON triggered FOR EACH ROW EXECUTE FUNCTION shout()$$, '{}');
SELECT same($$INSERT INTO triggered VALUES (3, 'loud') RETURNING *$$, 'aside');
SELECT make_twins($$ALTER TABLE triggered DISABLE TRIGGER on_insert$$, '{}');
SELECT same($$INSERT INTO triggered VALUES (4, 'disabled') RETURNING *$$);
SELECT make_twins($$ALTER TABLE triggered ENABLE TRIGGER on_insert$$, '{}');
SELECT same($$INSERT INTO triggered VALUES (5, 'enabled') RETURNING *$$, 'aside');
SELECT make_twins($$DROP TRIGGER on_insert ON triggered$$, '{}');
SELECT same($$INSERT INTO triggered VALUES (6, 'dropped') RETURNING *$$);
SELECT same_rows('triggered', 5);

SELECT * FROM finish();
