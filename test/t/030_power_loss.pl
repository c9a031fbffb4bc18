# A power loss: the buffer file falls back to what was synced, page by page at random, and the tables are as the crash left
# them. Nothing comes twice, nothing that was acknowledged before the last sync is missing, no page is believed that was
# torn, and of no transaction there is a part.
use strict;
use warnings;
use Test::More;
use PostgreSQL::Test::Utils;
use WriteCacheTest;

my $seed = $ENV{SEED} // int(rand(1 << 31));
srand $seed;
diag("SEED=$seed");
my $page = 4096;
my $sector = 512;

my $dir = PostgreSQL::Test::Utils::tempdir();
my ($boot, $synced) = ("$dir/boot_id", "$dir/synced");
my $boots = 0;

# The operating system starts anew.
sub boot
{
	open my $file, '>', $boot or die "$boot: $!";
	printf $file "%08x-0000-0000-0000-000000000000\n", ++$boots;
	close $file or die $!;
	return;
}

boot();
$ENV{PGWC_TEST_BOOT_ID} = $boot;
$ENV{PGWC_TEST_SYNCED} = $synced;
my $node = server('power', restart_after_crash => 'off', autovacuum => 'off', wal_writer_delay => '10s',
	'writecache.buffer_size' => '4MB', 'writecache.sync_interval' => '200ms');
my $file = $node->data_dir . '/pg_dynshmem/pg_writecache.buffer';

sub read_all
{
	my $path = shift;
	open my $in, '<:raw', $path or die "$path: $!";
	local $/ = undef;
	return <$in>;
}

# A sync that has begun after this call is through.
sub wait_for_sync
{
	my $is = sub { (stat $synced)[1] // 0 };
	for (1 .. 2)
	{
		my $before = $is->();
		wait_for { $is->() != $before } 'a sync';
	}
	return;
}

# Without rows that come in: everything that is there now.
sub wait_for_sync_of_all
{
	my $now = $node->safe_psql('postgres', 'SELECT clock_timestamp()');
	wait_for { $node->safe_psql('postgres', "SELECT last_sync > '$now' FROM writecache.buffer_status()") eq 't' } 'a sync';
	return;
}

sub kill_all
{
	my @all = ($node->{_pid}, keys %{ { children_of($node) } });
	kill 'KILL', @all;
	wait_for_crash($node);
	kill_orphans($node);
	wait_for { !grep { is_running($_) } @all } 'the end of all processes';
	return;
}

# `share` of what was written since the last sync is lost; else it is at random, and some of it torn.
sub lose_power
{
	my $share = shift;
	kill_all();
	my ($old, $new) = (read_all($synced), read_all($file));
	die 'the file has another size' if length $old != length $new;
	my ($kept, $lost, $torn) = (0, 0, 0);
	my $result = $new;
	# Some crashes lose nearly everything, others next to nothing.
	my $torn_share = defined $share ? 0 : 0.2;
	$share //= (0.05, 0.5, 0.95)[ int rand 3 ];
	for (my $at = 0; $at < length $new; $at += $page)
	{
		next if substr($old, $at, $page) eq substr($new, $at, $page);
		if (rand() < $torn_share)
		{
			++$torn;
			for (my $part = $at; $part < $at + $page; $part += $sector)
			{
				substr($result, $part, $sector) = substr($old, $part, $sector) if rand() < 0.5;
			}
		}
		elsif (rand() < $share) { ++$lost; substr($result, $at, $page) = substr($old, $at, $page); }
		else { ++$kept; }
	}
	open my $out, '+<:raw', $file or die "$file: $!";
	print $out $result;
	close $out or die $!;
	copy_over($file, $synced);
	boot();
	return "$lost pages lost, $torn torn, $kept kept";
}

sub copy_over
{
	my ($from, $to) = @_;
	open my $out, '>:raw', $to or die "$to: $!";
	print $out read_all($from);
	close $out or die $!;
	return;
}

# Writers of single rows; some do not wait for the WAL, one writes to an ordinary table as well.
my @tables = ('t0', 't1', 't2');
$node->safe_psql('postgres', 'CREATE TABLE plain (w int, n int)');
attached_table($node, $tables[0], 'w int, n int', "flush_interval => '50ms'");
attached_table($node, $tables[1], 'w int, n int', "flush_interval => '300ms'");
attached_table($node, $tables[2], 'w int, n int', "flush_interval => '1 day'");
$node->append_conf('postgresql.conf', 'synchronous_commit = off');
$node->reload;

# Its transactions write to three tables, to one of them in several blocks.
attached_table($node, 'wide', 'w int, n int, k int, filling text', "flush_interval => '100ms'");
sub start_atomic_writer
{
	my $number = shift;
	my $base = "$dir/atomic$number";
	open my $script, '>', "$base.sql" or die "$base.sql: $!";
	for my $n (1 .. 3000)
	{
		print $script "BEGIN; INSERT INTO t0 VALUES ($number, $n); INSERT INTO t2 VALUES ($number, $n);
			INSERT INTO wide SELECT $number, $n, g, repeat('x', 2000) FROM generate_series(1, 80) AS g; COMMIT;\n\\echo $n\n";
	}
	close $script or die $!;
	my $psql = IPC::Run::start([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', "$base.sql" ],
		'<', \'', '>', "$base.out", '2>', "$base.err");
	return { psql => $psql, out => "$base.out", number => $number };
}

# Transactions of such a writer that are there in part or more than once, and how many of those promised are there.
sub atomicity
{
	my ($number, $promised) = @_;
	return $node->safe_psql('postgres', qq{
		WITH rows AS (SELECT n, sum(a) AS a, sum(b) AS b, sum(c) AS c, count(DISTINCT k) AS ks FROM (
			SELECT n, 1 AS a, 0 AS b, 0 AS c, NULL::int AS k FROM t0 WHERE w = $number
			UNION ALL SELECT n, 0, 1, 0, NULL FROM t2 WHERE w = $number
			UNION ALL SELECT n, 0, 0, 1, k FROM wide WHERE w = $number) AS x GROUP BY n)
		SELECT string_agg(format('%s: %s, %s, %s', n, a, b, c), '; ' ORDER BY n) FILTER (WHERE (a, b, c, ks) <> (1, 1, 80, 80)),
		       count(*) FILTER (WHERE n <= $promised) FROM rows});
}

my $number = 0;
for my $round (1 .. 3)
{
	my %writers;
	for my $table (@tables) { push @{ $writers{$table} }, start_writer($node, $table, ++$number) for 1 .. 2; }
	my @atomic = map { start_atomic_writer(++$number) } 1 .. 2;
	my @writers = (@atomic, map { @$_ } values %writers);
	for my $writer (@writers) { wait_for { acknowledged($writer) > 0 } 'writers to get going'; }
	my %promised = map { $_->{number} => acknowledged($_) } @writers;
	wait_for_sync();
	select undef, undef, undef, rand 0.3;
	my $what = lose_power();
	$_->{psql}->finish for @writers;
	# What readers see while no worker has looked at the buffer yet.
	configure($node, 'writecache.injection_point' => 'worker-start', 'writecache.injection_action' => 'error');
	start_again($node);

	for my $when ('before a flush', 'after a flush')
	{
		my @faults;
		for my $table (@tables)
		{
			for my $writer (@{ $writers{$table} })
			{
				my ($told, $promised) = (acknowledged($writer), $promised{ $writer->{number} });
				my $found = $node->safe_psql('postgres', qq{
					SELECT count(*), count(DISTINCT n), count(*) FILTER (WHERE n <= 0 OR n > $told + 1),
					       count(DISTINCT n) FILTER (WHERE n BETWEEN 1 AND $promised) FROM $table WHERE w = $writer->{number}});
				my ($rows, $different, $foreign, $kept) = split /\|/, $found;
				push @faults, "$table, writer $writer->{number}: $rows rows, $different different, $foreign never acknowledged, "
				  . "$kept of $promised promised" if $rows != $different || $foreign || $kept != $promised;
			}
		}
		for my $writer (@atomic)
		{
			my $promised = $promised{ $writer->{number} };
			my $found = atomicity($writer->{number}, $promised);
			push @faults, "writer $writer->{number} of whole transactions: $found of $promised" if $found ne "|$promised";
		}
		is(join("\n", @faults), '', "power loss $round ($what): every row once, no transaction in part, $when");
		next if $when eq 'after a flush';
		reconfigure($node, 'writecache.injection_point' => '');
		$node->safe_psql('postgres', 'SELECT writecache.flush()');
	}
}

# A crash loses a transaction, its id goes to another one, and then the power fails before the launcher has synced anything.
my $writer = WriteCacheTest::Session->new($node);
$writer->query('BEGIN; INSERT INTO plain VALUES (0, 0); INSERT INTO t2 VALUES (0, 0); COMMIT');
wait_for_sync_of_all();
kill_all();
$writer->finish;
configure($node, 'writecache.sync_interval' => '1h', 'synchronous_commit' => 'on');
start_again($node);
is($node->safe_psql('postgres', 'SELECT count(*) FROM plain WHERE w = 0'), 0, 'a crash loses a transaction');
is($node->safe_psql('postgres', 'SELECT count(*) FROM t2 WHERE w = 0'), 0, '... also what it buffered');
$node->safe_psql('postgres', 'INSERT INTO plain VALUES (-1, -1)') for 1 .. 20;
lose_power(1);
start_again($node);
is($node->safe_psql('postgres', 'SELECT count(*) FROM t2 WHERE w = 0'), 0, '... and a power loss does not bring it again');
$node->stop;
done_testing();
