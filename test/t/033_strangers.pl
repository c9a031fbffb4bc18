# A crash, then a start without the library, in which other transactions get the ids of those that were lost, then one with
# it: nobody's rows are judged by what became of another transaction of the same number. And tables that were brought back
# from an earlier time do not get the rows of a file that was not.
use strict;
use warnings;
use Test::More;
use PostgreSQL::Test::Utils;
use WriteCacheTest;

my $outside = PostgreSQL::Test::Utils::tempdir();
my $node = server('strangers', restart_after_crash => 'off', autovacuum => 'off', wal_writer_delay => '10s',
	'writecache.buffer_size' => '1MB', 'writecache.directory' => $outside);
$node->safe_psql('postgres', 'CREATE TABLE plain (i int)');
attached_table($node, 't', 'n int');
my @with = (shared_preload_libraries => 'pg_writecache');
my @without = (shared_preload_libraries => '');
my $calm = "SET writecache.injection_point = ''";

# Whoever comes in between, and goes in an orderly way or not.
sub let_strangers_in
{
	my $how = shift;
	configure($node, @without);
	start_again($node);
	$node->safe_psql('postgres', "INSERT INTO plain VALUES ($_)") for 1 .. 8;
	$node->stop($how);
	configure($node, @with);
	start_again($node);
	return;
}

sub rows
{
	return $node->safe_psql('postgres', "SELECT string_agg(n::text, ' ' ORDER BY n) FROM t");
}

my $acknowledged = '';
for my $how ('fast', 'immediate')
{
	my $first = length $acknowledged ? 4 : 1;
	# A transaction that is cut off before its commit.
	$node->safe_psql('postgres', "INSERT INTO t VALUES ($first)");
	my $cut = WriteCacheTest::Session->new($node);
	$cut->query("SET writecache.injection_point = 'prepared'; SET writecache.injection_action = 'kill_server'");
	$cut->query('INSERT INTO t VALUES (666)');
	wait_for_crash($node);
	$cut->finish;
	kill_orphans($node);
	let_strangers_in($how);
	$acknowledged .= ($acknowledged ? ' ' : '') . $first;
	is(rows(), $acknowledged, "a row of a lost transaction does not come by a stranger's commit ($how)");

	# A flush that is cut off before its commit; the rows carry its id.
	$node->safe_psql('postgres', "SELECT writecache.flush(); INSERT INTO t VALUES (@{[$first + 1]})");
	reconfigure($node, 'writecache.injection_point' => 'flush-marked', 'writecache.injection_action' => 'kill_server');
	my $flush = in_background($node, 'SELECT writecache.flush()');
	wait_for_crash($node);
	$flush->finish;
	kill_orphans($node);
	configure($node, 'writecache.injection_point' => '');
	let_strangers_in($how);
	$acknowledged .= ' ' . ($first + 1);
	is(rows(), $acknowledged, "a row is not taken for stored by a stranger's commit ($how)");
	$node->safe_psql('postgres', 'SELECT writecache.flush()');
	is(rows(), $acknowledged, '... and is stored once');

	# A flush that did commit.
	$node->safe_psql('postgres', "INSERT INTO t VALUES (@{[$first + 2]})");
	reconfigure($node, 'writecache.injection_point' => 'flush-committed', 'writecache.injection_action' => 'kill_server');
	$flush = in_background($node, 'SELECT writecache.flush()');
	wait_for_crash($node);
	$flush->finish;
	kill_orphans($node);
	configure($node, 'writecache.injection_point' => '');
	let_strangers_in($how);
	$acknowledged .= ' ' . ($first + 2);
	is(rows(), $acknowledged, "a row that was stored is seen once ($how)");
	$node->safe_psql('postgres', 'SELECT writecache.flush()');
	is(rows(), $acknowledged, '... and is in the table once');
}

# The data directory as it was, and the file in its own directory as it is.
$node->safe_psql('postgres', 'SELECT writecache.flush()');
$node->stop;
PostgreSQL::Test::Utils::system_or_bail('cp', '-a', $node->data_dir, $node->data_dir . '.before');
$node->start;
$node->safe_psql('postgres', "INSERT INTO t VALUES (7); SELECT writecache.flush(); CHECKPOINT; INSERT INTO t VALUES (8)");
$node->safe_psql('postgres', 'BEGIN; INSERT INTO plain VALUES (9); INSERT INTO t VALUES (9); COMMIT');
$node->stop('immediate');
PostgreSQL::Test::Utils::system_or_bail('rm', '-r', $node->data_dir);
PostgreSQL::Test::Utils::system_or_bail('mv', $node->data_dir . '.before', $node->data_dir);
my $from = -s $node->logfile;
$node->start;
is(rows(), $acknowledged, 'tables of an earlier time get no rows of a later one');
ok($node->log_contains('WARNING:  write buffer file .* cannot be used: the tables beside it are those of an earlier time', $from),
	'... and the log says why');
$node->stop;
done_testing();
