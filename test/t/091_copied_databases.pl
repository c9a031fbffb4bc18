# A copy of a database has the rows that are pending in the original, and what is buffered for one is never the other's.
use strict;
use warnings;
use Test::More;
use PostgreSQL::Test::Utils;
use WriteCacheTest;

my $node = server('copied', autovacuum => 'off');
$node->safe_psql('postgres', 'CREATE DATABASE original');
$node->safe_psql('original', q{
CREATE EXTENSION pg_writecache;
CREATE TABLE t (n int PRIMARY KEY);
CREATE TABLE paused (n int);
SELECT writecache.attach('t', 'write_back', flush_interval => '1 day')});
my $log = -s $node->logfile;
for my $from ('postgres', 'original')
{
	for my $strategy ('file_copy', 'wal_log')
	{
		my $what = "$strategy, asked for in $from";
		$node->safe_psql('original', 'TRUNCATE t');
		$node->safe_psql('original', 'INSERT INTO t SELECT generate_series(1, 1000)');
		is($node->psql($from, "CREATE DATABASE copy TEMPLATE original STRATEGY $strategy"), 0, $what);
		is($node->safe_psql('copy', 'SELECT count(*) FROM t'), 1000, '... the copy has what was pending');
		$node->safe_psql($_, "INSERT INTO t SELECT generate_series(1001, 1010)") for 'original', 'copy';
		$node->safe_psql('copy', 'INSERT INTO t VALUES (2000)');
		$node->safe_psql($_, 'SELECT writecache.flush()') for 'original', 'copy';
		is($node->safe_psql($_->[0], 'SET writecache.read_pending = off; SELECT count(*), count(DISTINCT n), max(n) FROM t'), $_->[1], "... and each its own: $_->[0]")
		  for [ 'original', '1010|1010|1010' ], [ 'copy', '1011|1011|2000' ];
		$node->safe_psql('postgres', 'DROP DATABASE copy');
	}
}
unlike(slurp_file($node->logfile, $log), qr/could not be stored/, 'all of it was stored');

# template1 is what is copied if nobody says so.
$node->safe_psql('template1', q{
CREATE EXTENSION pg_writecache; CREATE TABLE t (n int); SELECT writecache.attach('t', 'write_back', flush_interval => '1 day')});
$node->safe_psql('template1', 'INSERT INTO t VALUES (1)');
$node->safe_psql('postgres', 'CREATE DATABASE copy');
is($node->safe_psql('copy', 'SELECT count(*) FROM t'), 1, 'template1');

# What cannot be stored is not in the copy; who copies is told.
$node->safe_psql('original', q{
CREATE FUNCTION fails(n int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN n; END $$;
CREATE INDEX ON paused (fails(n));
SELECT writecache.attach('paused', 'write_back', flush_interval => '1 day');
CREATE OR REPLACE FUNCTION fails(n int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN nowhere(n); END $$});
$node->safe_psql('original', 'INSERT INTO paused VALUES (1); INSERT INTO t VALUES (3000)');
like(psql_errors($node, 'CREATE DATABASE other TEMPLATE original'), qr/WARNING: .*buffered rows of database "original" could not be stored and are not in the copy/, 'a paused table');
is($node->safe_psql('other', 'SELECT (SELECT count(*) FROM paused), (SELECT count(*) FROM t WHERE n = 3000)'), '0|1', '... others are copied');
is($node->safe_psql('original', 'SELECT count(*) FROM paused'), 1, '... and the original keeps its rows');
$node->stop;
done_testing();
