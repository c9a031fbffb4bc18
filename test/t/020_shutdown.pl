# Smart, fast and immediate shutdowns with rows pending and writers at work lose and double nothing, and a table that cannot be
# flushed does not hold one up for longer than writecache.shutdown_timeout.
use strict;
use warnings;
use IPC::Run;
use Test::More;
use PostgreSQL::Test::Utils;
use WriteCacheTest;

my $node = server('shutdown', autovacuum => 'off');
attached_table($node, 'busy', 'w int, n int', "flush_interval => '5 ms'");
attached_table($node, 'waiting', 'w int, n int');
attached_table($node, 'locked', 'n int');
my $number = 0;
my @writers;

for my $round (1 .. $ENV{SHUTDOWNS} || 15)
{
	my $mode = $round % 5 == 0 ? 'immediate' : 'fast';
	my %now = (busy => start_writer($node, 'busy', ++$number), waiting => start_writer($node, 'waiting', ++$number));
	push @{ $writers[0] }, $now{busy};
	push @{ $writers[1] }, $now{waiting};
	wait_for { !grep { acknowledged($_) == 0 } values %now } 'both writers to write';
	$node->stop($mode);
	$_->{psql}->finish for values %now;
	my $log = -s $node->logfile;
	$node->start;
	unlike(slurp_file($node->logfile, $log), qr/write buffer: [1-9]\d* rows recovered/, "shutdown $round, fast: all was stored")
	  if $mode eq 'fast';
}
$node->safe_psql('postgres', 'SELECT writecache.flush()');
is(verdict($node, 'busy', @{ $writers[0] }), '', 'rows of a table that is flushed all the time are all right');
is(verdict($node, 'waiting', @{ $writers[1] }), '', 'and so are those of a table that is not');

# A smart shutdown waits for the sessions and stores what they leave.
my $session = WriteCacheTest::Session->new($node);
$session->query('INSERT INTO waiting VALUES (0, 1)');
my $stop = IPC::Run::start([ 'pg_ctl', 'stop', '-m', 'smart', '-D', $node->data_dir ], '<', \'', '>', \my $ignored, '2>&1');
wait_for { slurp_file($node->logfile) =~ /received smart shutdown request/ } 'the smart shutdown to begin';
is($session->query('INSERT INTO waiting VALUES (0, 2); SELECT count(*) FROM waiting WHERE w = 0'), 2, 'a session goes on during a smart shutdown');
$session->finish;
$stop->finish;
$node->{_pid} = undef;
my $log = -s $node->logfile;
$node->start;
unlike(slurp_file($node->logfile, $log), qr/rows recovered/, 'smart: all was stored');
is($node->safe_psql('postgres', 'SET writecache.read_pending = off; SELECT count(*) FROM waiting WHERE w = 0'), 2, '... what was written meanwhile, too');

# A prepared transaction keeps its lock through the shutdown.
$node->stop;
configure($node, max_prepared_transactions => 2, 'writecache.shutdown_timeout' => '1s');
$node->start;
$node->safe_psql('postgres', 'INSERT INTO locked SELECT generate_series(1, 10)');
$node->safe_psql('postgres', 'INSERT INTO waiting VALUES (-1, 1)');
$node->safe_psql('postgres', "BEGIN; LOCK TABLE locked IN SHARE MODE; PREPARE TRANSACTION 'holds'");
{
	local $ENV{PGCTLTIMEOUT} = 60;
	$node->restart;
}
pass('a locked table does not hold up a restart');
is($node->safe_psql('postgres', 'SET writecache.read_pending = off; SELECT count(*) FROM waiting WHERE w = -1'), 1, '... others were stored');
is($node->safe_psql('postgres', 'SELECT count(*) FROM locked'), 10, '... its rows are kept');
$node->safe_psql('postgres', "ROLLBACK PREPARED 'holds'");
$node->safe_psql('postgres', "SELECT writecache.flush('locked')");
is($node->safe_psql('postgres', 'SET writecache.read_pending = off; SELECT count(*), count(DISTINCT n) FROM locked'), '10|10', '... and stored later');
$node->stop;
done_testing();
