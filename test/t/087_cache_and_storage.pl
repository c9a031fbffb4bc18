# Cached rows of tables whose pages say nothing about changes, or whose files are exchanged, moved or copied: unlogged tables,
# changes that are not logged because the table is new in the transaction (wal_level = minimal), COPY FREEZE, tablespaces,
# databases made by copying files, places beyond the end of a file that shrank. After each step every row is read through the
# cache and from the table, in one snapshot.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Utils;
use Test::More;
use WriteCacheTest;

my $keys = join ',', 0 .. 45;

sub compare
{
	my ($table) = @_;
	return qq{SELECT coalesce(string_agg(coalesce(c.r, '-') || ' <> ' || coalesce(s.r, '-'), '; '), 'same')
		FROM (SELECT id, t::text AS r FROM $table t WHERE id = ANY ('{$keys}')) c FULL JOIN (SELECT id, t::text AS r FROM $table t TABLESAMPLE SYSTEM (100)) s USING (id)
		WHERE c.r IS DISTINCT FROM s.r};
}

# Runs it, and says "ok" or what went wrong.
sub run
{
	my ($session, $sql) = @_;
	my $said = $session->query($sql);
	return $said =~ /^(ERROR.*)/m ? $1 : 'ok';
}

# A step, and then reads of every session, twice: what the first puts in, the second finds.
sub step
{
	my ($who, $sql, $table, @readers) = @_;
	my @said = (run($who, $sql), map { ($_->query(compare($table))) x 1, $_->query(compare($table)) } @readers);
	is("@said", join(' ', 'ok', ('same') x (2 * @readers)), "$table: " . substr($sql =~ s/\s+/ /gr, 0, 150));
	return;
}

sub uses_cache
{
	my ($session, $table) = @_;
	my $plan = $session->query("EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) SELECT * FROM $table WHERE id = ANY ('{$keys}')");
	my ($hits) = $plan =~ /"Cache Hits": (\d+)/;
	ok($hits, "$table: the cache is in use");
	return;
}

my $rows = q{SELECT g, 'first', g FROM generate_series(1, 20) g};
for my $threshold ('0', '1GB')
{
	my $node = server("minimal_$threshold", wal_level => 'minimal', max_wal_senders => 0, wal_skip_threshold => $threshold, wal_log_hints => 'off', autovacuum => 'off',
		max_prepared_transactions => 2);
	my ($own, $other) = map { WriteCacheTest::Session->new($node) } 1 .. 2;
	for my $mode ('write_around', 'write_through')
	{
		# New in its transaction.
		my $t = "n_$mode";
		step($own, "BEGIN; CREATE TABLE $t (id int PRIMARY KEY, v text, w int) WITH (fillfactor = 40); INSERT INTO $t $rows; SELECT writecache.attach('$t', '$mode')", $t, $own);
		step($own, "UPDATE $t SET v = 'second'", $t, $own);
		step($own, "SAVEPOINT a; UPDATE $t SET v = 'third' WHERE id < 9; DELETE FROM $t WHERE id = 9", $t, $own);
		step($own, 'ROLLBACK TO a', $t, $own);
		step($own, 'COMMIT', $t, $own, $other);
		step($own, "UPDATE $t SET v = 'fourth' WHERE id < 5", $t, $other, $own);

		# TRUNCATE: what follows in the transaction is not logged; rolled back, the old file is there again.
		for my $end ('ROLLBACK', 'COMMIT')
		{
			step($own, "BEGIN; UPDATE $t SET v = 'before' WHERE id = 1; TRUNCATE $t; INSERT INTO $t SELECT g, 'new', g FROM generate_series(20, 3, -1) g", $t, $own);
			step($own, "UPDATE $t SET v = 'newer' WHERE id < 9", $t, $own);
			step($own, "SAVEPOINT b; TRUNCATE $t; INSERT INTO $t SELECT g, 'newest', g FROM generate_series(1, 30) g", $t, $own);
			step($own, "UPDATE $t SET v = 'newest of all'", $t, $own);
			step($own, 'ROLLBACK TO b', $t, $own);
			step($own, "UPDATE $t SET v = 'new again' WHERE id = 10", $t, $own);
			step($own, $end, $t, $other, $own);
			step($other, "UPDATE $t SET w = w + 1 WHERE id < 15", $t, $own, $other);
		}
		# Rows that everybody sees from the commit on.
		for my $end ('ROLLBACK', 'COMMIT')
		{
			step($own, "BEGIN; TRUNCATE $t; COPY $t FROM PROGRAM 'seq -f \%g,frozen,7 30 -1 1' (FORMAT csv, FREEZE)", $t, $own);
			step($own, $end, $t, $other, $own);
			step($own, "UPDATE $t SET v = 'thawed' WHERE id < 5; VACUUM $t", $t, $other, $own);
		}
		# Rewrites, kept and taken back.
		step($own, "BEGIN; ALTER TABLE $t ALTER w TYPE bigint; UPDATE $t SET v = 'in a rewrite' WHERE id = 3", $t, $own);
		step($own, 'ROLLBACK', $t, $other, $own);
		step($own, "CLUSTER $t USING ${t}_pkey", $t, $other, $own);
		step($own, "VACUUM FULL $t", $t, $other, $own);
		step($own, "BEGIN; ALTER TABLE $t SET UNLOGGED; UPDATE $t SET v = 'unlogged' WHERE id < 4", $t, $own);
		step($own, 'ROLLBACK', $t, $other, $own);
		step($own, "ALTER TABLE $t SET UNLOGGED", $t, $other, $own);
		step($own, "UPDATE $t SET v = 'unlogged' WHERE id < 4", $t, $other, $own);
		step($own, "ALTER TABLE $t SET LOGGED", $t, $other, $own);
		step($own, "UPDATE $t SET v = 'logged' WHERE id < 4", $t, $other, $own);
		step($own, "BEGIN; TRUNCATE $t; INSERT INTO $t SELECT g, 'prepared', g FROM generate_series(1, 9) g; UPDATE $t SET w = 0; PREPARE TRANSACTION 'p'; COMMIT PREPARED 'p'", $t, $other, $own);
		uses_cache($_, $t) for $own, $other;
	}
	$_->finish for $own, $other;
	$node->stop('immediate');
	$node->start;
	$own = WriteCacheTest::Session->new($node);
	step($own, 'SELECT 1', "n_$_", $own) for 'write_around', 'write_through';
	$own->finish;
	$node->stop;
}

my $node = server('storage', autovacuum => 'off', wal_log_hints => 'off');
my ($writer, $reader) = map { WriteCacheTest::Session->new($node) } 1 .. 2;
# Unlogged: no page tells of a change.
step($writer, "CREATE UNLOGGED TABLE u (id int PRIMARY KEY, v text, w int) WITH (fillfactor = 30); CREATE INDEX ON u (w); INSERT INTO u $rows; SELECT writecache.attach('u', 'write_around')", 'u', $reader);
step($writer, $_, 'u', $reader, $writer) for "UPDATE u SET v = 'HOT' WHERE id < 9", 'VACUUM u', "UPDATE u SET v = v || '+', w = w + 1 WHERE id < 5", 'VACUUM FREEZE u',
  'DELETE FROM u WHERE id IN (3, 4)', 'VACUUM u', "INSERT INTO u VALUES (41, 'in its place', 1), (42, 'in its place', 1)",
  "BEGIN; UPDATE u SET v = 'rolled back'; ROLLBACK", 'VACUUM u', 'BEGIN; UPDATE u SET id = 0 WHERE id = 1; UPDATE u SET id = 1 WHERE id = 2; UPDATE u SET id = 2 WHERE id = 0; COMMIT',
  'TRUNCATE u', "INSERT INTO u $rows";
step($writer, "BEGIN; UPDATE u SET v = 'not yet' WHERE id = 5; SAVEPOINT s; DELETE FROM u WHERE id = 6", 'u', $reader, $writer);
step($writer, 'ROLLBACK TO s', 'u', $reader, $writer);
step($writer, 'COMMIT', 'u', $reader, $writer);
uses_cache($reader, 'u');

# The end of the file goes and comes back.
step($writer, "CREATE TABLE s (id int PRIMARY KEY, v text); INSERT INTO s SELECT g, repeat('s', 1500) FROM generate_series(1, 40) g; SELECT writecache.attach('s', 'write_around')", 's', $reader);
step($writer, $_, 's', $reader, $writer) for 'DELETE FROM s WHERE id > 3', 'VACUUM s', "INSERT INTO s SELECT g, repeat('t', 1500) FROM generate_series(40, 4, -1) g",
  'DELETE FROM s WHERE id < 30', 'VACUUM s', "INSERT INTO s SELECT g, 'u' FROM generate_series(1, 29) g";

# Elsewhere.
my $place = $node->basedir . '/elsewhere';
mkdir $place or die "$place: $!";
$node->safe_psql('postgres', "CREATE TABLESPACE elsewhere LOCATION '$place'");
step($writer, $_, 's', $reader, $writer) for 'ALTER TABLE s SET TABLESPACE elsewhere', "UPDATE s SET v = 'moved' WHERE id < 9", 'ALTER TABLE s SET TABLESPACE pg_default', "UPDATE s SET v = 'back' WHERE id < 5",
  'REINDEX TABLE CONCURRENTLY s', "UPDATE s SET v = 'reindexed' WHERE id < 3", 'REINDEX TABLE s', 'CREATE UNIQUE INDEX CONCURRENTLY s2 ON s (id)',
  'ALTER TABLE s DROP CONSTRAINT s_pkey, ADD PRIMARY KEY USING INDEX s2', "UPDATE s SET v = 'another index' WHERE id < 3";
$_->finish for $writer, $reader;

# Databases with the same tables, whose pages have the same numbers and the same LSNs.
$node->safe_psql('postgres', 'CREATE DATABASE original');
$node->safe_psql('original', "CREATE EXTENSION pg_writecache; CREATE TABLE t (id int PRIMARY KEY, v text) WITH (fillfactor = 50); INSERT INTO t SELECT g, 'original' FROM generate_series(1, 20) g; SELECT writecache.attach('t', 'write_around')");
sub same_in
{
	my ($what, %expected) = @_;
	for my $database (sort keys %expected)
	{
		is($node->safe_psql($database, compare('t') . "; SELECT v FROM t WHERE id = 7"), "same\n$expected{$database}", "$what: $database") for 1 .. 2;
	}
	return;
}
same_in('before', original => 'original');
for my $strategy ('file_copy', 'wal_log')
{
	$node->safe_psql('postgres', "CREATE DATABASE copy TEMPLATE original STRATEGY $strategy");
	same_in($strategy, original => 'original', copy => 'original');
	$node->safe_psql('copy', "UPDATE t SET v = 'copy' WHERE id = 7");
	same_in("$strategy, changed", original => 'original', copy => 'copy');
	$node->safe_psql('postgres', 'ALTER DATABASE copy SET TABLESPACE elsewhere');
	same_in('moved', original => 'original', copy => 'copy');
	$node->safe_psql('copy', "UPDATE t SET v = 'moved' WHERE id = 7; VACUUM t");
	same_in('moved, changed', original => 'original', copy => 'moved');
	$node->safe_psql('postgres', 'DROP DATABASE copy');
}

# An unlogged table is empty after a crash, and begins anew.
$node->stop('immediate');
$node->start;
$reader = WriteCacheTest::Session->new($node);
step($reader, 'SELECT 1', 'u', $reader);
is($reader->query("SELECT count(*) FROM u WHERE id = ANY ('{$keys}')"), 0, 'u: empty after a crash');
step($reader, "INSERT INTO u SELECT g, 'after the crash', g FROM generate_series(20, 1, -1) g", 'u', $reader);
step($reader, $_, 'u', $reader) for "UPDATE u SET v = 'changed' WHERE id < 5", 'VACUUM u';
step($reader, 'SELECT 1', 's', $reader);
$reader->finish;
$node->stop;
done_testing();
