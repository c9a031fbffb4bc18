# Logical replication of a write_back table: each row comes to the subscriber once, by the copy that the subscription begins
# with or by what is flushed afterwards, whatever is pending when it begins.
use strict;
use warnings;
use Test::More;
use WriteCacheTest;

my $node = server('logical_source', wal_level => 'logical', max_wal_senders => 10, max_replication_slots => 10, autovacuum => 'off');
my $copy = server('logical_target', autovacuum => 'off', max_logical_replication_workers => 8);
my @tables = ('t', 'filtered', 'parted', 'back');
my $tables = q{
CREATE TABLE t (n int, what text);
CREATE TABLE filtered (n int, what text);
CREATE TABLE parted (n int, what text) PARTITION BY RANGE (n);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (50);
CREATE TABLE parted_2 PARTITION OF parted DEFAULT;
CREATE TABLE back (n int, what text);
};
$_->safe_psql('postgres', $tables) for $node, $copy;
$node->safe_psql('postgres', join ';', map { "SELECT writecache.attach('$_', 'write_back', flush_interval => '1 day')" } @tables);
# On the other side one is attached, too: what apply workers store goes around the buffer.
$copy->safe_psql('postgres', "SELECT writecache.attach('back', 'write_back', flush_interval => '1 day')");

my $rows = 0;
sub insert_next
{
	my $first = $rows + 1;
	$rows += 30;
	return join '', map { "INSERT INTO $_ SELECT g, 'row ' || g FROM generate_series($first, $rows) AS g;" } @tables;
}
sub counts
{
	return shift->safe_psql('postgres', 'SELECT ' . join ', ', map { "(SELECT count(*) || '/' || count(DISTINCT n) FROM $_)" } @tables);
}
sub all_of { return join '|', map { my $n = $_ eq 'filtered' ? $rows - 5 : $rows; "$n/$n" } @tables; }

# Some rows are stored, some pending, some being stored when the subscription begins.
$node->safe_psql('postgres', insert_next());
$node->safe_psql('postgres', 'SELECT writecache.flush()');
$node->safe_psql('postgres', insert_next());
$node->safe_psql('postgres', 'CREATE PUBLICATION p FOR TABLE t, filtered WHERE (n > 5), parted, back WITH (publish_via_partition_root)');
reconfigure($node, 'writecache.injection_point' => 'flush-rows-stored', 'writecache.injection_action' => 'stop');
my $worker = worker_of($node);
my $flush = in_background($node, "SELECT writecache.flush('t')");
wait_for { is_stopped($worker) } 'the worker to stop';
reconfigure($node, 'writecache.injection_point' => '');
my $source = $node->connstr('postgres');
# The slot waits for transactions that run.
my $subscribe = in_background($copy, "CREATE SUBSCRIPTION s CONNECTION \$c\$$source\$c\$ PUBLICATION p");
$node->poll_query_until('postgres', "SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'walsender'");
$node->safe_psql('postgres', insert_next());
wait_for { kill 'CONT', $worker; !is_stopped($worker) } 'the worker to go on';
$flush->finish;
$subscribe->finish;
$node->safe_psql('postgres', insert_next());
$copy->poll_query_until('postgres', q{SELECT count(*) = 4 AND bool_and(srsubstate IN ('r', 's')) FROM pg_subscription_rel});
isnt($node->safe_psql('postgres', 'SELECT sum(rows_pending) FROM writecache.stat_write_back'), 0, 'rows are pending after the copy');
$node->safe_psql('postgres', 'SELECT writecache.flush()');
$node->wait_for_catchup('s');
is(counts($copy), all_of(), 'every row once');
is(counts($node), join('|', ("$rows/$rows") x @tables), '... as at its source');

# And again for what comes later.
$node->safe_psql('postgres', insert_next());
$node->safe_psql('postgres', 'SELECT writecache.flush()');
$node->wait_for_catchup('s');
is(counts($copy), all_of(), 'what is flushed comes after');
$copy->safe_psql('postgres', 'DROP SUBSCRIPTION s');

# Who takes a copy beside a slot by other means says what it wants.
$node->safe_psql('postgres', insert_next());
my ($code, $out) = $node->psql('postgres', 'SELECT count(*) FROM t', replication => 'database');
is($out, $rows - 30, 'a replication connection sees the table alone');
is($node->safe_psql('postgres', 'SET writecache.read_pending = off; SELECT count(*) FROM t'), $rows - 30, 'as any other with read_pending off');
is($node->safe_psql('postgres', 'SELECT count(*) FROM t'), $rows, 'all others see all');
$_->stop for $copy, $node;
done_testing();
