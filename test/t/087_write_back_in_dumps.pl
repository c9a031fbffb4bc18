# Write-back tables in dumps: what is pending is in the dumped table, attachments and rejected rows come back with a restore,
# and rejected rows can be stored there.
use strict;
use warnings;
use Test::More;
use WriteCacheTest;

my $node = server('dumps', autovacuum => 'off');
$node->safe_psql('postgres', 'CREATE DATABASE d; CREATE ROLE writer LOGIN');
$node->safe_psql('d', q{
CREATE EXTENSION pg_writecache;
CREATE TYPE mood AS ENUM ('ok', 'bad');
CREATE TABLE parent (id int PRIMARY KEY);
INSERT INTO parent VALUES (1);
CREATE TABLE t (id int, parent int REFERENCES parent, m text, "Tëxt" text);
CREATE TABLE moods (m mood UNIQUE);
CREATE TABLE parts (id int, v text) PARTITION BY RANGE (id);
CREATE TABLE part PARTITION OF parts FOR VALUES FROM (0) TO (100);
GRANT INSERT ON t TO writer;
SELECT writecache.attach('t', 'write_back', flush_interval => '1 day', flush_rows => 77, when_full => 'error', on_conflict => 'ignore');
SELECT writecache.attach('parts', 'write_back', flush_interval => '1 day');
SELECT writecache.attach('moods', 'write_back', flush_interval => '1 day');
SET ROLE writer;
INSERT INTO t VALUES (2, 2, 'bad', 'no parent');
RESET ROLE;
INSERT INTO t VALUES (3, 3, NULL, NULL);
INSERT INTO moods VALUES ('ok'), ('ok');
SELECT writecache.flush();
INSERT INTO t VALUES (1, 1, 'ok', 'pending');
INSERT INTO parts VALUES (5, 'pending')});
my $attached = 'SELECT relation, mode, flush_interval, flush_rows, when_full, read_pending, on_conflict FROM writecache.tables ORDER BY relation::text';
my $rejected = 'SELECT id, relation, row, sqlstate, constraint_name, attempts, first_attempt, staged_by FROM writecache.rejected ORDER BY id';
my @expected = map { $node->safe_psql('d', $_) } $attached, $rejected;
like($expected[1], qr/\|writer$/m, 'rejected, with who staged it');

sub psql_errors_in
{
	my ($database, $sql) = @_;
	my ($code, $out, $err) = $node->psql($database, $sql);
	return $err;
}

my $dir = $node->basedir;
$node->command_ok([ 'pg_dump', '-f', "$dir/plain.sql", 'd' ], 'a plain dump');
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/custom", 'd' ], 'a custom one');
for my $way ('plain', 'custom')
{
	$node->safe_psql('postgres', "CREATE DATABASE $way");
	# Other types get other numbers there.
	$node->safe_psql($way, q{CREATE TYPE first AS ENUM ('a', 'b', 'c')});
	$node->command_ok($way eq 'plain' ? [ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/plain.sql", $way ]
		: [ 'pg_restore', '-e', '-j', '2', '-d', $way, "$dir/custom" ], "$way: restored");
	is($node->safe_psql($way, $attached), $expected[0], '... attached as they were');
	is($node->safe_psql($way, $rejected), $expected[1], '... with the rejected rows');
	is($node->safe_psql($way, 'SELECT writecache.flush(); SELECT * FROM t; SELECT * FROM parts'), "0\n1|1|ok|pending\n5|pending",
		'... and what was pending, once, in the tables');
	$node->safe_psql($way, "INSERT INTO t VALUES (4, 1, 'bad', 'new')");
	is($node->safe_psql($way, q{SELECT rows_pending FROM writecache.stat_write_back WHERE relation = 't'::regclass}), 1, 'new rows are buffered');
	$node->safe_psql($way, 'INSERT INTO parent VALUES (2), (3)');
	is($node->safe_psql($way, q{SELECT writecache.retry_rejected('t')}), 2, 'rejected rows can be stored');
	is($node->safe_psql($way, q{SELECT writecache.flush('t'); SELECT * FROM t ORDER BY id}),
		"1\n1|1|ok|pending\n2|2|bad|no parent\n3|3||\n4|1|bad|new", '... as they were');
	# The internal form of other databases' types means nothing here; the JSON form does.
	$node->safe_psql($way, 'DELETE FROM moods');
	like(psql_errors_in($way, q{SELECT writecache.retry_rejected('moods')}), qr/have changed.*HINT:  Insert it from column "row"/s,
		'a row of a type of the other database is not misread');
	is($node->safe_psql($way, q{INSERT INTO moods SELECT r.* FROM writecache.rejected, jsonb_populate_record(NULL::moods, row) r
			WHERE relation = 'moods'::regclass; SELECT writecache.discard_rejected('moods'); SELECT * FROM moods}), "1\nok",
		'... and stored in the way that the hint says');
	$node->safe_psql($way, q{INSERT INTO t VALUES (9, 9); SELECT writecache.flush('t')});
	is($node->safe_psql($way, 'SELECT count(*) FROM writecache.rejected'), 1, 'new ones are rejected');
}
is($node->safe_psql('d', 'SELECT count(*) FROM t; SELECT count(*) FROM writecache.rejected'), "1\n3", 'the dumped database is as it was');
$node->stop;
done_testing();
