# Rows that stay pending for longer than transaction ids last: their records lose the ids once every snapshot sees them, and
# no earlier. In builds for tests that is tried every 1000 ids.
use strict;
use warnings;
use Test::More;
use WriteCacheTest;

my $node = server('old', autovacuum => 'off', 'writecache.buffer_size' => '1MB', 'writecache.sync_interval' => '20ms');
my $file = $node->data_dir . '/pg_dynshmem/pg_writecache.buffer';
attached_table($node, 't', 'n int');
$node->safe_psql('postgres', 'CREATE TABLE plain (i int)');

# The transaction ids in published records.
sub ids
{
	open my $in, '<:raw', $file or die $!;
	local $/ = undef;
	my $bytes = <$in>;
	my @ids;
	for (my $at = 65536; $at < length $bytes; $at += 32)
	{
		my ($magic, $state, $xid) = unpack 'L x28 L L', substr $bytes, $at, 40;
		push @ids, $xid if $magic == 0x4D524657 && $state == 0xE4A5169B;
	}
	return @ids;
}

sub burn_ids { $node->safe_psql('postgres', 'DO $$ BEGIN FOR i IN 1 .. 2500 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$'); return; }

my $reader = WriteCacheTest::Session->new($node);
$reader->query('BEGIN ISOLATION LEVEL REPEATABLE READ');
is($reader->query('SELECT count(*) FROM t'), 0, 'a snapshot from before');
$node->safe_psql('postgres', 'INSERT INTO t VALUES (1)');
$node->safe_psql('postgres', 'BEGIN; INSERT INTO plain VALUES (2); INSERT INTO t VALUES (2); COMMIT');
burn_ids() for 1 .. 3;
is(scalar(grep { $_ > 2 } ids()), 2, 'the records keep their ids');
is($reader->query('SELECT count(*) FROM t'), 0, '... as long as a snapshot does not see them');
$reader->query('COMMIT');
wait_for { burn_ids(); !grep { $_ != 2 } ids() } 'the records to lose their ids';
is(scalar(my @ids = ids()), 2, 'then they do without');
is($reader->query('SELECT count(*) FROM t'), 2, '... and are seen');
$node->stop('immediate');
$node->start;
is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT n) FROM t'), '2|2', '... also after a crash');
$node->safe_psql('postgres', 'SELECT writecache.flush()');
is($node->safe_psql('postgres', 'SET writecache.read_pending = off; SELECT count(*), count(DISTINCT n) FROM t'), '2|2', '... and are stored once');
$node->stop;
done_testing();
