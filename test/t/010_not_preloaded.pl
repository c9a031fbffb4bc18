# Without the library in shared_preload_libraries every function says so, and attached tables are ordinary ones.
use strict;
use warnings;
use Test::More;
use PostgreSQL::Test::Utils;
use WriteCacheTest;

my $node = server('not_preloaded');
attached_table($node, 't', 'i int PRIMARY KEY, p text');
$node->safe_psql('postgres', "INSERT INTO t VALUES (1, 'flushed')");
$node->safe_psql('postgres', 'SELECT writecache.flush()');
$node->stop;
configure($node, shared_preload_libraries => '');
$node->start;

my %calls = (
	alter => "SELECT writecache.alter('t', flush_rows => 3)",
	attach => "SELECT writecache.attach('t', 'write_back')",
	buffer_queues => 'SELECT * FROM writecache.buffer_queues()',
	buffer_status => 'SELECT * FROM writecache.buffer_status()',
	cache_relations => 'SELECT * FROM writecache.cache_relations()',
	cache_status => 'SELECT * FROM writecache.cache_status()',
	detach => "SELECT writecache.detach('t')",
	discard_rejected => "SELECT writecache.discard_rejected('t')",
	reject_pending => "SELECT writecache.reject_pending('t')",
	evict => "SELECT writecache.evict('t', 1)",
	flush => 'SELECT writecache.flush()',
	'get(one column)' => 'SELECT writecache.get(NULL::t, 1)',
	'get(columns)' => 'SELECT writecache.get(NULL::t, 1, 2)',
	get_many => 'SELECT writecache.get_many(NULL::t, ARRAY[1])',
	'insert(anyelement)' => "SELECT writecache.insert(ROW(9, 'no')::t)",
	'insert(jsonb)' => q{SELECT writecache.insert('t', '{"i": 9}'::jsonb)},
	invalidate => "SELECT writecache.invalidate('t')",
	pending => 'SELECT * FROM writecache.pending(NULL::t)',
	position => 'SELECT writecache.position()',
	progress_warm => 'SELECT * FROM writecache.progress_warm()',
	reset_stat_cache => 'SELECT writecache.reset_stat_cache()',
	retry_rejected => "SELECT writecache.retry_rejected('t')",
	stat_write_back => 'SELECT * FROM writecache.stat_write_back',
	tables => 'SELECT * FROM writecache.tables',
	wait => 'SELECT writecache.wait(0)',
	warm => "SELECT writecache.warm('t')");
for my $name (sort keys %calls)
{
	like(psql_errors($node, $calls{$name}),
		qr/^(psql:<stdin>:\d+: )?ERROR:  55000: pg_writecache is not loaded\nHINT:  .*shared_preload_libraries/m, $name);
}
my $untested = $node->safe_psql('postgres', q{
SELECT DISTINCT proname FROM pg_proc WHERE pronamespace = 'writecache'::regnamespace AND prorettype <> 'trigger'::regtype});
is(join(' ', grep { my $name = $_; !grep { /^\Q$name\E\b/ } keys %calls } split /\n/, $untested), '', 'every function was tried');
is($node->safe_psql('postgres', 'SELECT count(*) FROM writecache.rejected'), 0, 'rejected rows can be looked at');

is($node->safe_psql('postgres', q{
INSERT INTO t VALUES (2, 'a'), (3, 'b') RETURNING i;
COPY t FROM PROGRAM 'echo 4,c' (FORMAT csv);
UPDATE t SET p = 'B' WHERE i = 3;
DELETE FROM t WHERE i = 2;
BEGIN; INSERT INTO t VALUES (5, 'd'); SAVEPOINT s; INSERT INTO t VALUES (6, 'e'); ROLLBACK TO s; COMMIT;
BEGIN; INSERT INTO t VALUES (7, 'f'); ROLLBACK;
SELECT string_agg(i || p, ' ' ORDER BY i) FROM t;}), "2\n3\n1flushed 3B 4c 5d", 'plain statements work');
like(psql_errors($node, "INSERT INTO t VALUES (1, 'again')"), qr/ 23505: /, '... with their constraints at once');
$node->safe_psql('postgres', 'ALTER TABLE t ADD COLUMN more int; TRUNCATE t; DROP TABLE t');
pass('... and so does DDL');

# A session may load the library for itself, which is not enough.
like(psql_errors($node, "LOAD 'pg_writecache'; SELECT writecache.flush()"), qr/HINT:  .*shared_preload_libraries/, 'LOAD does not help');
$node->stop;
done_testing();
