-- COPY table TO writes every row that a SELECT shows, pending and staged ones too, and fails as on a plain table.
\ir ../tools/twins.psql
SELECT * FROM no_plan();

SELECT make_twins($$
  CREATE TABLE t (gone int, id int, "Odd name" text DEFAULT 'd', g int GENERATED ALWAYS AS (id * 2) STORED, n numeric);
  ALTER TABLE t DROP gone;
  CREATE TABLE child (extra int) INHERITS (t);
  CREATE TABLE no_columns ();
  CREATE TABLE parts (id int) PARTITION BY RANGE (id);
  CREATE TABLE part PARTITION OF parts FOR VALUES FROM (0) TO (100);
$$, '{t,child,no_columns,parts}', $$flush_interval => '1 day'$$);
CREATE TABLE lines (place text, n serial, line text);
-- Writes a file from either table and compares the files.
CREATE FUNCTION same_file(statement text, at_least int DEFAULT 1) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
  place text; file text; content text[] := '{}'; n bigint; counts bigint[] := '{}';
BEGIN
  FOREACH place IN ARRAY '{plain,captured}'::text[] LOOP
    PERFORM set_config('search_path', place || ', public', true);
    file := current_setting('data_directory') || '/pgtap_out_' || place;
    EXECUTE replace(statement, '<file>', quote_literal(file));
    GET DIAGNOSTICS n = ROW_COUNT;
    counts := counts || n;
    content := content || encode(pg_read_binary_file(file), 'escape');
  END LOOP;
  PERFORM set_config('search_path', 'public', true);
  RETURN NEXT is((SELECT string_agg(l, E'\n' ORDER BY l COLLATE "C") FROM regexp_split_to_table(content[2], E'\n') l),
                 (SELECT string_agg(l, E'\n' ORDER BY l COLLATE "C") FROM regexp_split_to_table(content[1], E'\n') l), 'the same file: ' || statement);
  RETURN NEXT is(counts[2], counts[1], 'the same count');
  RETURN NEXT cmp_ok(n, '>=', at_least::bigint, 'at least ' || at_least);
END $$;
SELECT same($$INSERT INTO t (id, "Odd name", n) VALUES (1, 'stored', 1.50)$$);
SELECT same($$INSERT INTO child (id, extra) VALUES (100, 1)$$);
SELECT writecache.flush() >= 0;
SELECT same($$INSERT INTO t (id, "Odd name", n) VALUES (2, E'pending\t"quoted", line\nbreak', NULL), (3, NULL, 3)$$);
SELECT same($$INSERT INTO no_columns DEFAULT VALUES$$);
SELECT same($$INSERT INTO parts VALUES (1), (2)$$);
SELECT same_file('COPY t TO <file>', 3);
SELECT same_file('COPY t (n, id) TO <file>', 3);
SELECT same_file('COPY t ("Odd name") TO <file> (FORMAT csv, HEADER, FORCE_QUOTE *)', 3);
SELECT same_file('COPY t TO <file> (FORMAT csv, HEADER, FORCE_QUOTE ("Odd name", id), NULL ''nix'')', 3);
SELECT same_file('COPY t TO <file> (DELIMITER ''|'', ENCODING ''LATIN1'')', 3);
SELECT same_file('COPY t (id) TO <file> WITH BINARY', 3);
SELECT same_file('COPY child TO <file>', 1);
SELECT same_file('COPY part TO <file>', 2);
SELECT same_file('COPY no_columns TO <file>', 1);
SELECT same_file('COPY (SELECT * FROM t) TO <file>', 4);
SELECT same_error($$COPY t (nope) TO '/dev/null'$$, '42703');
SELECT same_error($$COPY t (id, id) TO '/dev/null'$$, '42701');
SELECT same_error($$COPY t (g) TO '/dev/null'$$, '42P10');
SELECT same_error($$COPY parts TO '/dev/null'$$, '42809');
SELECT same_error($$COPY t TO '/dev/null' (FORMAT xml)$$, '22023');
SELECT same_error($$COPY t TO 'relative'$$, '42602');
BEGIN;
INSERT INTO plain.t (id) VALUES (10);
INSERT INTO captured.t (id) VALUES (10);
SELECT same_file('COPY t TO <file>', 4);
SAVEPOINT s;
INSERT INTO plain.t (id) VALUES (11);
INSERT INTO captured.t (id) VALUES (11);
SELECT same_file('COPY t TO <file>', 5);
ROLLBACK TO s;
SELECT same_file('COPY t TO <file>', 4);
COMMIT;
SELECT writecache.alter('captured.t', read_pending => false);
BEGIN;
INSERT INTO captured.t (id) VALUES (12);
INSERT INTO plain.t (id) VALUES (12);
SELECT writecache.flush('captured.t') >= 0;
SELECT same_file('COPY t TO <file>', 5);
COMMIT;
SELECT same_rows('t', 6);

SELECT * FROM finish();
