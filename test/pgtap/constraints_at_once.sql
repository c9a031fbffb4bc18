-- NOT NULL, CHECK and domain constraints fail when the row is inserted, with PostgreSQL's own message.
\ir ../tools/twins.psql
SELECT * FROM no_plan();

SELECT make_twins($$
  CREATE DOMAIN positive AS int CHECK (VALUE > 0);
  CREATE DOMAIN given AS text NOT NULL;
  CREATE FUNCTION even(int) RETURNS boolean LANGUAGE plpgsql AS $f$ BEGIN
    IF $1 = 13 THEN RAISE EXCEPTION 'unlucky %', $1 USING HINT = 'take another', ERRCODE = '22099'; END IF;
    RETURN $1 % 2 = 0; END $f$;
  CREATE TABLE t (a int NOT NULL, b int CHECK (b > 10), c positive, d text DEFAULT 'x' CONSTRAINT short_d CHECK (length(d) < 4), e int CHECK (even(e)),
                  CONSTRAINT a_below_b CHECK (a < b) NO INHERIT);
  CREATE TABLE needs_text (v given, n int);
$$, '{t,needs_text}');
SELECT same($$INSERT INTO t VALUES (1, 11, 1, 'abc', 2)$$);
SELECT same_error($$INSERT INTO t VALUES (NULL, 11, 1)$$, '23502');
SELECT same_error($$INSERT INTO t (b) VALUES (11)$$, '23502');
SELECT same_error($$INSERT INTO t VALUES (1, 10, 1)$$, '23514');
SELECT same_error($$INSERT INTO t VALUES (1, 12, 0)$$, '23514');
SELECT same_error($$INSERT INTO t VALUES (1, 12, 1, 'abcd')$$, '23514');
SELECT same_error($$INSERT INTO t VALUES (1, 12, 1, 'abc', 3)$$, '23514');
SELECT same_error($$INSERT INTO t VALUES (1, 12, 1, 'abc', 13)$$, '22099');
SELECT same_error($$INSERT INTO t VALUES (12, 12, 1)$$, '23514');
SELECT same_error($$INSERT INTO needs_text (n) VALUES (1)$$, '23502');
SELECT same_error($$INSERT INTO needs_text VALUES (NULL)$$, '23502');
SELECT same($$INSERT INTO t VALUES (1, NULL, NULL, NULL, NULL)$$);
-- A statement that fails at its last row leaves none of it.
SELECT same_error($$INSERT INTO t SELECT x, 100, 1, 'y' FROM generate_series(90, 101) x$$, '23514');
SELECT same_error($$INSERT INTO t VALUES (1, 20, 1), (2, 20, 1), (NULL, 20, 1)$$, '23502');
SELECT same_rows('t', 2);
SELECT is((SELECT count(*) FROM captured.t), 2::bigint, 'nothing of the failed statements is left');

-- Constraints that come and go after attach.
SELECT make_twins($$ALTER TABLE t ADD CONSTRAINT late CHECK (a <> 5)$$, '{}');
SELECT same_error($$INSERT INTO t VALUES (5, 20, 1)$$, '23514');
SELECT make_twins($$ALTER TABLE t DROP CONSTRAINT late$$, '{}');
SELECT same($$INSERT INTO t VALUES (5, 20, 1)$$);
SELECT make_twins($$ALTER TABLE t ADD CONSTRAINT later CHECK (a <> 5) NOT VALID$$, '{}');
SELECT same_error($$INSERT INTO t VALUES (5, 20, 1)$$, '23514');
SELECT make_twins($$ALTER TABLE t DROP CONSTRAINT later, ALTER a DROP NOT NULL$$, '{}');
SELECT same($$INSERT INTO t VALUES (NULL, 20, 1)$$);
SELECT make_twins($$ALTER DOMAIN positive ADD CONSTRAINT small CHECK (VALUE < 1000)$$, '{}');
SELECT same_error($$INSERT INTO t VALUES (1, 20, 1000)$$, '23514');
SELECT same_rows('t', 4);

SELECT * FROM finish();
