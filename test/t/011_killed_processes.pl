# kill -9 of any process, the postmaster included, costs no acknowledged row, doubles none, and keeps each session's order.
use strict;
use warnings;
use Test::More;
use PostgreSQL::Test::Utils;
use WriteCacheTest;

my $node = server('killed', restart_after_crash => 'on', autovacuum => 'off');
attached_table($node, 'busy', 'w int, n int', "flush_interval => '5 ms'");
attached_table($node, 'waiting', 'w int, n int');
my $number = 0;
my @last;

# Some rows are being flushed at that moment, others lie in the buffer.
sub under_load
{
	my ($what, $kill) = @_;
	my @busy = map { start_writer($node, 'busy', ++$number) } 1 .. 2;
	my @waiting = map { start_writer($node, 'waiting', ++$number) } 1 .. 2;
	wait_for { !grep { acknowledged($_) == 0 } @busy, @waiting } 'every writer to write';
	my $log = -s $node->logfile;
	my $server_goes = $kill->();
	$_->{psql}->finish for @busy, @waiting;
	if ($server_goes)
	{
		wait_for_crash($node);
		start_again($node);
	}
	wait_until_up($node);
	$node->safe_psql('postgres', 'SELECT writecache.flush()');
	like(slurp_file($node->logfile, $log), qr/write buffer: [1-9]\d* rows recovered/, "$what: rows were in the buffer");
	is(verdict($node, 'busy', @busy), '', '... those being flushed are all right');
	is(verdict($node, 'waiting', @waiting), '', '... and so are those that lay there');
	@last = @waiting;
	return;
}

under_load('a backend', sub {
	my $pid = $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity
		WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY backend_start LIMIT 1");
	kill 'KILL', $pid;
	return 0;
});
under_load('a flush worker', sub { kill 'KILL', worker_of($node); return 0; });
under_load('the launcher', sub { kill 'KILL', launcher_of($node); return 0; });
under_load('the postmaster', sub { kill 'KILL', $node->{_pid}; return 1; });
under_load('all of them', sub {
	my %children = children_of($node);
	kill 'KILL', $node->{_pid}, keys %children;
	return 1;
});

# Which the verdict would have told otherwise.
my $row = "FROM waiting WHERE w = $last[0]{number} AND n = 1";
$node->safe_psql('postgres', "SET writecache.capture = off; INSERT INTO waiting SELECT w, n $row");
isnt(verdict($node, 'waiting', @last), '', 'a row that is there twice is noticed');
$node->safe_psql('postgres', "DELETE $row");
isnt(verdict($node, 'waiting', @last), '', 'and so is one that is missing');
$node->stop;
done_testing();
