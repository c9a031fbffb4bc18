# The row cache of a standby: rows by key come from it and are right while the primary's changes are replayed; what writes says
# that the server is read-only; a promoted standby goes on.
use strict;
use warnings;
use Test::More;
use Time::HiRes 'time';
use WriteCacheTest;

my $primary = PostgreSQL::Test::Cluster->new('cache_primary');
$primary->init(allows_streaming => 1);
configure($primary, shared_preload_libraries => 'pg_writecache', fsync => 'off', autovacuum => 'off', max_prepared_transactions => 5,
	log_statement => 'none');
$primary->start;
$primary->safe_psql('postgres', q{
	CREATE EXTENSION pg_writecache;
	CREATE TABLE t (id int PRIMARY KEY, v int, w int, pad text) WITH (fillfactor = 50);
	CREATE INDEX ON t (w);
	INSERT INTO t SELECT g, g, 0, repeat('x', 100 * g) FROM generate_series(1, 40) g;
	CREATE TABLE b (id int PRIMARY KEY, v int);
	SELECT writecache.attach('t', 'write_around'), writecache.attach('b', 'write_back');
	CREATE FUNCTION hits(query text) RETURNS int LANGUAGE plpgsql AS $$
	DECLARE plan json;
	BEGIN
	  EXECUTE 'EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) ' || query INTO plan;
	  RETURN coalesce((plan #>> '{0,Plan,Cache Hits}')::int, 0);
	END $$});
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('cache_standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
configure($standby, hot_standby_feedback => 'on', max_standby_streaming_delay => '-1');
$standby->start;
$primary->wait_for_catchup($standby);

my $reader = WriteCacheTest::Session->new($standby);
# Cached and stored in one statement, that is, in one snapshot.
my $compare = q{SELECT coalesce(string_agg(coalesce(c.r, '-') || ' <> ' || coalesce(s.r, '-'), '; '), 'same')
	FROM (SELECT id, t::text AS r FROM t WHERE id = ANY ('{1,2,3,4,5,6,7,8,9,10,41}')) c
	FULL JOIN (SELECT id, t::text AS r FROM t TABLESAMPLE SYSTEM (100) WHERE id = ANY ('{1,2,3,4,5,6,7,8,9,10,41}')) s USING (id)
	WHERE c.r IS DISTINCT FROM s.r};
my $hits = q{SELECT hits('SELECT v FROM t WHERE id = ANY (''{1,2,3,4,5,6,7,8,9,10}'')')};

is($reader->query($compare), 'same', 'filled');
is($reader->query($hits), 10, 'read from the cache of the standby');
is($reader->query(q{SELECT (writecache.get(NULL::t, 3)).v}), 3, 'get');
is($reader->query(q{SELECT string_agg(coalesce(v::text, '-'), ' ') FROM writecache.get_many(NULL::t, ARRAY[5, 77, 5, 1])}), '5 - 5 1', 'get_many');

# What the primary does is seen after it was replayed.
sub replayed
{
	my ($what, $sql, $check, $expected) = @_;
	$primary->safe_psql('postgres', $sql);
	$primary->wait_for_catchup($standby);
	is($reader->query($compare), 'same', $what);
	is($reader->query($check), $expected, "$what: the new state") if defined $check;
	return;
}
my $one = 'SELECT v FROM t WHERE id = 1';
replayed('a HOT update', 'UPDATE t SET v = 100 WHERE id = 1', $one, 100);
replayed('an update of the index', 'UPDATE t SET v = 101, w = 1 WHERE id = 1', $one, 101);
replayed('a rollback', 'BEGIN; UPDATE t SET v = 102 WHERE id = 1; SELECT pg_current_wal_insert_lsn(); ROLLBACK; CHECKPOINT', $one, 101);
replayed('VACUUM', 'VACUUM t', $one, 101);
replayed('keys that trade places',
	'BEGIN; UPDATE t SET id = 0 WHERE id = 1; UPDATE t SET id = 1 WHERE id = 2; UPDATE t SET id = 2 WHERE id = 0; COMMIT', $one, 2);
replayed('a deleted row whose place another key takes', 'DELETE FROM t WHERE id = 3', 'SELECT count(*) FROM t WHERE id = 3', 0);
replayed('a deleted row whose place another key takes', 'VACUUM t', 'SELECT count(*) FROM t WHERE id = 3', 0);
replayed('a deleted row whose place another key takes', "INSERT INTO t VALUES (41, 41, 0, 'x')", 'SELECT v FROM t WHERE id = 41', 41);
replayed('VACUUM FULL', 'VACUUM FULL t', $one, 2);
replayed('a new column', 'ALTER TABLE t ADD extra int DEFAULT 9', 'SELECT extra FROM t WHERE id = 1', 9);
replayed('FREEZE', 'VACUUM FREEZE t', $one, 2);
replayed('TRUNCATE', 'BEGIN; CREATE TEMP TABLE k AS SELECT * FROM t; TRUNCATE t; INSERT INTO t SELECT * FROM k ORDER BY id DESC; UPDATE t SET v = v + 1000; COMMIT',
	$one, 1002);
is($reader->query($hits), 9, 'the cache serves what there is');

# Prepared transactions.
replayed('a prepared transaction', "BEGIN; UPDATE t SET v = 7 WHERE id = 1; PREPARE TRANSACTION 'p'", $one, 1002);
replayed('a prepared transaction, rolled back', "ROLLBACK PREPARED 'p'", $one, 1002);
replayed('a prepared transaction', "BEGIN; UPDATE t SET v = 8 WHERE id = 1; PREPARE TRANSACTION 'p'", $one, 1002);
replayed('a prepared transaction, committed', "COMMIT PREPARED 'p'", $one, 8);

# An old snapshot stays what it was.
$reader->query('BEGIN ISOLATION LEVEL REPEATABLE READ');
is($reader->query($one), 8, 'a snapshot');
replayed('behind the back of a snapshot', 'UPDATE t SET v = 9, w = 2 WHERE id = 1', $one, 8);
is($standby->safe_psql('postgres', $one), 9, 'others fill the cache with the new row');
is($reader->query("$one; $compare"), "8\nsame", 'the old snapshot does not see it');
$reader->query('COMMIT');
is($reader->query("$one; $compare"), "9\nsame", 'a new one does');

# Reads while changes are replayed.
my $writer = in_background($primary, join ";\n", map {
	my $k = 1 + $_ % 10;
	my $n = $_ % 50;
	$n == 0 ? 'VACUUM t' :
	  $n == 1 ? 'TRUNCATE b' :
	  $n < 5 ? "BEGIN; DELETE FROM t WHERE id = $k; INSERT INTO t VALUES ($k, $_, 0, repeat('y', $_ % 3000)); COMMIT" :
	  $n < 8 ? "BEGIN; DELETE FROM t WHERE id = $k; UPDATE t SET id = $k WHERE id = 1 + ($k + 4) % 10; COMMIT; INSERT INTO t VALUES (1 + ($k + 4) % 10, 0, 0, 'z') ON CONFLICT DO NOTHING" :
	  $n < 12 ? "UPDATE t SET w = w + 1 WHERE id <= 5" : "UPDATE t SET v = v + 1 WHERE id = $k"
} 1 .. 4000);
my ($reads, $faults, $end) = (0, '', time + 6);
until (time > $end || $faults)
{
	my $said = $reader->query(join ";\n", ($compare) x 100);
	$reads += 100;
	$faults .= join "\n", grep { $_ ne 'same' } split /\n/, $said;
}
is($faults, '', "reads during replay");
note("$reads statements");
$writer->finish;
$primary->wait_for_catchup($standby);
is($reader->query($compare), 'same', 'after it');
ok($reader->query($hits) > 0, 'the cache is in use');
is($reader->query("SELECT count(*), sum(v) FROM t WHERE id = ANY ('{1,2,3,4,5,6,7,8,9,10}')"),
	$primary->safe_psql('postgres', 'SELECT count(*), sum(v) FROM t WHERE id <= 10'), 'as on the primary');

# The cache is the server's own: evict and invalidate work; what writes does not, and says why.
is($reader->query("SELECT writecache.evict('t', 1)"), 't', 'evict');
ok($reader->query("SELECT writecache.invalidate('t')") > 0, 'invalidate');
is($reader->query("SELECT writecache.warm('t')"), $reader->query('SELECT count(*) FROM t'), 'warm');
is($reader->query($compare), 'same', 'what was warmed');
is($reader->query("SELECT writecache.warm('t', 'SELECT id FROM t WHERE id < 3')"), 2, 'warm, by a query');
like($reader->query($_), qr/25006: cannot execute \S.* (during recovery|in a read-only transaction)/, $_)
  for "INSERT INTO b VALUES (1, 1)", "SELECT writecache.insert(ROW(1, 1)::b)", "SELECT writecache.insert('b', '{\"id\": 1}')",
  "SELECT writecache.attach('t', 'cache_aside')", "SELECT writecache.alter('b', flush_rows => 1)", "SELECT writecache.detach('t')",
  "SELECT writecache.retry_rejected('b')", "SELECT writecache.discard_rejected('b')", 'SELECT writecache.flush()', "SELECT writecache.flush('b')";

is($reader->query(q{SELECT writecache.wait(writecache.position()), (SELECT count(*) FROM writecache.pending(NULL::b))}), 't|0', 'nothing is pending there');
# Cursors, and parallel workers.
is($reader->query(q{BEGIN; DECLARE c CURSOR FOR SELECT id FROM t WHERE id = ANY ('{1,2}'); FETCH 2 FROM c; FETCH PRIOR FROM c; COMMIT}), "1\n2\n1", 'a cursor goes back');
is($reader->query(qq{SELECT set_config(name, 'on', false) FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query'); $compare}), "on\nsame", 'in a worker');
is($reader->query(q{SELECT set_config(name, 'off', false) FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query')}), 'off', 'no longer');

# A promoted standby.
$standby->promote;
is($reader->query($compare), 'same', 'after promotion');
is($reader->query('UPDATE t SET v = 5 WHERE id = 1; ' . $one), 5, 'its own changes');
is($reader->query($compare), 'same', 'its own changes');
$reader->query('VACUUM t; UPDATE t SET w = 5');
is($reader->query($compare), 'same', 'its own changes');
ok($reader->query($hits) > 0, 'the cache is in use');
$reader->finish;
$standby->stop;
$primary->stop;
done_testing();
