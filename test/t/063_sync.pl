# Records are forced to disk soon, also those that join rows that are pending for long.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('sync');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_writecache'\nwritecache.sync_interval = '50ms'");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION pg_writecache; CREATE TABLE t (i int)');
$node->safe_psql('postgres', "SELECT writecache.attach('t', 'write_back', flush_interval => '1 day')");
for my $i (1 .. 4)
{
	# Without new rows there is no sync, so one that is later than this is for the row.
	my $before = $node->safe_psql('postgres', 'SELECT clock_timestamp()');
	$node->safe_psql('postgres', "INSERT INTO t VALUES ($i)");
	ok($node->poll_query_until('postgres', "SELECT last_sync > '$before' FROM writecache.buffer_status()"),
		"the file was forced to disk after insert $i")
	  or last;
	# Let the launcher look and find nothing new.
	select undef, undef, undef, 0.2;
}
is($node->safe_psql('postgres', 'SELECT rows_pending FROM writecache.stat_write_back'), 4, 'all of them are pending still');
$node->stop;
done_testing();
