# A crash or an error while a session attaches a table, or stores its buffered rows for a command of its own.
use strict;
use warnings;
use Test::More;
use WriteCacheTest;

my $node = server('in_ddl', restart_after_crash => 'on', autovacuum => 'off');
my $crash = 0;

sub try_at
{
	my ($point, $action, $statement, $done) = @_;
	my $table = 't' . ++$crash;
	$statement =~ s/\bt\b/$table/g;
	if ($point eq 'attach') { $node->safe_psql('postgres', "CREATE TABLE $table (n int)"); }
	else { attached_table($node, $table, 'n int'); }
	$node->safe_psql('postgres', "INSERT INTO $table SELECT generate_series(1, 100)");
	my $session = WriteCacheTest::Session->new($node);
	$session->query("SET writecache.injection_point = '$point'; SET writecache.injection_action = '$action'");
	my $said = $session->query($statement);
	if ($action eq 'error') { like($said, qr/injected error/, "$statement, $point: an error"); }
	$session->finish;
	if ($action eq 'kill_server')
	{
		wait_for_crash($node);
		start_again($node);
	}
	wait_until_up($node);

	my $what = "$statement, $point, $action";
	my $attached = "SELECT count(*) FROM writecache.tables WHERE relation = '$table'::regclass";
	is($node->safe_psql('postgres', $attached), $point eq 'attach' ? 0 : 1, "$what: it was taken back");
	my $rows = "SELECT count(*), count(DISTINCT n) FROM $table";
	is($node->safe_psql('postgres', $rows), '100|100', '... every row is seen once');
	$node->safe_psql('postgres', $statement);
	is($node->safe_psql('postgres', "SET writecache.read_pending = off; $rows"),
		$statement =~ /TRUNCATE/ ? '0|0' : '100|100', '... and again after it was done at last');
	$node->safe_psql('postgres', "INSERT INTO $table VALUES (101)");
	is($node->safe_psql('postgres', "SELECT count(*) FROM $table"), $statement =~ /TRUNCATE/ ? 1 : 101, '... new rows come');
	return;
}

my $attach = "SELECT writecache.attach('t', 'write_back', flush_interval => '1 day')";
my $detach = "SELECT writecache.detach('t')";
my $alter = 'ALTER TABLE t ADD COLUMN more int';
for my $action (qw(error kill kill_server))
{
	try_at('attach', $action, $attach);
	try_at('detach-drained', $action, $detach);
}
for my $action (qw(error kill_server))
{
	try_at('flush-rows-stored', $action, $alter);
	try_at('flush-marked', $action, 'ALTER TABLE t ALTER n TYPE bigint');
}
try_at('flush-rows-stored', 'kill', 'TRUNCATE t');

# Behind the commit it is done.
for my $action (qw(kill kill_server))
{
	my $table = 'done_' . $action;
	attached_table($node, $table, 'n int');
	$node->safe_psql('postgres', "INSERT INTO $table SELECT generate_series(1, 100)");
	my $session = WriteCacheTest::Session->new($node);
	$session->query("SET synchronous_commit = off; SET writecache.injection_point = 'flush-committed'; SET writecache.injection_action = '$action'");
	$session->query("SELECT writecache.detach('$table')");
	$session->finish;
	if ($action eq 'kill_server')
	{
		wait_for_crash($node);
		start_again($node);
	}
	wait_until_up($node);
	is($node->safe_psql('postgres', "SELECT count(*) FROM writecache.tables WHERE relation = '$table'::regclass"),
		0, "detach, $action behind the commit: it was detached");
	is($node->safe_psql('postgres', "SELECT count(*), count(DISTINCT n) FROM $table"), '100|100', '... every row is there once');
}
# Rows of the former life of such a table do not come again.
$node->safe_psql('postgres', "SELECT writecache.flush()");
is($node->safe_psql('postgres', 'SELECT count(*) FROM done_kill'), 100, 'and so it stays');
$node->stop;
done_testing();
