# A buffer that runs full is no reason for a short statement to fail: what it still has to read from the buffer stays, and
# writers wait for it.
use strict;
use warnings;
use Test::More;
use Time::HiRes 'time';
use WriteCacheTest;

my $node = server('short', autovacuum => 'off', 'writecache.buffer_size' => '1MB', 'writecache.wait_timeout' => 0);
attached_table($node, $_, 'n int, filling text') for 'seen', 'greedy';
my ($said, $rows);
# Whoever is slow (more than 10 s) is no short statement.
for (1 .. 5)
{
	$node->safe_psql('postgres', 'TRUNCATE seen, greedy');
	$node->safe_psql('postgres', q{INSERT INTO seen SELECT generate_series(1, 100), ''});
	my $holder = in_background($node, 'SELECT pg_advisory_lock(1)');
	$node->poll_query_until('postgres', q{SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted)});
	my $began = time;
	my $reader = in_background($node, 'SELECT pg_advisory_lock(1)::text, (SELECT count(*) FROM seen)');
	$node->poll_query_until('postgres', q{SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)});
	$node->safe_psql('postgres', q{SELECT writecache.flush('seen')});
	my @writers = map { in_background($node, join '', (q{INSERT INTO greedy SELECT generate_series(1, 10), repeat('x', 5000);}) x 10) } 1 .. 3;
	$node->poll_query_until('postgres', q{SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query ~ '^INSERT INTO greedy' AND wait_event = 'Extension')
		OR (SELECT count(*) FROM greedy) = 300});
	$holder->finish;
	$said = $reader->finish;
	my $took = time - $began;
	is(join('', map { $_->finish } @writers), '', 'the writers find room');
	is($node->safe_psql('postgres', 'SELECT count(*) FROM greedy'), 300, '... for all their rows');
	last if $took < 9;
}
is($said, '|100', 'the statement reads what it has to');
$node->stop;
done_testing();
