# What is attached to the row cache is so in a restored dump, plain or restored by several processes, and a restored
# database reads what is in its own tables.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Utils;
use Test::More;
use WriteCacheTest;

my $node = server('dumps');
$node->safe_psql('postgres', 'CREATE DATABASE d');
$node->safe_psql(
	'd', q{
	CREATE EXTENSION pg_writecache;
	CREATE TABLE around (id int PRIMARY KEY, "Kéy" text NOT NULL, n int, UNIQUE (n, "Kéy"));
	INSERT INTO around SELECT g, 'k' || g, g FROM generate_series(1, 100) g;
	SELECT writecache.attach('around', 'write_around', key => '{n,"Kéy"}');
	ALTER TABLE around RENAME n TO number;
	CREATE TABLE through (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
	CREATE TABLE through_1 PARTITION OF through FOR VALUES FROM (0) TO (50);
	CREATE TABLE through_2 PARTITION OF through FOR VALUES FROM (50) TO (200);
	INSERT INTO through SELECT g, 'v' || g FROM generate_series(1, 100) g;
	SELECT writecache.attach('through', 'write_through');
	CREATE VIEW sums AS SELECT id % 10 AS digit, count(*) AS n FROM through GROUP BY 1;
	SELECT writecache.attach('sums', 'cache_aside', key => '{digit}', max_staleness => '1 hour');
	SELECT count(*) FROM writecache.get_many(NULL::around, ARRAY[1, 2], ARRAY['k1', 'k2']);
	SELECT writecache.warm('through'), writecache.get(NULL::sums, 3);
});
my $attached = 'SELECT relation, mode, key, max_staleness FROM writecache.tables ORDER BY relation::text';
my $expected = $node->safe_psql('d', $attached);
like($expected, qr/^around\|write_around\|\{number,/m, 'the dumped key has the new name');

my $dir = $node->basedir;
$node->command_ok([ 'pg_dump', '-f', "$dir/plain.sql", 'd' ], 'a plain dump');
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/custom", 'd' ], 'a custom one');
for my $way ('plain', 'custom')
{
	$node->safe_psql('postgres', "CREATE DATABASE $way");
	if ($way eq 'plain')
	{
		$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/plain.sql", $way ], "$way: restored");
	}
	else
	{
		$node->command_ok([ 'pg_restore', '-e', '-j', '2', '-d', $way, "$dir/custom" ], "$way: restored");
	}
	is($node->safe_psql($way, $attached), $expected, "$way: all is attached");
	is( $node->safe_psql($way, "UPDATE around SET number = -5 WHERE id = 5; UPDATE through SET v = 'restored' WHERE id = 60;
			SELECT r FROM writecache.get_many(NULL::around, ARRAY[5, -5], ARRAY['k5', 'k5']) r;
			SELECT v FROM through WHERE id = 60; SELECT writecache.get(NULL::sums, 3);
			SELECT relation, entries FROM writecache.stat_cache ORDER BY relation::text"),
		"(,,)\n(5,k5,-5)\nrestored\n(3,10)\naround|1\nsums|1\nthrough_1|0\nthrough_2|1",
		"$way: reads and writes go through the cache, which has nothing of the database that was dumped");
}
is($node->safe_psql('d', 'SELECT r FROM writecache.get(NULL::around, 5, $$k5$$::text) r; SELECT v FROM through WHERE id = 60'),
	"(5,k5,5)\nv60", 'that one is as it was');

# A table that is created from another has an attachment of its own or none.
$node->safe_psql('d', 'DROP TABLE through CASCADE; DROP TABLE around; CREATE TABLE around (id int PRIMARY KEY, v text); INSERT INTO around VALUES (1, $$x$$)');
is($node->safe_psql('d', 'SELECT count(*) FROM writecache.attached; SELECT * FROM around WHERE id = 1'), "0\n1|x", 'dropped tables are detached');
$node->stop;
done_testing();
