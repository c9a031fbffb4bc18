# Who waits for a flush can be interrupted or give up, and the flush goes on without them.
use strict;
use warnings;
use Test::More;
use WriteCacheTest;

my $node = server('waits', autovacuum => 'off');
attached_table($node, 't', 'n int');
attached_table($node, 'u', 'n int');

# The worker is there, and does nothing.
$node->safe_psql('postgres', 'INSERT INTO t VALUES (0); SELECT writecache.flush()');
my $worker = worker_of($node);
kill 'STOP', $worker;
$node->safe_psql('postgres', 'INSERT INTO t SELECT generate_series(1, 10)');
my $token = $node->safe_psql('postgres', 'SELECT writecache.position()');
is($node->safe_psql('postgres', "SELECT writecache.wait($token, '10 ms')"), 'f', 'wait() gives up when its time is over');

my %waits = ('flush()' => 'SELECT writecache.flush()', "flush('t')" => "SELECT writecache.flush('t')", 'wait()' => "SELECT writecache.wait($token)");
for my $what (sort keys %waits)
{
	like(psql_errors($node, "SET statement_timeout = 50; $waits{$what}"), qr/ 57014: .*statement timeout/, "$what: statement_timeout");
	for my $how ('cancel', 'terminate')
	{
		my $session = WriteCacheTest::Session->new($node);
		my $pid = $session->pid;
		$session->send("$waits{$what};");
		$node->poll_query_until('postgres', "SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $pid");
		$node->safe_psql('postgres', "SELECT pg_${how}_backend($pid)");
		like($session->finish, $how eq 'cancel' ? qr/ 57014: .*user request/ : qr/ 57P01: /, "$what: $how");
	}
}
is($node->safe_psql('postgres', 'SELECT rows_pending FROM writecache.stat_write_back WHERE relation = ' . q{'t'::regclass}), 10, 'the rows are still there');

# It waits for its own table only.
my $session = WriteCacheTest::Session->new($node);
is($session->query("SELECT writecache.flush('u')"), 0, 'a table with nothing pending is waited for by nobody');
my @waiting = map { in_background($node, $waits{$_}) } sort keys %waits;
$node->poll_query_until('postgres', "SELECT count(*) = 3 FROM pg_stat_activity WHERE wait_event_type = 'Extension' AND backend_type = 'client backend'");
kill 'CONT', $worker;
is(join(' ', map { $_->finish } @waiting), '10 10 t', 'all that wait are told when the rows are stored');
is($session->query('SET writecache.read_pending = off; SELECT count(*), count(DISTINCT n) FROM t'), '11|11', 'each once');
is($session->query("SELECT writecache.wait($token, '0')"), 't', 'who asks later need not wait');
$session->finish;
$node->stop;
done_testing();
