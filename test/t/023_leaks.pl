# What goes on for long does not grow: a session that inserts, and tables that come and go. TIMES=10 goes on ten times as long.
use strict;
use warnings;
use Test::More;
use WriteCacheTest;

my $times = $ENV{TIMES} || 1;
my $node = server('leaks', autovacuum => 'off');
attached_table($node, 't', 'n int, filling text', "flush_interval => '100 ms'");
my $session = WriteCacheTest::Session->new($node);

my $memory = 'SELECT sum(total_bytes) FROM pg_backend_memory_contexts';
my $inserts = q{DO 'BEGIN FOR i IN 1 .. 50000 LOOP INSERT INTO t VALUES (i, ''some filling''); COMMIT; END LOOP; END'};
my $rollbacks = q{DO 'BEGIN FOR i IN 1 .. 10000 LOOP INSERT INTO t VALUES (-i, ''some filling''); ROLLBACK; END LOOP; END'};
my $large = q{INSERT INTO t SELECT g, repeat('x', 1000) FROM generate_series(1, 5000) AS g};
$session->query($_) for $inserts, $rollbacks, $large;
my $before = $session->query($memory);
$session->query($_) for ($inserts) x (4 * $times), $rollbacks, $large;
my $after = $session->query($memory);
cmp_ok($after, '<=', $before + 16 * 1024, 200_000 * $times . " inserts leave the session's memory as it was");
is($session->query('SELECT writecache.flush() >= 0; SELECT count(*) FROM t WHERE n > 0'), "t\n" . (60000 + 200000 * $times), 'and all are stored');

cmp_ok($session->query('SELECT rows_captured FROM writecache.stat_write_back'), '>=', 250000, '... by way of the buffer');

# Single statements, each a transaction of its own, with a plan made for each.
my $singles = join "\n", map { "INSERT INTO t VALUES ($_, 'x');" } 1 .. 2000;
$session->query($singles);
$before = $session->query($memory);
$session->query($singles) for 1 .. 3;
cmp_ok($session->query($memory), '<=', $before + 16 * 1024, 'nor do single statements make it grow');

# Attached, written, flushed or not, detached.
$session->query("CREATE TABLE u (n int); CREATE TABLE v (n int); SET client_min_messages = error");
my $cycles = q{DO 'BEGIN FOR i IN 1 .. %d LOOP
	PERFORM writecache.attach(''u'', ''write_back'', flush_interval => ''1 day''); COMMIT;
	INSERT INTO u VALUES (i); COMMIT;
	PERFORM writecache.attach(''v'', ''write_back''); ROLLBACK;
	PERFORM writecache.detach(''u''); COMMIT; END LOOP; END'};
my $shared = "SELECT sum(allocated_size) FROM pg_shmem_allocations WHERE name LIKE 'pg_writecache%'";
my $settled = sub {
	$session->query('SELECT writecache.flush()');
	# Blocks are free once no snapshot needs their rows.
	wait_for { $session->query('SELECT count(*) FROM writecache.buffer_queues() WHERE rows_pending > 0') eq '0' } 'nothing to be pending';
};
is($session->query(sprintf $cycles, 100), '', 'attached and detached');
$settled->();
$before = $session->query($memory);
my $allocated = $session->query($shared);
my $queues = $session->query('SELECT count(*) FROM writecache.buffer_queues()');
my $free = $session->query('SELECT free_bytes FROM writecache.buffer_status()');
is($session->query(sprintf $cycles, 1000 * $times), '', '... ' . 1000 * $times . ' times more');
$settled->();
cmp_ok($session->query($memory), '<=', $before + 64 * 1024, 1000 * $times . " attachments leave the session's memory as it was");
is($session->query($shared), $allocated, '... shared memory');
wait_for { $session->query('SELECT count(*) FROM writecache.buffer_queues()') <= $queues } 'the places of detached tables';
pass('... the places for tables');
wait_for { $session->query('SELECT free_bytes FROM writecache.buffer_status()') >= $free } 'the room of detached tables';
pass('... and the room in the buffer');
is($session->query('SELECT count(*), count(*) FILTER (WHERE n <= 100) FROM u'), 1000 * $times + 100 . '|200', 'every row of theirs is stored');
is($session->query('SELECT count(*) FROM writecache.watermark'), 1, '... and no position of theirs is left');
$session->finish;
$node->stop;
done_testing();
