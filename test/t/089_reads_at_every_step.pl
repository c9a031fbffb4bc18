# While a commit or a flush stands still at each of its steps, whoever reads sees every committed row once and no other: a new
# snapshot, one from before, cursors that were opened before.
use strict;
use warnings;
use Test::More;
use WriteCacheTest;

my $node = server('every_step', autovacuum => 'off');
attached_table($node, 't', 'n int PRIMARY KEY, filling text');
$node->safe_psql('postgres', 'CREATE TABLE plain (n int)');
my $rows = 0;    # 1 .. $rows are committed

# By a sequential scan, by index, in order, by a join.
my $look = 'SELECT count(*), count(DISTINCT n), sum(n), (SELECT count(*) FROM t WHERE n > 40), '
  . '(SELECT string_agg(n::text, \' \') FROM (SELECT n FROM t ORDER BY n DESC LIMIT 3) AS last), '
  . '(SELECT count(*) FROM t AS a JOIN t AS b USING (n)), (SELECT n FROM t WHERE n = 60), (SELECT max(n) FROM plain) FROM t';

sub seen_of
{
	my $n = shift;
	return join '|', $n, $n, $n * ($n + 1) / 2, $n - 40, join(' ', $n, $n - 1, $n - 2), $n, 60, $n;
}

sub insert_next
{
	my ($first, $last) = ($rows + 1, $rows + 50);
	return "INSERT INTO t SELECT g, repeat('x', 2000) FROM generate_series($first, $last) AS g; INSERT INTO plain VALUES ($last);";
}

# Somebody who has looked before, and is to see the same for ever. Half of the cursors' rows are fetched.
sub reader
{
	my %reader = (seen => $rows, session => WriteCacheTest::Session->new($node), cursors => WriteCacheTest::Session->new($node));
	$reader{session}->query('BEGIN ISOLATION LEVEL REPEATABLE READ');
	$reader{session}->query($look);
	my $half = $rows / 2;
	$reader{cursors}->query("BEGIN; DECLARE held CURSOR WITH HOLD FOR SELECT n FROM t; COMMIT; FETCH $half FROM held; "
		  . "BEGIN; DECLARE plain CURSOR FOR SELECT n FROM t; DECLARE scrolled SCROLL CURSOR FOR SELECT n FROM t ORDER BY n; "
		  . "FETCH $half FROM plain; FETCH $half FROM scrolled");
	return \%reader;
}

sub read_on
{
	my ($reader, $what) = @_;
	is($reader->{session}->query($look), seen_of($reader->{seen}), "$what: an older snapshot");
	return;
}

sub finish
{
	my ($reader, $what) = @_;
	read_on($reader, $what);
	$reader->{session}->query('COMMIT');
	my $half = $reader->{seen} / 2;
	my @all = (1 .. $reader->{seen});
	for my $cursor ('held', 'plain')
	{
		my @rest = split /\n/, $reader->{cursors}->query("FETCH ALL FROM $cursor");
		is(scalar(@rest), $half, "$what: what is left for cursor $cursor");
	}
	is_deeply([ split /\n/, $reader->{cursors}->query('FETCH ALL FROM scrolled') ], [ @all[ $half .. $#all ] ], '... and in order');
	is_deeply([ split /\n/, $reader->{cursors}->query('MOVE ABSOLUTE 0 FROM scrolled; FETCH ALL FROM scrolled') ], \@all, '... and from the start');
	$_->finish for $reader->{session}, $reader->{cursors};
	return;
}

$node->safe_psql('postgres', 'BEGIN; ' . insert_next() . 'COMMIT');
$rows = 50;
$node->safe_psql('postgres', 'SELECT writecache.flush()');
$node->safe_psql('postgres', 'BEGIN; ' . insert_next() . 'COMMIT');
$rows = 100;

for my $point (qw(reserved half-copied frame-filled prepared aborted committed published))
{
	my $before = reader();
	my $writer = WriteCacheTest::Session->new($node);
	my $pid = $writer->pid;
	# This commit fails when it is through with our part.
	my $fails = 'CREATE TEMP TABLE parent (i int PRIMARY KEY) ON COMMIT DELETE ROWS; CREATE TEMP TABLE child (i int REFERENCES parent);';
	$writer->send("SET writecache.injection_point = '$point'; SET writecache.injection_action = 'stop'; BEGIN; "
		  . insert_next() . ($point eq 'aborted' ? $fails : '') . 'COMMIT;');
	wait_for { is_stopped($pid) } "the writer to come to $point";
	$rows += 50 if $point eq 'committed' || $point eq 'published';
	is($node->safe_psql('postgres', $look), seen_of($rows), "$point: a new snapshot");
	read_on($before, $point);
	my $meanwhile = reader();
	# There may be more than one such place on the way.
	$writer->send("\\q");
	wait_for { kill 'CONT', $pid if is_stopped($pid); !is_running($pid) } 'the writer to end';
	$writer->finish;
	$rows += 50 unless $point eq 'aborted' || $point eq 'committed' || $point eq 'published';
	is($node->safe_psql('postgres', $look), seen_of($rows), "after $point: a new snapshot");
	finish($before, "from before $point");
	finish($meanwhile, "from while at $point");
}

for my $point (qw(flush-rows-stored flush-marked flush-committed flush-finished before-free after-free))
{
	my $before = reader();
	# As long as somebody has to see them nothing is freed.
	if ($point =~ /free/) { finish($before, "from before $point"); undef $before; }
	reconfigure($node, 'writecache.injection_point' => $point, 'writecache.injection_action' => 'stop');
	my $worker = worker_of($node);
	my $flush = in_background($node, 'SELECT writecache.flush()');
	wait_for { is_stopped($worker) } "the worker to come to $point";
	is($node->safe_psql('postgres', $look), seen_of($rows), "$point: a new snapshot");
	is($node->safe_psql('postgres', "SET enable_seqscan = off; $look"), seen_of($rows), '... by index');
	read_on($before, $point) if $before;
	my $meanwhile = reader();
	$node->safe_psql('postgres', 'BEGIN; ' . insert_next() . 'COMMIT');
	$rows += 50;
	is($node->safe_psql('postgres', $look), seen_of($rows), "$point, and rows that came after it: a new snapshot");
	reconfigure($node, 'writecache.injection_point' => '');
	wait_for { kill 'CONT', $worker; !is_stopped($worker) } 'the worker to go on';
	$flush->finish;
	is($node->safe_psql('postgres', $look), seen_of($rows), "after $point: a new snapshot");
	finish($before, "from before $point") if $before;
	finish($meanwhile, "from while at $point");
}
$node->safe_psql('postgres', 'SELECT writecache.flush()');
is($node->safe_psql('postgres', "SET writecache.read_pending = off; $look"), seen_of($rows), 'all of it is stored');
$node->stop;
done_testing();
