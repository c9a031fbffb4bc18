# A command that stores buffered rows in its own transaction takes them out of the buffer, so its commit is on disk first,
# whatever the session's synchronous_commit says.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('async');
$node->init;
# Nothing but a commit writes WAL out soon.
$node->append_conf('postgresql.conf',
	"shared_preload_libraries = 'pg_writecache'\nwal_writer_delay = '10s'\nautovacuum = off\nfsync = off");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION pg_writecache');
my %leaving = (
	detach => "SELECT writecache.detach('t')",
	'ALTER TABLE' => 'ALTER TABLE t ADD COLUMN more int',
	'flush under a lock' => "BEGIN; LOCK TABLE t IN SHARE MODE; SELECT writecache.flush('t'); COMMIT");
for my $how (sort keys %leaving)
{
	$node->safe_psql('postgres', 'DROP TABLE IF EXISTS t; CREATE TABLE t (i int)');
	$node->safe_psql('postgres', "SELECT writecache.attach('t', 'write_back', flush_interval => '1 day')");
	$node->safe_psql('postgres', 'INSERT INTO t SELECT generate_series(1, 10)');
	$node->safe_psql('postgres', "SET synchronous_commit = off; $leaving{$how}");
	$node->stop('immediate');
	$node->start;
	$node->safe_psql('postgres', 'SELECT writecache.flush()');
	is($node->safe_psql('postgres', 'SELECT count(*) FROM t'), 10, "$how without a synchronous commit, then a crash: all rows, once");
}
$node->stop;
done_testing();
