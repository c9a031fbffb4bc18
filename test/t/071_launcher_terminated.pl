# A launcher that somebody terminates comes back, and with it the workers.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('launcher');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_writecache'\nfsync = off");
$node->start;
$node->safe_psql('postgres', "CREATE EXTENSION pg_writecache; CREATE TABLE t (i int);
	SELECT writecache.attach('t', 'write_back', flush_interval => '1 day')");

# It is connected to no database, and pg_stat_activity does not show it.
sub launcher
{
	my $postmaster = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
	for my $stat (glob '/proc/[0-9]*/stat')
	{
		open my $file, '<', $stat or next;
		my ($pid, $parent) = (<$file> // '') =~ /^(\d+) \(.*\) \S (\d+)/ or next;
		next if $parent != $postmaster;
		open my $title, '<', "/proc/$pid/cmdline" or next;
		return $pid if (<$title> // '') =~ /pg_writecache launcher/;
	}
	return 0;
}

sub wait_for_launcher
{
	my $not = shift;
	for (1 .. 1800)
	{
		my $pid = launcher();
		return $pid if $pid && $pid != $not;
		select undef, undef, undef, 0.1;
	}
	return 0;
}

for my $worker ('no worker', 'a worker')
{
	my $pid = wait_for_launcher(0);
	kill 'TERM', $pid;
	ok(wait_for_launcher($pid), "with $worker running: there is a new launcher");
	$node->safe_psql('postgres', 'INSERT INTO t VALUES (1)');
	is($node->safe_psql('postgres', 'SELECT writecache.flush()'), 1, '... and rows are stored');
}
is($node->safe_psql('postgres', 'SELECT count(*) FROM t'), 2, 'all of them');
$node->stop;
done_testing();
