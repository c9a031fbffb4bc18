# Cached rows and writers that no session of ours is: prepared transactions that outlive a crash, the apply workers of logical
# replication, restored and killed servers.
use strict;
use warnings;
use Test::More;
use WriteCacheTest;

my @modes = qw(write_around write_through cache_aside);
my $node = server('cache_writers', restart_after_crash => 'on', wal_level => 'logical', max_wal_senders => 5, max_replication_slots => 5, autovacuum => 'off', max_prepared_transactions => 5);
$node->safe_psql('postgres', join '', map { qq{
	CREATE TABLE $_ (id int PRIMARY KEY, v int, pad text);
	INSERT INTO $_ SELECT g, g, repeat('x', 1000) FROM generate_series(1, 20) g;
	SELECT writecache.attach('$_', '$_');
	CREATE TABLE loose_$_ (LIKE $_ INCLUDING ALL);
	ALTER TABLE loose_$_ SET UNLOGGED;
	INSERT INTO loose_$_ SELECT * FROM $_;
	SELECT writecache.attach('loose_$_', '$_');} } @modes);

# What differs between the cache and the table, in one snapshot.
sub compare
{
	my ($where, @tables) = @_;
	return join '', map { $where->safe_psql('postgres', qq{
		SELECT '$_: ' || coalesce(c.r, '-') || ' <> ' || coalesce(s.r, '-')
		  FROM (SELECT id, t::text AS r FROM $_ t WHERE id = ANY (ARRAY(SELECT generate_series(0, 25)))) c
		  FULL JOIN (SELECT id, t::text AS r FROM $_ t TABLESAMPLE SYSTEM (100)) s USING (id) WHERE c.r IS DISTINCT FROM s.r}) } @tables;
}

sub sums
{
	my ($where, @tables) = @_;
	return join ' ', map { $where->safe_psql('postgres', "SELECT sum(v) FROM $_ WHERE id = ANY (ARRAY(SELECT generate_series(0, 25)))") } @tables;
}

sub prepare
{
	$node->safe_psql('postgres', "BEGIN; " . join('', map { "UPDATE $_ SET v = v + 100 WHERE id <= 5; DELETE FROM $_ WHERE id = 6; INSERT INTO $_ VALUES (25, 0, 'p');" } @modes)
		. " PREPARE TRANSACTION 'p'");
	return;
}

# Prepared, crash, decided.
my $before = '210 210 210';
is(sums($node, @modes), $before, 'filled');
for my $decision ('ROLLBACK', 'COMMIT')
{
	prepare();
	is(sums($node, @modes), $before, 'prepared') for 1 .. 2;
	is(compare($node, @modes), '', 'prepared');
	$node->stop('immediate');
	$node->start;
	is(sums($node, @modes), $before, 'after a crash') for 1 .. 2;
	$node->safe_psql('postgres', "$decision PREPARED 'p'");
	is(sums($node, @modes), $decision eq 'COMMIT' ? '704 704 704' : $before, $decision) for 1 .. 2;
	is(compare($node, @modes), '', $decision);
}
# Unlogged tables are empty after a crash.
is(sums($node, map { "loose_$_" } @modes), '  ', 'unlogged tables');
is(compare($node, map { "loose_$_" } @modes), '', 'unlogged tables');

# A killed session takes shared memory with it: all sessions begin anew, with an empty cache.
my $session = WriteCacheTest::Session->new($node);
$session->query('BEGIN; UPDATE write_through SET v = -1 WHERE id = 1');
kill 'KILL', $session->pid;
wait_for { $node->psql('postgres', 'SELECT 1') == 0 && $node->safe_psql('postgres', 'SELECT coalesce(sum(entries), 0) FROM writecache.stat_cache') == 0 } 'a new start';
is(sums($node, @modes), '704 704 704', 'after a killed session');
is(compare($node, @modes), '', 'after a killed session');

# Logical replication: rows that apply workers change.
my $copy = server('cache_copy', autovacuum => 'off');
$copy->safe_psql('postgres', join '', map { "CREATE TABLE $_ (id int PRIMARY KEY, v int, pad text); SELECT writecache.attach('$_', '$_');" } @modes);
my $source = $node->connstr('postgres');
$node->safe_psql('postgres', 'CREATE PUBLICATION p FOR TABLE ' . join ', ', @modes);
$copy->safe_psql('postgres', "CREATE SUBSCRIPTION s CONNECTION \$c\$$source\$c\$ PUBLICATION p");
$copy->poll_query_until('postgres', q{SELECT count(*) = 3 AND bool_and(srsubstate IN ('r', 's')) FROM pg_subscription_rel});
is(sums($copy, @modes), '704 704 704', 'copied at first') for 1 .. 2;
is(compare($copy, @modes), '', 'copied at first');
my $reader = WriteCacheTest::Session->new($copy);
$reader->query("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT sum(v) FROM $_ WHERE id = ANY (ARRAY(SELECT generate_series(0, 25)))") for $modes[0];
for my $change ('UPDATE % SET v = v + 1', 'UPDATE % SET id = 0 WHERE id = 1', 'DELETE FROM % WHERE id = 7', "INSERT INTO % VALUES (7, 7, 'again')",
	'BEGIN; UPDATE % SET id = 24 WHERE id = 8; UPDATE % SET id = 8 WHERE id = 9; UPDATE % SET id = 9 WHERE id = 24; COMMIT', 'TRUNCATE %',
	"INSERT INTO % SELECT g, g, 'new' FROM generate_series(1, 20) g")
{
	# A reader of an old snapshot would have TRUNCATE wait.
	is($reader->query("SELECT sum(v) FROM $modes[0] WHERE id = ANY (ARRAY(SELECT generate_series(0, 25))); COMMIT"), 704, 'an old snapshot') if $change =~ /TRUNCATE/;
	$node->safe_psql('postgres', join ';', map { $change =~ s/%/$_/gr } @modes);
	$node->wait_for_catchup('s');
	is(compare($copy, @modes), '', "applied: $change");
	is(sums($copy, @modes), sums($node, @modes), "applied: $change") for 1 .. 2;
}
$reader->finish;
$copy->safe_psql('postgres', 'DROP SUBSCRIPTION s');
$copy->stop;
$node->stop;
done_testing();
