# What a commit does when the buffer is full: it waits, and says so when it gives up; goes to the table; or fails.
use strict;
use warnings;
use Test::More;
use WriteCacheTest;

my $node = server('full', 'writecache.buffer_size' => '1MB', autovacuum => 'off');
attached_table($node, 'greedy', 'n int, filling text');
attached_table($node, 'modest', 'n int');
attached_table($node, 'through', 'n int, filling text', "when_full => 'write_through', flush_interval => '1 day'");
attached_table($node, 'fails', 'n int, filling text', "when_full => 'error', flush_interval => '1 day'");

# The worker is there, and does nothing.
$node->safe_psql('postgres', "INSERT INTO $_ VALUES (0); SELECT writecache.flush()") for 'greedy', 'through', 'fails';
my $worker = worker_of($node);
kill 'STOP', $worker;

my $some = "SELECT g, repeat('x', 2000) FROM generate_series(1, 20) AS g";
my $filler = WriteCacheTest::Session->new($node);
$filler->query("SET writecache.wait_timeout = '1ms'");
my $filled = 0;
my $said;
++$filled until ($said = $filler->query("INSERT INTO greedy $some")) || $filled > 1000;
like($said, qr/ERROR:  53000: write buffer stayed full.*\nDETAIL:  .*"greedy".*\nHINT:  .*writecache.wait_timeout/, 'a wait ends with an error');
is($filler->query('SELECT count(*) FROM greedy'), 1 + 20 * $filled, '... and without the rows');

# A table that has nothing in the buffer yet finds room at once.
is($filler->query('INSERT INTO modest SELECT generate_series(1, 10)'), '', 'another table still finds room');

like(psql_errors($node, "INSERT INTO fails $some; INSERT INTO fails $some; INSERT INTO fails $some; INSERT INTO fails $some"),
	qr/ERROR:  53000: write buffer is full\nDETAIL:  .*"fails".*\nHINT:  .*writecache.buffer_size/, q{when_full => 'error': an error});
$filler->query("INSERT INTO through $some") for 1 .. 5;
is($filler->query('SELECT count(*) FROM through'), 101, q{when_full => 'write_through': the rows are there});
cmp_ok($filler->query("SET writecache.read_pending = off; SELECT count(*) FROM through; RESET writecache.read_pending"), '>', 1,
	'... in the table itself');

# The wait can be interrupted.
sub waiting
{
	my $begin = shift // '';
	my $session = WriteCacheTest::Session->new($node);
	my $pid = $session->pid;
	$session->query('SET writecache.wait_timeout = 0');
	$session->send("${begin}INSERT INTO greedy SELECT -1, filling FROM ($some) AS x(g, filling);" . ($begin ? 'COMMIT;' : ''));
	$node->poll_query_until('postgres', "SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $pid");
	return ($session, $pid);
}
my ($session, $pid) = waiting();
$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
like($session->query('SELECT 1'), qr/57014: canceling statement due to user request/, 'it can be cancelled');
is($session->query('SELECT count(*) FROM greedy WHERE n = -1'), 0, '... which leaves nothing');
$session->finish;
($session, $pid) = waiting('BEGIN; ');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
like($session->finish, qr/57P01: terminating connection/, 'its session can be terminated');
is($filler->query('SELECT count(*) FROM greedy WHERE n = -1'), 0, '... which leaves nothing');
is($filler->query("SELECT count(*) FROM greedy"), 1 + 20 * $filled, 'nothing else has come or gone');

# Who holds a lock that the flush needs.
my $holder = WriteCacheTest::Session->new($node);
$pid = $holder->pid;
$holder->query('SET writecache.wait_timeout = 0');
$holder->send("BEGIN; LOCK TABLE greedy IN SHARE ROW EXCLUSIVE MODE; INSERT INTO greedy SELECT -2, filling FROM ($some) AS x(g, filling); COMMIT;");
$node->poll_query_until('postgres', "SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $pid");
kill 'CONT', $worker;
is($holder->query("SELECT count(*) FROM greedy WHERE n = -2"), 20, 'a writer whose lock keeps the flush away does not wait for it');
$holder->finish;
is($filler->query("SELECT writecache.flush() >= 0"), 't', 'everything is stored then');
$filler->query('SET writecache.read_pending = off');
is($filler->query("SELECT count(*) FROM greedy"), 1 + 20 * $filled + 20, '... once');
is($filler->query("SELECT count(*), count(DISTINCT n) FROM modest"), '10|10', '... and so are those of the other table');

# With the worker at work writers come through however small the buffer is.
my @writers = map { in_background($node, "DO 'BEGIN FOR i IN 1 .. 100 LOOP INSERT INTO greedy SELECT 1000 + $_, filling FROM ($some) AS x(g, filling); COMMIT; END LOOP; END'" =~ s/repeat\('x'/repeat(''x''/r) } 1 .. 3;
is(join('', map { $_->finish } @writers), '', 'writers of more than the buffer holds');
$filler->query('SELECT writecache.flush()');
is($filler->query('SELECT count(*) FROM greedy WHERE n > 1000'), 6000, '... all their rows are stored');
$filler->finish;
$node->stop;
done_testing();
