# A crash at any point of a commit: acknowledged rows are there once, a transaction that the crash cut off is there as a
# whole or not at all and agrees with what it did elsewhere, rolled-back rows never come.
use strict;
use warnings;
use Test::More;
use WriteCacheTest;

my $node = server('at_commit', restart_after_crash => 'on', autovacuum => 'off');
attached_table($node, 't', 'crash int, who text, n int, filling text');
$node->safe_psql('postgres', 'CREATE TABLE plain (crash int, who text)');

my $crash = 0;
my @expected;

# A commit fails when it is through with our part.
my $fails = 'CREATE TEMP TABLE parent (i int PRIMARY KEY) ON COMMIT DELETE ROWS; CREATE TEMP TABLE child (i int REFERENCES parent)';

# Enough rows for several frames.
sub rows
{
	my ($who, $n) = @_;
	return "INSERT INTO t SELECT $crash, '$who', $n * g, repeat('x', 2000) FROM generate_series(1, 100) AS g";
}

sub crash_at
{
	my ($point, $action, $synchronous) = @_;
	my $what = "$point, $action, synchronous_commit $synchronous";
	++$crash;
	my ($kept, $pure, $mixed) = map { WriteCacheTest::Session->new($node) } 1 .. 3;
	$_->query("SET synchronous_commit = $synchronous") for $kept, $pure, $mixed;
	$kept->query(rows('kept', 1));
	$kept->query('BEGIN; ' . rows('kept', -1) . '; ROLLBACK');
	$kept->query('BEGIN; SAVEPOINT s; ' . rows('kept', -1) . '; ROLLBACK TO s; COMMIT');

	my $end = $point eq 'aborted' ? "$fails; COMMIT" : 'COMMIT';
	my $pid = $pure->pid;
	$pure->send("SET writecache.injection_point = '$point'; SET writecache.injection_action = 'stop'; BEGIN; " . rows('pure', 1) . "; $end;");
	wait_for { is_stopped($pid) } "$what: the first session to come to the point";
	$mixed->query("SET writecache.injection_point = '$point'; SET writecache.injection_action = '$action';
		BEGIN; INSERT INTO plain VALUES ($crash, 'mixed'); " . rows('mixed', 1) . "; $end;");
	kill 'KILL', $pid;
	$_->finish for $kept, $pure, $mixed;
	if ($action eq 'kill_server')
	{
		wait_for_crash($node);
		start_again($node);
	}
	wait_until_up($node);

	$node->safe_psql('postgres', 'SELECT writecache.flush()');
	my %rows;
	for (split /\n/, $node->safe_psql('postgres',
		"SELECT who, count(*), count(DISTINCT n), min(n) FROM t WHERE crash = $crash GROUP BY who"))
	{
		my ($who, @all) = split /\|/;
		$rows{$who} = "@all";
	}
	my $all = '100 100 1';
	is($rows{kept}, $all, "$what: what was acknowledged is there once");
	my $in_plain = $node->safe_psql('postgres', "SELECT count(*) FROM plain WHERE crash = $crash");
	is($rows{mixed} // 'none', $in_plain ? $all : 'none', '... a transaction is there as a whole or not at all');
	if ($point eq 'committed') { ok(!$rows{pure} || $rows{pure} eq $all, '... also one that wrote nothing else'); }
	else { is($rows{pure} // 'none', $point eq 'published' ? $all : 'none', '... also one that wrote nothing else'); }
	is($in_plain, $point eq 'committed' || $point eq 'published' ? 1 : 0, '... which it was told') if $synchronous eq 'on';
	return;
}

for my $point (qw(reserved half-copied frame-filled prepared committed published aborted))
{
	crash_at($point, @$_) for [ 'kill', 'on' ], [ 'kill', 'off' ], [ 'kill_server', 'off' ];
}
is($node->safe_psql('postgres', "SELECT count(*) FROM t WHERE who = 'kept'"), $crash * 100, 'later crashes did not bring anything again');
$node->stop;
done_testing();
