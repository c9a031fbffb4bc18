# A crash at any point of a flush: what was buffered is in the table once, in order, and readers see it so before the next
# flush, too.
use strict;
use warnings;
use Test::More;
use PostgreSQL::Test::Utils;
use WriteCacheTest;

my $node = server('in_flush', restart_after_crash => 'off', autovacuum => 'off');
attached_table($node, 't', 'crash int, n int, filling text');
my $crash = 0;
my %calm = ('writecache.injection_point' => '');

sub crash_at
{
	my ($point, $action, $synchronous) = @_;
	++$crash;
	my $session = WriteCacheTest::Session->new($node);
	$session->query("SET synchronous_commit = $synchronous");
	$session->query("INSERT INTO t SELECT $crash, g, repeat('x', 500) FROM generate_series(1, 300) AS g");
	$session->query("BEGIN; INSERT INTO t SELECT $crash, -1; ROLLBACK");
	$session->query("INSERT INTO t SELECT $crash, 301");
	$session->finish;
	my %trap = ('writecache.injection_point' => $point, 'writecache.injection_action' => $action, synchronous_commit => $synchronous);
	my $flush;
	if ($point eq 'worker-start')
	{
		$node->stop('immediate');
		configure($node, %trap);
		try_to_start($node);
		$node->{_pid} = undef;
		my $file = $node->data_dir . '/postmaster.pid';
		wait_for { !-e $file || !is_running((split /\n/, slurp_file($file))[0]) } 'the server to crash';
	}
	else
	{
		reconfigure($node, %trap);
		$flush = in_background($node, 'SELECT writecache.flush()');
		wait_for_crash($node);
		$flush->finish;
	}
	configure($node, %calm);
	start_again($node);

	my $what = "$point, $action, synchronous_commit $synchronous";
	my $expected = join '|', 301, 1, 301, (301 * 302) / 2;
	my $rows = "SELECT count(*), min(n), max(n), sum(n) FROM t WHERE crash = $crash";
	is($node->safe_psql('postgres', $rows), $expected, "$what: a query sees every row once");
	$node->safe_psql('postgres', 'SELECT writecache.flush()');
	is($node->safe_psql('postgres', "SET writecache.read_pending = off; $rows"), $expected, '... and so it is in the table');
	is($node->safe_psql('postgres',
		"SELECT count(*) FROM (SELECT n, lag(n) OVER (ORDER BY ctid) AS before FROM t WHERE crash = $crash) AS x WHERE n < before"),
		0, '... in order');
	return;
}

for my $point (qw(flush-rows-stored flush-marked flush-committed flush-finished before-free after-free worker-start))
{
	crash_at($point, 'kill', 'on');
	crash_at($point, 'kill_server', $_) for qw(on off);
}
is($node->safe_psql('postgres', 'SELECT count(*) FROM t'), 301 * $crash, 'later crashes did not bring anything again');
$node->stop;
done_testing();
