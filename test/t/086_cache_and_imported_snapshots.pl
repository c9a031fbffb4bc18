# A generic plan that reads through the row cache, run in a snapshot that is older than the unique index: there several rows
# may have one key, and every one of them is a row of the answer, as without the cache.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Utils;
use Test::More;
use WriteCacheTest;

my $node = server('imported', autovacuum => 'off');
my @sessions = map { WriteCacheTest::Session->new($node) } 1 .. 2;
my ($old, $reader) = @sessions;
$node->safe_psql('postgres', q{
	CREATE TABLE t (id text NOT NULL, part int NOT NULL DEFAULT 0, v text);
	INSERT INTO t VALUES ('1', 0, 'a'), ('1', 0, 'b'), ('2', 0, 'c'), ('3', 0, 'd'), ('3', 0, 'e'), ('3', 0, 'f');
	INSERT INTO t SELECT 'x' || g, 1, 'more' FROM generate_series(1, 1000) g;
	CREATE TABLE wanted (k text);
	INSERT INTO wanted VALUES ('1'), ('2'), ('3'), ('4')});

# A cursor goes to the end and back.
$node->safe_psql('postgres', q{
	CREATE FUNCTION to_and_fro(k text) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE c SCROLL CURSOR FOR SELECT v FROM t WHERE part = 0 AND id = k; r text; line text := '';
	BEGIN
		OPEN c;
		LOOP FETCH NEXT FROM c INTO r; EXIT WHEN NOT FOUND; line := line || r; END LOOP;
		LOOP FETCH PRIOR FROM c INTO r; EXIT WHEN NOT FOUND; line := line || r; END LOOP;
		CLOSE c;
		RETURN line;
	END $$});
# Before there was an index.
my $snapshot = $old->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pg_export_snapshot()');
$node->safe_psql('postgres', $_) for split /;\n/, q{
	DELETE FROM t WHERE v IN ('b', 'e', 'f');
	CREATE UNIQUE INDEX t_key ON t (id, part);
	VACUUM ANALYZE t;
	ANALYZE wanted;
	SELECT writecache.attach('t', 'write_around', key => '{id,part}')};

my %queries = (
	one => [ 'text', q{SELECT string_agg(v, ' ' ORDER BY v) FROM t WHERE part = 0 AND id = $1}, "'1'", 'a', 'a b' ],
	several => [ 'text[]', q{SELECT string_agg(v, ' ' ORDER BY v) FROM t WHERE part = 0 AND id = ANY ($1)}, "ARRAY['3', '1', '3', '4']", 'a d', 'a b d e f' ],
	correlated => [ 'int', q{SELECT string_agg((SELECT k || string_agg(v, '' ORDER BY v) FROM t WHERE part = $1 AND id = k), ' ' ORDER BY k) FROM wanted},
		'0', '1a 2c 3d', '1ab 2c 3def' ],
	first => [ 'text', q{SELECT count(*) FROM (SELECT v FROM t WHERE part = 0 AND id = $1 LIMIT 2) l}, "'3'", 1, 2 ]);
$reader->query('SET plan_cache_mode = force_generic_plan; SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_seqscan = off');
for my $name (sort keys %queries)
{
	my ($type, $query, $value, $now) = @{ $queries{$name} };
	$reader->query("PREPARE $name ($type) AS $query");
	is($reader->query("EXECUTE $name ($value)"), $now, "$name: in a new snapshot") for 1 .. 2;
	like($reader->query("EXPLAIN (COSTS OFF) EXECUTE $name ($value)"), qr/RowCache/, "$name: through the cache");
}
is($reader->query("SELECT to_and_fro('1'), to_and_fro('3'), to_and_fro('4')"), 'aa|dd|', 'to and fro: in a new snapshot') for 1 .. 2;
is($reader->query("BEGIN ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION SNAPSHOT '$snapshot'; SELECT string_agg(v, ' ' ORDER BY v) FROM t WHERE part = 0"),
	'a b c d e f', 'the old snapshot');
for my $name (sort keys %queries)
{
	my ($value, $then) = @{ $queries{$name} }[ 2, 4 ];
	is($reader->query("EXECUTE $name ($value)"), $then, "$name: in the old one") for 1 .. 2;
	like($reader->query("EXPLAIN (COSTS OFF) EXECUTE $name ($value)"), qr/RowCache/, "$name: by the same plan");
}
is($reader->query("SELECT to_and_fro('1'), to_and_fro('3'), to_and_fro('4')"), 'abba|deffed|', 'to and fro: in the old one') for 1 .. 2;
$reader->query('COMMIT');
is($reader->query("EXECUTE $_ ($queries{$_}[2])"), $queries{$_}[3], "$_: in a new snapshot again") for sort keys %queries;
$_->finish for @sessions;
$node->stop;
done_testing();
