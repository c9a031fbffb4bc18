# Sessions and flush workers that are cancelled or told to go at any point of a commit or a flush: a transaction is there once
# and as a whole, or not at all, as its session was told and as in other tables; nothing stays reserved.
use strict;
use warnings;
use Test::More;
use WriteCacheTest;

my $node = server('interrupted', autovacuum => 'off', 'writecache.shutdown_timeout' => '1s');
attached_table($node, 't', 'try int, n int, filling text');
$node->safe_psql('postgres', 'CREATE TABLE plain (try int)');
my $try = 0;

# Lets a process that stops at every such point go on, once it has been sent the signal.
sub interrupt
{
	my ($pid, $signal, $what) = @_;
	wait_for { is_stopped($pid) } "$what to come to the point";
	kill $signal, $pid;
	kill 'CONT', $pid;
	return;
}

# Whether the transaction wrote WAL beside is another way of committing.
sub commit
{
	my ($point, $signal, $mixed) = @_;
	my $what = "$signal at $point" . ($mixed ? ', with a plain table' : '');
	++$try;
	my $session = WriteCacheTest::Session->new($node);
	my $pid = $session->pid;
	# Enough rows for several frames.
	my $rows = "INSERT INTO t SELECT $try, g, repeat('x', 2000) FROM generate_series(1, 100) AS g";
	my $beside = $mixed ? "INSERT INTO plain VALUES ($try);" : '';
	# This commit fails when it is through with our part.
	my $fails = 'CREATE TEMP TABLE parent (i int PRIMARY KEY) ON COMMIT DELETE ROWS; CREATE TEMP TABLE child (i int REFERENCES parent);';
	my $end = $point eq 'aborted' ? "$fails COMMIT" : 'COMMIT';
	$session->send("SET writecache.injection_point = '$point'; SET writecache.injection_action = 'stop';");
	$session->send("BEGIN; $beside $rows; $end;\n\\echo committed\n\\q");
	interrupt($pid, $signal, $what);
	wait_for { kill 'CONT', $pid if is_stopped($pid); !is_running($pid) } "$what: the session to end";
	my $said = $session->finish;
	my ($count, $different, $plain) = split /\|/,
	  $node->safe_psql('postgres', "SELECT count(*), count(DISTINCT n), (SELECT count(*) FROM plain WHERE try = $try) FROM t WHERE try = $try");
	my $told = $point eq 'aborted' || $said =~ /ERROR/ ? 0 : $said =~ /^committed/m ? 100 : undef;
	is($count, $told // ($count ? 100 : 0), "$what: " . (defined $told ? 'as it was told' : 'all or nothing'));
	is($different, $count, '... each row once');
	is($plain, $count ? 1 : 0, '... and as in the plain table') if $mixed;
	return;
}

for my $point (qw(reserved half-copied frame-filled prepared committed published aborted))
{
	commit($point, @$_) for [ 'TERM', 0 ], [ 'TERM', 1 ], [ 'INT', 0 ], [ 'INT', 1 ];
}
my $rows = $node->safe_psql('postgres', 'SELECT count(*) FROM t');
$node->safe_psql('postgres', "SELECT writecache.flush('t')");
is($node->safe_psql('postgres', 'SET writecache.read_pending = off; SELECT count(*), count(DISTINCT (try, n)) FROM t'), "$rows|$rows",
	'what was seen is stored');

for my $point (qw(flush-rows-stored flush-marked flush-committed flush-finished before-free after-free))
{
	for my $signal ('TERM', 'INT')
	{
		++$try;
		$node->safe_psql('postgres', "INSERT INTO t SELECT $try, g FROM generate_series(1, 100) AS g");
		reconfigure($node, 'writecache.injection_point' => $point, 'writecache.injection_action' => 'stop');
		my $worker = worker_of($node);
		my $flush = in_background($node, 'SELECT writecache.flush()');
		wait_for { is_stopped($worker) } "the worker to come to $point";
		reconfigure($node, 'writecache.injection_point' => '');
		interrupt($worker, $signal, "the worker at $point");
		if ($signal eq 'TERM') { wait_for { !is_running($worker) } 'the worker to go'; }
		unlike($flush->finish, qr/ERROR|FATAL/, "$signal to the worker at $point: the flush comes to its end");
		is($node->safe_psql('postgres', "SET writecache.read_pending = off; SELECT count(*), count(DISTINCT n) FROM t WHERE try = $try"),
			'100|100', '... and every row is stored once');
	}
}
wait_for { $node->safe_psql('postgres', 'SELECT free_bytes >= buffer_bytes - block_bytes FROM writecache.buffer_status()') eq 't' }
	'everything to be free again';
pass('nothing stays reserved');
$node->stop;
done_testing();
