# A crash while the buffer is being read after a crash, again and again, changes nothing about what is kept.
use strict;
use warnings;
use Test::More;
use PostgreSQL::Test::Utils;
use WriteCacheTest;

my $node = server('recovery', restart_after_crash => 'off', autovacuum => 'off');
attached_table($node, 't', 'n int, filling text');
$node->safe_psql('postgres', "INSERT INTO t SELECT g, repeat('x', 500) FROM generate_series(1, 500) AS g");

# One transaction is cut off before its commit, and another when it has committed and not published yet.
my @cut = map { WriteCacheTest::Session->new($node) } 1 .. 2;
my @pids = map { $_->pid } @cut;
my @points = ('prepared', 'committed');
for my $i (0, 1)
{
	$cut[$i]->send("SET writecache.injection_point = '$points[$i]'; SET writecache.injection_action = 'stop';
		BEGIN; CREATE TABLE $points[$i] (); INSERT INTO t SELECT g, repeat('x', 500) FROM generate_series(@{[501 + 100 * $i]}, @{[600 + 100 * $i]}) AS g; COMMIT;");
	wait_for { is_stopped($pids[$i]) } "a session at $points[$i]";
}
# And a flush is cut off when its rows are in the table.
reconfigure($node, 'writecache.injection_point' => 'flush-marked', 'writecache.injection_action' => 'stop');
my $flush = in_background($node, 'SELECT writecache.flush()');
my $worker = worker_of($node);
wait_for { is_stopped($worker) } 'the worker to stop';
kill 'KILL', $node->{_pid}, $worker, @pids;
wait_for_crash($node);
kill_orphans($node);
$_->finish for @cut, $flush;

my $log = -s $node->logfile;
for my $try (1 .. 4)
{
	my $point = $try < 3 ? 'settle-begin' : 'settle-judged';
	my $action = $try % 2 ? 'kill' : 'kill_server';
	configure($node, 'writecache.injection_point' => $point, 'writecache.injection_action' => $action);
	# How far the server comes before it dies is its own affair.
	wait_for {
		try_to_start($node);
		my $file = $node->data_dir . '/postmaster.pid';
		wait_for { !-e $file || !is_running((split /\n/, slurp_file($file))[0]) } "the server to go by $action";
		kill_orphans($node);
		slurp_file($node->logfile, $log) =~ /write buffer: found [1-9]/;
	} 'the buffer to be read';
	$log = -s $node->logfile;
}
configure($node, 'writecache.injection_point' => '');
start_again($node);
my $expected = join '|', 600, 1, 700, 500 * 501 / 2 + (601 + 700) * 50;
is($node->safe_psql('postgres', 'SELECT count(*), min(n), max(n), sum(n) FROM t'), $expected, 'a query sees what was committed, once');
$node->safe_psql('postgres', 'SELECT writecache.flush()');
is($node->safe_psql('postgres', 'SET writecache.read_pending = off; SELECT count(*), min(n), max(n), sum(n) FROM t'),
	$expected, '... and so it is stored');
is($node->safe_psql('postgres', "SELECT to_regclass('prepared'), to_regclass('committed')"), '|committed', 'as its transactions ended');
is($node->safe_psql('postgres', 'SELECT count(*) FROM (SELECT n, lag(n) OVER (ORDER BY ctid) AS before FROM t) AS x WHERE n < before'),
	0, 'in order');
$node->stop;
done_testing();
