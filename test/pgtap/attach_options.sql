-- Every option of attach and alter is kept, checked and in force; a call that is refused changes nothing.
\ir ../tools/twins.psql
SELECT * FROM no_plan();

CREATE TABLE t (id int);
CREATE FUNCTION options_of(regclass) RETURNS text LANGUAGE sql AS $$
  SELECT concat_ws(' ', mode, state, coalesce(flush_interval::text, '-'), coalesce(flush_rows::text, '-'), coalesce(flush_bytes::text, '-'), when_full, read_pending, on_conflict, allow_triggers)
    FROM writecache.tables WHERE relation = $1
$$;
CREATE FUNCTION same_options(statement text, expected text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE statement;
  RETURN is(options_of('t'), expected, statement);
END $$;
CREATE FUNCTION refused(statement text, expected text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
  before text := options_of('t');
BEGIN
  RETURN NEXT is(error_of(statement), expected, 'refused: ' || statement);
  RETURN NEXT is(options_of('t'), before, 'nothing changed');
END $$;

-- attach: all defaults, NULLs are defaults, everything given, by position.
SELECT is(options_of('t'), NULL, 'not attached');
SELECT same_options($$SELECT writecache.attach('t', 'write_back')$$, 'write_back active - - - wait t reject f');
SELECT writecache.detach('t');
SELECT is(options_of('t'), NULL, 'detached');
SELECT same_options($$SELECT writecache.attach('t', 'write_back', NULL, NULL, NULL, NULL, NULL, NULL, NULL)$$, 'write_back active - - - wait t reject f');
SELECT writecache.detach('t');
SELECT same_options($$SELECT writecache.attach(relation => 't', mode => 'write_back', flush_interval => '1 day', flush_rows => 9223372036854775807, flush_bytes => 9223372036854775807,
  when_full => 'write_through', read_pending => false, on_conflict => 'ignore', allow_triggers => true)$$,
  'write_back active 1 day 9223372036854775807 9223372036854775807 write_through f ignore t');
SELECT writecache.detach('t');
SELECT same_options($$SELECT writecache.attach('t', 'write_back', '1 ms', 1, 1, 'error', true, 'reject', false)$$, 'write_back active 00:00:00.001 1 1 error t reject f');

-- alter: each option alone; what is not given stays.
SELECT same_options($$SELECT writecache.alter('t')$$, 'write_back active 00:00:00.001 1 1 error t reject f');
SELECT same_options($$SELECT writecache.alter('t', NULL, NULL, NULL, NULL, NULL, NULL, NULL)$$, 'write_back active 00:00:00.001 1 1 error t reject f');
SELECT same_options($$SELECT writecache.alter('t', flush_interval => '24 hours')$$, 'write_back active 24:00:00 1 1 error t reject f');
SELECT same_options($$SELECT writecache.alter('t', flush_rows => 1000)$$, 'write_back active 24:00:00 1000 1 error t reject f');
SELECT same_options($$SELECT writecache.alter('t', flush_bytes => 1048576)$$, 'write_back active 24:00:00 1000 1048576 error t reject f');
SELECT same_options($$SELECT writecache.alter('t', when_full => 'wait')$$, 'write_back active 24:00:00 1000 1048576 wait t reject f');
SELECT same_options($$SELECT writecache.alter('t', read_pending => false)$$, 'write_back active 24:00:00 1000 1048576 wait f reject f');
SELECT same_options($$SELECT writecache.alter('t', on_conflict => 'ignore')$$, 'write_back active 24:00:00 1000 1048576 wait f ignore f');
SELECT same_options($$SELECT writecache.alter('t', allow_triggers => true)$$, 'write_back active 24:00:00 1000 1048576 wait f ignore t');
SELECT same_options($$SELECT writecache.alter('t', '0.5 s', 5, 6, 'write_through', true, 'reject', false)$$, 'write_back active 00:00:00.5 5 6 write_through t reject f');

-- Back to the defaults.
SELECT same_options($$SELECT writecache.alter('t', reset => '{flush_rows,when_full}')$$, 'write_back active 00:00:00.5 - 6 wait t reject f');
SELECT same_options($$SELECT writecache.alter('t', flush_bytes => 9, reset => '{flush_rows,flush_bytes}')$$, 'write_back active 00:00:00.5 - 9 wait t reject f');
SELECT same_options($$SELECT writecache.alter('t', '1 s', 7, 8, 'error', false, 'ignore', true)$$, 'write_back active 00:00:01 7 8 error f ignore t');
SELECT same_options($$SELECT writecache.alter('t', reset => '{flush_interval,flush_rows,flush_bytes,when_full,read_pending,on_conflict,allow_triggers}')$$, 'write_back active - - - wait t reject f');
SELECT same_options($$SELECT writecache.alter('t', '1 s', 7, reset => '{}')$$, 'write_back active 00:00:01 7 - wait t reject f');
SELECT refused($$SELECT writecache.alter('t', reset => '{flush_rows,nonsense}')$$, E'22023: unrecognized option "nonsense" in "reset"');
SELECT refused($$SELECT writecache.alter('t', reset => ARRAY[NULL])$$, E'22023: unrecognized option "" in "reset"');
SELECT refused($$SELECT writecache.alter('t', reset => '{key}')$$, E'22023: option "key" is not for this mode\nDETAIL: It is for the modes that cache rows.');

-- What is refused.
SELECT refused($$SELECT writecache.alter('t', flush_interval => '0')$$, E'22023: invalid value for option "flush_interval"\nDETAIL: It must lie between 1 ms and 1 day.');
SELECT refused($$SELECT writecache.alter('t', flush_interval => '999 us')$$, E'22023: invalid value for option "flush_interval"\nDETAIL: It must lie between 1 ms and 1 day.');
SELECT refused($$SELECT writecache.alter('t', flush_interval => '-1 s')$$, E'22023: invalid value for option "flush_interval"\nDETAIL: It must lie between 1 ms and 1 day.');
SELECT refused($$SELECT writecache.alter('t', flush_interval => '1 day 1 us')$$, E'22023: invalid value for option "flush_interval"\nDETAIL: It must lie between 1 ms and 1 day.');
SELECT refused($$SELECT writecache.alter('t', flush_interval => '178000000 years')$$, E'22023: invalid value for option "flush_interval"\nDETAIL: It must lie between 1 ms and 1 day.');
SELECT refused($$SELECT writecache.alter('t', flush_interval => '-178000000 years')$$, E'22023: invalid value for option "flush_interval"\nDETAIL: It must lie between 1 ms and 1 day.');
SELECT refused($$SELECT writecache.alter('t', flush_rows => 0)$$, E'22023: invalid value for option "flush_rows"\nDETAIL: It must be greater than zero.');
SELECT refused($$SELECT writecache.alter('t', flush_rows => -9223372036854775808)$$, E'22023: invalid value for option "flush_rows"\nDETAIL: It must be greater than zero.');
SELECT refused($$SELECT writecache.alter('t', flush_bytes => 0)$$, E'22023: invalid value for option "flush_bytes"\nDETAIL: It must be greater than zero.');
SELECT refused($$SELECT writecache.alter('t', when_full => 'WAIT')$$, E'22023: invalid value for option "when_full"\nDETAIL: It must be "wait", "write_through" or "error".');
SELECT refused($$SELECT writecache.alter('t', when_full => '')$$, E'22023: invalid value for option "when_full"\nDETAIL: It must be "wait", "write_through" or "error".');
SELECT refused($$SELECT writecache.alter('t', on_conflict => 'update')$$, E'22023: invalid value for option "on_conflict"\nDETAIL: It must be "reject" or "ignore".');
SELECT refused($$SELECT writecache.alter('t', flush_rows => 7, on_conflict => 'no')$$, E'22023: invalid value for option "on_conflict"\nDETAIL: It must be "reject" or "ignore".');
CREATE TABLE other (id int);
SELECT is(error_of($$SELECT writecache.attach('other', 'write_back', flush_interval => '2 days')$$), E'22023: invalid value for option "flush_interval"\nDETAIL: It must lie between 1 ms and 1 day.', 'attach checks too');
SELECT is(error_of($$SELECT writecache.attach('other', 'write_back', flush_rows => -1)$$), E'22023: invalid value for option "flush_rows"\nDETAIL: It must be greater than zero.', 'attach checks too');
SELECT is(error_of($$SELECT writecache.attach('other', 'write_back', when_full => 'drop')$$), E'22023: invalid value for option "when_full"\nDETAIL: It must be "wait", "write_through" or "error".', 'attach checks too');
SELECT is(options_of('other'), NULL, 'and attaches nothing');
SELECT is(error_of($$INSERT INTO writecache.attached (relation, mode, flush_rows) VALUES ('other', 'write_back', 0)$$) LIKE '23514:%', true, 'the catalog checks as well');

-- Thresholds: rows, bytes, age, whichever comes first, and what is altered counts for rows that wait already.
CREATE FUNCTION pending(regclass) RETURNS bigint LANGUAGE sql AS 'SELECT rows_pending FROM writecache.stat_write_back WHERE relation = $1';
CREATE TABLE by_rows (id int);
CREATE TABLE by_bytes (id int, v text);
CREATE TABLE by_age (id int);
CREATE TABLE altered (id int);
SELECT writecache.attach('by_rows', 'write_back', flush_interval => '1 day', flush_rows => 5);
SELECT writecache.attach('by_bytes', 'write_back', flush_interval => '1 day', flush_bytes => 5000);
SELECT writecache.attach('by_age', 'write_back', flush_interval => '1 ms');
SELECT writecache.attach('altered', 'write_back', flush_interval => '1 day');
INSERT INTO by_rows VALUES (1), (2), (3), (4);
INSERT INTO by_bytes VALUES (1, repeat('x', 4000));
INSERT INTO altered VALUES (1);
INSERT INTO by_age VALUES (1);
SELECT eventually($$SELECT pending('by_age') = 0$$, 'flushed by age');
SELECT is(pending('by_rows'), 4::bigint, 'four rows wait for the fifth');
SELECT is(pending('by_bytes'), 1::bigint, 'not enough bytes');
SELECT is(pending('altered'), 1::bigint, 'a day is not over');
INSERT INTO by_rows VALUES (5);
SELECT eventually($$SELECT pending('by_rows') = 0$$, 'flushed by rows');
INSERT INTO by_bytes VALUES (2, repeat('x', 4000));
SELECT eventually($$SELECT pending('by_bytes') = 0$$, 'flushed by bytes');
SELECT writecache.alter('altered', flush_interval => '1 ms');
SELECT eventually($$SELECT pending('altered') = 0$$, 'a new interval counts for rows that wait already');
SELECT writecache.alter('altered', flush_interval => '1 day');
INSERT INTO altered SELECT generate_series(2, 9);
SELECT is(pending('altered'), 8::bigint, 'they wait');
SELECT writecache.alter('altered', flush_rows => 8);
SELECT eventually($$SELECT pending('altered') = 0$$, 'so does a new number of rows');
BEGIN;
SELECT writecache.alter('altered', flush_rows => 1000);
ROLLBACK;
INSERT INTO altered SELECT generate_series(10, 17);
SELECT eventually($$SELECT pending('altered') = 0$$, 'what is rolled back does not');
SELECT is((SELECT count(*) FROM altered), 17::bigint, 'all rows are stored');

SELECT * FROM finish();
