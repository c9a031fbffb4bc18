# DDL that waits for the flush worker's lock finds the worker's batch done, however late the worker is after its commit.
use strict;
use warnings;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('meets');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_writecache'\nfsync = off\n"
	  . "writecache.injection_point = 'flush-committed'\nwritecache.injection_action = 'stop'");
$node->start;
$node->safe_psql('postgres', "CREATE EXTENSION pg_writecache; CREATE TABLE t (i int);
	SELECT writecache.attach('t', 'write_back', flush_interval => '1 day')");
$node->safe_psql('postgres', 'INSERT INTO t SELECT generate_series(1, 3)');

my @sessions;

sub in_background
{
	my $out = '';
	push @sessions, IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', shift ], '<', \'', '>', \$out, '2>', \$out);
	return;
}

in_background('SELECT writecache.flush()');
my $worker = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_writecache flush worker'";
my $pid;
for (1 .. 1800)
{
	$pid = $node->safe_psql('postgres', $worker);
	last if $pid && slurp_file("/proc/$pid/stat") =~ /\) T /;
	select undef, undef, undef, 0.1;
}
ok($pid, 'the worker has committed and does not go on');

in_background('ALTER TABLE t ADD COLUMN more int');
$node->poll_query_until('postgres', "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)
	OR EXISTS (SELECT FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'more')");
kill 'CONT', $pid;
$_->finish for @sessions;
is($node->safe_psql('postgres', 'SELECT count(*), count(more) FROM t'), '3|0', 'each row is stored once');
is($node->safe_psql('postgres', 'SELECT rows_pending FROM writecache.stat_write_back'), 0, 'and none is pending');
$node->stop;
done_testing();
