# A statement that waits for a flush begins after it, with a later snapshot: what was committed during the wait is seen as a
# whole, pending rows too; and writers who never pause do not keep it waiting, nor are their rows stored out of order.
use strict;
use warnings;
use Test::More;
use WriteCacheTest;

my $node = server('snapshot_after_flush', autovacuum => 'off');
$node->safe_psql('postgres', q{
CREATE TABLE parent (id int PRIMARY KEY);
INSERT INTO parent VALUES (1), (2);
CREATE TABLE t (id int, parent int REFERENCES parent);
CREATE TABLE plain (id int);
CREATE TABLE over (id int);
SELECT writecache.attach('t', 'write_back', flush_interval => '1 day');
INSERT INTO t VALUES (1, 1)});

# The flush waits for the row that t's row refers to.
my $locker = in_background($node, q{
BEGIN; SELECT FROM parent WHERE id = 1 FOR UPDATE;
DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM plain) LOOP PERFORM pg_sleep(0.01); END LOOP; END $$; COMMIT});
$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_locks WHERE relation = 'parent'::regclass AND mode = 'RowShareLock'");
my $counts = '(SELECT count(*) FROM t WHERE xmin IS NOT NULL), (SELECT count(*) FROM plain)';
my $reader = in_background($node, "SELECT $counts");
$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_locks WHERE NOT granted");
$node->safe_psql('postgres', 'BEGIN; INSERT INTO t VALUES (2, 2); INSERT INTO plain VALUES (2); COMMIT');
$locker->finish;
like($reader->finish, qr/2\|1/, 'both rows of the transaction that committed during the wait');

my $writer = in_background($node, q{
DO $$ DECLARE n int := 100; BEGIN
  WHILE NOT EXISTS (SELECT FROM over) LOOP
    n := n + 1; INSERT INTO t VALUES (n, 2); INSERT INTO plain VALUES (n); COMMIT;
  END LOOP; END $$});
$node->poll_query_until('postgres', 'SELECT count(*) > 100 FROM plain');
my @different = grep { my ($t, $plain) = split /\|/; $t != $plain + 1 } map { $node->safe_psql('postgres', "SELECT $counts") } 1 .. 20;
is("@different", '', 'the same of two tables, while somebody writes to them');
$node->safe_psql('postgres', 'INSERT INTO over VALUES (1)');
$writer->finish;
is($node->safe_psql('postgres', 'SELECT (SELECT count(*) FROM t) - (SELECT count(*) FROM plain)'), 1, 'all rows');

$node->safe_psql('postgres', q{
TRUNCATE over;
CREATE SEQUENCE storage;
CREATE TABLE ordered (n int, stored bigint);
CREATE FUNCTION number_it() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN NEW.stored := nextval('public.storage'); RETURN NEW; END $$;
CREATE TRIGGER number_it BEFORE INSERT ON ordered FOR EACH ROW EXECUTE FUNCTION number_it();
SELECT writecache.attach('ordered', 'write_back', flush_interval => '1 day', allow_triggers => true)});
$writer = in_background($node, q{
DO $$ DECLARE n int := 0; BEGIN
  WHILE NOT EXISTS (SELECT FROM over) LOOP
    n := n + 1; INSERT INTO ordered (n) VALUES (n); COMMIT;
  END LOOP; END $$});
$node->poll_query_until('postgres', 'SELECT count(*) > 100 FROM ordered');
$node->safe_psql('postgres', 'SELECT count(*) FROM ordered WHERE xmin IS NOT NULL') for 1 .. 40;
$node->safe_psql('postgres', 'INSERT INTO over VALUES (1)');
$writer->finish;
$node->safe_psql('postgres', q{SELECT writecache.flush('ordered')});
is($node->safe_psql('postgres', 'SELECT count(*) FROM (SELECT n - lag(n) OVER (ORDER BY stored) AS step FROM ordered) s WHERE step <> 1'),
    0, 'in the order of their commits');
$node->stop;
done_testing();
