# Rows of views: of the sessions that miss one key at once, one computes it.
use strict;
use warnings;
use Test::More;
use Time::HiRes 'time';
use WriteCacheTest;

my $node = server('flights', autovacuum => 'off');
$node->safe_psql('postgres', q{
	CREATE SEQUENCE computed;
	CREATE TABLE failing (yes boolean);
	INSERT INTO failing VALUES (false);
	CREATE FUNCTION compute(k int) RETURNS int LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM nextval('computed');
		PERFORM pg_advisory_xact_lock_shared(k);
		IF (SELECT yes FROM failing) THEN RAISE 'cannot be computed'; END IF;
		RETURN k * 2;
	END $$;
	CREATE VIEW slow AS SELECT k AS id, compute(k) AS doubled FROM generate_series(1, 100) k;
	SELECT writecache.attach('slow', 'cache_aside', max_staleness => '1 h', key => '{id}')});

my $lock = WriteCacheTest::Session->new($node);
my @readers = map { WriteCacheTest::Session->new($node) } 1 .. 4;

# A session asks for a key; the test goes on when it waits as expected.
sub ask
{
	my ($key, $event, @sessions) = @_;
	for my $session (@sessions)
	{
		my $pid = $session->pid;
		$session->send("SELECT (writecache.get(NULL::slow, $key)).doubled;");
		waits($session, $event);
	}
	return;
}

sub waits
{
	my ($session, $event) = @_;
	my $pid = $session->pid;
	ok($node->poll_query_until('postgres', "SELECT wait_event = '$event' FROM pg_stat_activity WHERE pid = $pid"), "waits: $event");
	return;
}

# One computes, held up by a lock; three wait for it.
$lock->query('SELECT pg_advisory_lock(7)');
ask(7, 'advisory', $readers[0]);
ask(7, 'Extension', @readers[ 1 .. 3 ]);
$lock->query('SELECT pg_advisory_unlock(7)');
is($_->query(''), 14, 'each has the row') for @readers;
is($node->safe_psql('postgres', 'SELECT last_value FROM computed'), 1, 'it was computed once');

# The one that computes is terminated: another takes over.
$lock->query('SELECT pg_advisory_lock(8)');
my $doomed = WriteCacheTest::Session->new($node);
ask(8, 'advisory', $doomed);
ask(8, 'Extension', @readers[ 1 .. 2 ]);
$node->safe_psql('postgres', 'SELECT pg_terminate_backend(' . $doomed->pid . ')');
ok($node->poll_query_until('postgres',
	q{SELECT string_agg(wait_event, ' ' ORDER BY wait_event COLLATE "C") = 'Extension advisory' FROM pg_stat_activity WHERE pid IN (}
	  . join(', ', map { $_->pid } @readers[ 1 .. 2 ]) . ')'), 'one of them takes over, one waits');
$lock->query('SELECT pg_advisory_unlock(8)');
is($_->query(''), 16, 'each has the row') for @readers[ 1 .. 2 ];

# It fails: its error is its own.
$node->safe_psql('postgres', 'UPDATE failing SET yes = true');
$lock->query('SELECT pg_advisory_lock(9)');
ask(9, 'advisory', $readers[0]);
ask(9, 'Extension', $readers[1]);
$lock->query('SELECT pg_advisory_unlock(9)');
like($_->query(''), qr/cannot be computed/, 'each computes, each fails') for @readers[ 0 .. 1 ];
$node->safe_psql('postgres', 'UPDATE failing SET yes = false');
is($_->query('SELECT (writecache.get(NULL::slow, 9)).doubled;'), 18, 'no error is kept') for @readers[ 0 .. 1 ];

# Whoever waited long enough computes by itself.
$lock->query('SELECT pg_advisory_lock(10)');
ask(10, 'advisory', $readers[0]);
$readers[1]->query("SET writecache.compute_wait = '1ms'");
ask(10, 'advisory', $readers[1]);
# Who waits can be interrupted.
$readers[2]->query("SET statement_timeout = '50ms'");
is($readers[2]->query('SELECT (writecache.get(NULL::slow, 10)).doubled;') =~ /57014/, 1, 'a wait ends with statement_timeout');
$lock->query('SELECT pg_advisory_unlock(10)');
is($_->query(''), 20, 'each has the row') for @readers[ 0 .. 1 ];

# What is evicted or invalidated while it is computed is not kept.
for my $forget ("evict('slow', 11)", "invalidate('slow')")
{
	$node->safe_psql('postgres', "SELECT writecache.invalidate('slow'); SELECT setval('computed', 1)");
	$lock->query('SELECT pg_advisory_lock(11)');
	ask(11, 'advisory', $readers[0]);
	$node->safe_psql('postgres', "SELECT writecache.$forget");
	$lock->query('SELECT pg_advisory_unlock(11)');
	is($readers[0]->query(''), 22, 'it has the row');
	is($node->safe_psql('postgres', 'SELECT (writecache.get(NULL::slow, 11)).doubled; SELECT last_value FROM computed'), "22\n3",
		"$forget: computed anew");
}

# Too old: one computes, and while it does the others wait for the new row; nearly too old: they take the old one.
$node->safe_psql('postgres', q{SELECT writecache.alter('slow', max_staleness => '10 ms')});
my $before = $node->safe_psql('postgres', 'SELECT (writecache.get(NULL::slow, 12)).doubled; SELECT pg_sleep(0.02); SELECT last_value FROM computed');
is($node->safe_psql('postgres', 'SELECT (writecache.get(NULL::slow, 12)).doubled; SELECT last_value - ' . (split /\n/, $before)[-1] . ' FROM computed'),
	"24\n1", 'a row that is too old is computed anew');
# Nearly too old: one computes it anew, and while it does the others take the one that is there. Where the machine is so slow
# that it has become too old meanwhile, nothing is learned.
$node->safe_psql('postgres', q{SELECT writecache.alter('slow', max_staleness => '2 s')});
$readers[1]->query("RESET writecache.compute_wait; SET statement_timeout = '300ms'");
my $taken = '';
for (1 .. 20)
{
	$node->safe_psql('postgres', "SELECT writecache.invalidate('slow')");
	my $started = time;
	$readers[0]->query('SELECT (writecache.get(NULL::slow, 13)).doubled;');
	my $computed = time;
	$lock->query('SELECT pg_advisory_lock(13)');
	select undef, undef, undef, 0.02 while time < $computed + 1.62;
	$readers[0]->send('SELECT (writecache.get(NULL::slow, 13)).doubled;');
	my $pid = $readers[0]->pid;
	$node->poll_query_until('postgres', "SELECT wait_event = 'advisory' FROM pg_stat_activity WHERE pid = $pid");
	$taken = $readers[1]->query('SELECT (writecache.get(NULL::slow, 13)).doubled;');
	my $young = time < $started + 2;
	$lock->query('SELECT pg_advisory_unlock(13)');
	$readers[0]->query('');
	last if $taken eq '26' || $young;
}
is($taken, 26, 'a row that is nearly too old is taken while another session computes it anew');
$_->finish for @readers, $lock;
# Sessions that have ended have told what they counted.
ok($node->poll_query_until('postgres', q{SELECT single_flight_waits >= 5 AND hits_by_age > 0 AND misses > 0 FROM writecache.stat_cache WHERE relation = 'slow'::regclass}),
	'waits are counted');
$node->stop;
done_testing();
