# A disk that does not take the buffer file: what is pending is stored, new rows go to their tables at once, and when the
# disk takes it again so does the buffer.
use strict;
use warnings;
use Test::More;
use PostgreSQL::Test::Utils;
use WriteCacheTest;

my $failing = PostgreSQL::Test::Utils::tempdir() . '/failing';
$ENV{PGWC_TEST_SYNC_FAILS} = $failing;
my $node = server('failing_disk', autovacuum => 'off', 'writecache.sync_interval' => '50ms');
attached_table($node, 't', 'n int');
attached_table($node, 'u', 'n int');
my $in_table = "SET writecache.read_pending = off; SELECT count(*) FROM";

$node->safe_psql('postgres', 'INSERT INTO t VALUES (1); INSERT INTO u VALUES (1)');
is($node->safe_psql('postgres', "$in_table t"), 0, 'rows are pending');
open my $file, '>', $failing or die $!;
close $file or die $!;
# A new row is a reason to sync.
$node->safe_psql('postgres', 'INSERT INTO t VALUES (2)');
ok($node->poll_query_until('postgres', 'SELECT sum(rows_pending) = 0 FROM writecache.stat_write_back'),
	'the disk fails: what is pending is stored');
is($node->safe_psql('postgres', "$in_table t"), 2, '... in one table');
is($node->safe_psql('postgres', "$in_table u"), 1, '... and in the other');
ok($node->log_contains('WARNING:  could not sync write buffer file .*Input/output error'), '... with a warning');
$node->safe_psql('postgres', 'INSERT INTO u VALUES (2)');
is($node->safe_psql('postgres', "$in_table u"), 2, '... and new rows go to the table');
unlink $failing or die $!;
wait_for {
	my $rows = $node->safe_psql('postgres', 'INSERT INTO u VALUES (3); SELECT sum(rows_pending) FROM writecache.stat_write_back');
	$rows > 0;
} 'the buffer to be used again';
ok($node->log_contains('LOG:  write buffer file .* is in sync again'), '... and the log says so');
$node->stop;
done_testing();
