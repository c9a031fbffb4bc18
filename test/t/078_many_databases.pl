# More databases than flush workers take turns; a full buffer is made room in by the workers of all databases, and by drains.
use strict;
use warnings;
use Test::More;
use WriteCacheTest;

my $node = server('many', 'writecache.flush_workers' => 1, 'writecache.buffer_size' => '1MB', 'writecache.wait_timeout' => 0,
	'writecache.pass_through_failures' => 0, autovacuum => 'off');
my @databases = ('a', 'b', 'c');
for my $database (@databases)
{
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, q{
CREATE EXTENSION pg_writecache;
CREATE TABLE waits (n int, filling text);
CREATE TABLE hurries (n int);
SELECT writecache.attach('waits', 'write_back', flush_interval => '1 day');
SELECT writecache.attach('hurries', 'write_back', flush_interval => '1 ms');});
	# A worker that has a table to wait for would stay.
	$node->safe_psql($database, "INSERT INTO waits VALUES (1, '')");
}
for my $n (1 .. 3)
{
	$node->safe_psql($_, "INSERT INTO hurries VALUES ($n)") for @databases;
	is(join(' ', map { $node->poll_query_until($_, "SELECT rows_pending = 0 FROM writecache.stat_write_back WHERE relation = 'hurries'::regclass") } @databases),
		'1 1 1', "each database has its turn ($n)");
}
is($node->safe_psql($_, 'SET writecache.read_pending = off; SELECT count(*) FROM hurries'), 3, "all rows of $_ are stored") for @databases;
is($node->safe_psql('a', "SELECT rows_pending FROM writecache.stat_write_back WHERE relation = 'waits'::regclass"), 1, 'what is not due waits');
$node->safe_psql($_, 'SELECT writecache.flush()') for @databases;
is($node->safe_psql($_, 'SET writecache.read_pending = off; SELECT count(*) FROM waits'), 1, "a flush that is asked for comes in $_, too") for @databases;

# One database fills the buffer, another one wants room. Its own worker could make none.
my $some = "SELECT g, repeat('x', 2000) FROM generate_series(1, 20) AS g";
for my $n (1 .. 10)
{
	$node->safe_psql($_, "INSERT INTO waits $some") for @databases;
}
pass('there was always room');
$node->safe_psql($_, 'SELECT writecache.flush()') for @databases;
is($node->safe_psql($_, 'SET writecache.read_pending = off; SELECT count(*), count(DISTINCT n) FROM waits'), '201|20', "each row of $_ is stored once") for @databases;

# Blocks that DDL has emptied are free soon, without a flush.
$node->safe_psql('a', "INSERT INTO waits $some");
$node->safe_psql('a', 'TRUNCATE waits');
ok($node->poll_query_until('b', 'SELECT free_bytes = buffer_bytes FROM writecache.buffer_status()'), 'what a command has stored takes no room');
$node->stop;
done_testing();
