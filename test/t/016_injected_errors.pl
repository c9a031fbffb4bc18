# An error at any point of a commit or a flush: the commit fails as a whole, the flush is tried again, and nothing comes twice.
use strict;
use warnings;
use Test::More;
use PostgreSQL::Test::Utils;
use WriteCacheTest;

my $node = server('errors', restart_after_crash => 'on', autovacuum => 'off', 'writecache.injection_action' => 'error');
attached_table($node, 't', 'who text, n int, filling text');

for my $point (qw(reserved frame-filled prepared))
{
	my $session = WriteCacheTest::Session->new($node);
	my $rows = "INSERT INTO t SELECT '$point', g, repeat('x', 2000) FROM generate_series(1, 100) AS g";
	like($session->query("SET writecache.injection_point = '$point'; $rows"), qr/ XX000: injected error/, "$point: the commit fails");
	is($session->query("SELECT count(*) FROM t WHERE who = '$point'"), 0, '... and leaves nothing');
	$session->query("RESET writecache.injection_point; $rows");
	is($session->query("SELECT count(*), count(DISTINCT n) FROM t WHERE who = '$point'"), '100|100', '... the session goes on');
	$session->finish;
}

# Once a transaction is committed it cannot fail any more: the server restarts instead.
for my $point (qw(committed published))
{
	my $session = WriteCacheTest::Session->new($node);
	$session->query("SET writecache.injection_point = '$point'; INSERT INTO t SELECT '$point', generate_series(1, 100)");
	$session->finish;
	wait_until_up($node);
	like($node->safe_psql('postgres', "SELECT count(*) FROM t WHERE who = '$point'"), $point eq 'published' ? qr/^100$/ : qr/^(0|100)$/,
		"$point: it is there as a whole or not at all");
}

for my $point (qw(flush-rows-stored flush-marked flush-finished before-free after-free worker-start))
{
	$node->safe_psql('postgres', "SELECT writecache.alter('t')");
	$node->safe_psql('postgres', 'SELECT writecache.flush()');
	my $log = -s $node->logfile;
	$node->safe_psql('postgres', "INSERT INTO t SELECT '$point', generate_series(1, 100)");
	if ($point eq 'worker-start')
	{
		$node->stop('immediate');
		configure($node, 'writecache.injection_point' => $point);
		$node->start;
	}
	else { reconfigure($node, 'writecache.injection_point' => $point); }
	my $flush = in_background($node, 'SELECT writecache.flush()');
	wait_for { slurp_file($node->logfile, $log) =~ /injected error at "$point"/ } "an error at $point";
	is($node->safe_psql('postgres', "SELECT count(*), count(DISTINCT n) FROM t WHERE who = '$point'"), '100|100', "$point: every row is seen once");
	reconfigure($node, 'writecache.injection_point' => '');
	$node->safe_psql('postgres', "SELECT writecache.alter('t')");
	$flush->finish;
	$node->safe_psql('postgres', 'SELECT writecache.flush()');
	is($node->safe_psql('postgres', "SET writecache.read_pending = off; SELECT count(*), count(DISTINCT n) FROM t WHERE who = '$point'"),
		'100|100', '... and stored once');
}
$node->stop;
done_testing();
