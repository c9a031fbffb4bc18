# A statement that another library watches, having decided so after us, has the same parts in a parallel query's leader as in
# its workers, also while the buffer is empty.
use strict;
use warnings;
use Test::More;
use WriteCacheTest;

my $node = server(
	'parallel_and_watched',
	shared_preload_libraries => 'auto_explain, pg_writecache',
	'auto_explain.log_min_duration' => '0',
	'auto_explain.log_analyze' => 'on',
	autovacuum => 'off',
	parallel_setup_cost => 0,
	parallel_tuple_cost => 0,
	min_parallel_table_scan_size => 0,
	max_parallel_workers_per_gather => 2);
$node->safe_psql('postgres', q{
CREATE TABLE plain AS SELECT n AS id, n % 10 AS a FROM generate_series(1, 5000) n;
CREATE TABLE t AS SELECT * FROM plain WHERE id <= 1000;
ANALYZE t;
ANALYZE plain;
SELECT writecache.attach('t', 'write_back', flush_interval => '1 day')});

# The table is read inside of a worker as a whole, by many workers together, and in a subquery.
my %queries = (
	'the inner side of a join' => 'SET enable_parallel_hash = off; SET enable_mergejoin = off; SELECT count(*) FROM plain JOIN t USING (id)',
	'a scan that workers share' => 'SELECT count(*) FROM t WHERE a = 3',
	'sorted by workers' => 'SET enable_hashagg = off; SELECT a FROM t WHERE a < 3 GROUP BY a ORDER BY a',
	'a subquery that workers hash' => 'SELECT count(*) FROM plain WHERE id NOT IN (SELECT id FROM t WHERE a = 3)',
	'both halves of a union' => 'SELECT count(*) FROM (SELECT id FROM t UNION ALL SELECT id FROM t) u',
);
for my $pending (0, 1)
{
	$node->safe_psql('postgres', 'INSERT INTO t SELECT 1000 + n, n FROM generate_series(1, 5) n') if $pending;
	for my $name (sort keys %queries)
	{
		my ($settings, $query) = $queries{$name} =~ /^((?:SET.*?; )*)(.*)$/;
		like($node->safe_psql('postgres', "${settings}EXPLAIN $query"), qr/Gather/, "$name: a parallel plan") if !$pending;
		my $alone = $node->safe_psql('postgres', "SET max_parallel_workers_per_gather = 0; $query");
		is($node->safe_psql('postgres', "$settings$query"), $alone, "$name: the answer, " . ($pending ? 'rows pending' : 'nothing pending'));
	}
}
$node->stop;
done_testing();
