# New options of a table are in force for its pending rows once they are committed: also if the flush worker looks at them
# before the commit has told everybody.
use strict;
use warnings;
use Test::More;
use WriteCacheTest;

my $node = server('altered', autovacuum => 'off');
attached_table($node, 't', 'n int', "flush_interval => '1 day', flush_rows => 1");
$node->safe_psql('postgres', 'INSERT INTO t VALUES (0)');
worker_of($node);
for my $option ("flush_rows => 8", "flush_rows => 1000, flush_bytes => 100", "reset => '{flush_rows,flush_bytes}', flush_interval => '1 ms'")
{
	$node->safe_psql('postgres', q{SELECT writecache.flush(); SELECT writecache.alter('t', flush_interval => '1 day', flush_rows => 1000, flush_bytes => 1000000)});
	$node->safe_psql('postgres', 'INSERT INTO t SELECT generate_series(1, 8)');
	is($node->safe_psql('postgres', 'SELECT rows_pending FROM writecache.stat_write_back'), 8, 'rows are pending');
	my $session = WriteCacheTest::Session->new($node);
	my $pid = $session->pid;
	my $before = $node->safe_psql('postgres', 'SELECT clock_timestamp()');
	$session->send("SET writecache.injection_point = 'options-altered'; SET writecache.injection_action = 'stop'; SELECT writecache.alter('t', $option);");
	wait_for { is_stopped($pid) } 'the session to stop in its commit';
	$node->poll_query_until('postgres', qq{SELECT state = 'idle' AND state_change > '$before' FROM pg_stat_activity
		WHERE backend_type = 'pg_writecache flush worker'}) or die 'the worker does not look';
	kill 'CONT', $pid;
	unlike($session->finish, qr/ERROR/, "$option: the commit goes on");
	ok($node->poll_query_until('postgres', 'SELECT rows_pending = 0 FROM writecache.stat_write_back'), '... and the rows are flushed');
}
$node->stop;
done_testing();
