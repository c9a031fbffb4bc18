# A buffer file that is damaged, cut off, empty, somebody else's, of another version or no file at all: the server starts,
# the log says what happened with a hint, what passes its checksum is kept and nothing is invented. Two servers never use
# one file.
use strict;
use warnings;
use Test::More;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use WriteCacheTest;

my $seed = $ENV{SEED} // int(rand(1 << 31));
srand $seed;
diag("SEED=$seed");
my %small = ('writecache.buffer_size' => '1MB', autovacuum => 'off', 'writecache.sync_interval' => '0');
my $node = server('bad_files', %small);
my $folder = $node->data_dir . '/pg_dynshmem';
my $file = "$folder/pg_writecache.buffer";
my $block = 64 * 1024;
my $rows = 600;

sub contents
{
	open my $in, '<:raw', shift or die $!;
	local $/ = undef;
	return <$in>;
}

sub write_contents
{
	my $bytes = shift;
	open my $out, '>:raw', $file or die "$file: $!";
	print $out $bytes;
	close $out or die $!;
	chmod 0600, $file;
	return;
}

sub quarantined { return scalar(my @files = glob "$folder/*.quarantined.*"); }

# A file with rows 1 .. $rows, all pending, in several blocks.
attached_table($node, 't', 'n int, filling text');
$node->safe_psql('postgres', "INSERT INTO t SELECT g, repeat('x', 1000) FROM generate_series(" . (100 * $_ - 99) . ', ' . 100 * $_ . ') AS g')
  for 1 .. $rows / 100;
$node->stop('immediate');
my $good = contents($file);

# Starts with a file that `make` has put in place, and returns what the log says. The rows found are a part of those that
# were there, each once; the table takes new ones; then everything is as before.
sub start_with
{
	my ($what, $make, $least, $most) = @_;
	unlink $file;
	$make->();
	my $from = -s $node->logfile;
	$node->start;
	my ($count, $different, $strange) = split /\|/, $node->safe_psql('postgres', qq{
		SELECT count(*), count(DISTINCT n), count(*) FILTER (WHERE n NOT BETWEEN 1 AND $rows OR filling <> repeat('x', 1000)) FROM t});
	ok($count == $different && $strange == 0 && $count >= $least && $count <= $most,
		"$what: $count rows, $different different, $strange strange; $least to $most expected");
	$node->safe_psql('postgres', 'INSERT INTO t VALUES (0)');
	$node->safe_psql('postgres', 'SELECT writecache.flush()');
	is($node->safe_psql('postgres', 'SET writecache.read_pending = off; SELECT count(*) FROM t'), $count + 1, '... and new ones');
	my $log = slurp_file($node->logfile, $from);
	# The table as if it had never been flushed.
	$node->safe_psql('postgres', 'TRUNCATE t; DELETE FROM writecache.watermark');
	$node->stop('immediate');
	return $log;
}

sub flip
{
	my ($bytes, $times, $from, $to) = @_;
	substr($bytes, $from + int rand($to - $from), 1) = chr int rand 256 for 1 .. $times;
	return $bytes;
}

start_with('the file as it was', sub { write_contents($good) }, $rows, $rows);

# damage
my $used = 2 * $block + $rows * 1100;
for my $try (1 .. 4)
{
	my $log = start_with("bytes changed in the blocks, $try", sub { write_contents(flip($good, 5, $block, $used)) }, 0, $rows);
	like($log, qr/WARNING:  write buffer file .* is damaged.*HINT/s, '... the log says so') if $log =~ /damaged/;
}
my $log = start_with('a block full of garbage', sub { write_contents(flip($good, 1_000_000, 2 * $block, 3 * $block)) }, 1, $rows - 1);
like($log, qr/WARNING:  write buffer file .* is damaged.*DETAIL.*HINT/s, '... with a warning and a hint');
start_with('one copy of the header changed', sub { write_contents(flip($good, 3, 0, 80)) }, $rows, $rows);
is(quarantined(), 0, 'none of these was set aside');
my $aside = 0;
$log = start_with('both copies of the header changed',
	sub { write_contents(('x' x 80) . substr($good, 80, 4016) . ('y' x 80) . substr($good, 4176)) }, 0, 0);
is(quarantined(), ++$aside, '... is set aside');
like($log, qr/WARNING:  write buffer file .* cannot be used: its header is unreadable.*DETAIL.*renamed.*HINT/s, '... with a warning and a hint');

# on a disk that does not give all of it back: the notes and one header, a page of rows, the beginning of a block
for my $pages ('4096,8192', 3 * $block + 8192, 2 * $block)
{
	local $ENV{PGWC_TEST_UNREADABLE} = $pages;
	my $least = $pages eq '4096,8192' ? $rows : 1;
	$log = start_with("unreadable at $pages", sub { write_contents($good) }, $least, $rows - ($least == 1));
	like($log, qr/WARNING:  write buffer file .* cannot be read in [12] pages.*DETAIL.*renamed.*HINT/s, '... with a warning and a hint');
	is(contents("$file.quarantined." . ++$aside), $good, '... and the file is kept');
}
{
	local $ENV{PGWC_TEST_UNREADABLE} = '0,4096';
	start_with('both headers unreadable', sub { write_contents($good) }, 0, 0);
	is(quarantined(), $aside += 2, '... is set aside');
}

# cut off
for my $length (length($good) - 1000, 4 * $block + 777, 2 * $block, $block, 8192)
{
	$log = start_with("cut off behind $length bytes", sub { write_contents(substr $good, 0, $length) },
		$length > 4 * $block ? 1 : 0, $length > $used ? $rows : $rows - 1);
	like($log, qr/WARNING:  write buffer file .* is truncated.*DETAIL.*HINT/s, '... with a warning and a hint');
}
$log = start_with('cut off in the header', sub { write_contents(substr $good, 0, 50) }, 0, 0);
is(quarantined(), ++$aside, '... is set aside');
start_with('an empty file', sub { write_contents('') }, 0, 0);
is(quarantined(), $aside, '... is taken');

# of another kind
my $version = sub { my $bytes = shift; substr($bytes, $_ + 8, 4) = pack 'L', 99 for 0, 4096; return $bytes };
$log = start_with('another version of the format', sub { write_contents($version->($good)) }, 0, 0);
like($log, qr/cannot be used: it was written by another version.*HINT/s, '... says the log');
is(contents("$file.quarantined." . ++$aside), $version->($good), '... and its bytes are kept');
$log = start_with('a folder', sub { mkdir $file or die $! }, 0, 0);
like($log, qr/cannot be used: it is not a file/, '... says the log');
ok(-d "$file.quarantined." . ++$aside, '... and it is kept');
PostgreSQL::Test::Utils::system_or_bail('mkfifo', "$folder/pipe");
start_with('a pipe', sub { rename "$folder/pipe", $file or die $! }, 0, 0);
is(quarantined(), ++$aside, '... is set aside');

# A file that may hold acknowledged rows is not set aside because somebody has changed its mode.
SKIP:
{
	skip 'root may read everything', 2 if $> == 0;
	write_contents($good);
	chmod 0, $file;
	my $from = -s $node->logfile;
	ok(!$node->start(fail_ok => 1), 'a file that may not be read: the server does not start');
	like(slurp_file($node->logfile, $from), qr/FATAL:  could not prepare write buffer file .*Permission denied.*HINT/s, '... and says why');
	$node->{_pid} = undef;
	chmod 0600, $file;
}
start_with('the file as it was, again', sub { write_contents($good) }, $rows, $rows);

# of another cluster
my $other = server('other', %small);
attached_table($other, 't', 'n int, filling text');
$other->safe_psql('postgres', "INSERT INTO t VALUES (-1, 'of another cluster')");
$other->stop('immediate');
$log = start_with('the file of another cluster',
	sub { write_contents(contents($other->data_dir . '/pg_dynshmem/pg_writecache.buffer')) }, 0, 0);
like($log, qr/cannot be used: it belongs to another database cluster.*HINT/s, '... says the log');
is(quarantined(), ++$aside, '... is set aside');
start_with('the file as it was, once more', sub { write_contents($good) }, $rows, $rows);
done_testing();
