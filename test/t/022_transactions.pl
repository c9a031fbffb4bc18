# Transactions that end in unusual ways: what committed is there once, what did not is nowhere, and nothing stays reserved.
use strict;
use warnings;
use Test::More;
use WriteCacheTest;

my $node = server('transactions', max_prepared_transactions => 5, wal_level => 'replica', max_wal_senders => 1,
	autovacuum => 'off');
attached_table($node, 't', 'who text, n int');
$node->safe_psql('postgres', 'CREATE TABLE plain (n int)');
my $session = WriteCacheTest::Session->new($node);

sub rows_of
{
	my $who = shift;
	return $node->safe_psql('postgres', "SELECT count(*) || ' ' || count(DISTINCT n) FROM t WHERE who = '$who'");
}

# Two phases, with a crash between them.
for my $end (qw(commit rollback))
{
	$session->query("BEGIN; INSERT INTO t SELECT '$end', generate_series(1, 5); SAVEPOINT s; INSERT INTO t VALUES ('$end', 6); ROLLBACK TO s;
		PREPARE TRANSACTION '$end'");
	is(rows_of($end), '0 0', "$end prepared: rows of a prepared transaction are not there");
}
$session->finish;
$node->stop('immediate');
$node->start;
$session = WriteCacheTest::Session->new($node);
$session->query(uc($_) . " PREPARED '$_'") for qw(commit rollback);
is(rows_of('commit'), '5 5', 'after a crash and COMMIT PREPARED they are');
is(rows_of('rollback'), '0 0', 'after ROLLBACK PREPARED they never are');

# A commit that fails: before our part, and behind it.
$node->safe_psql('postgres', 'CREATE TABLE k (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)');
like($session->query("BEGIN; INSERT INTO k VALUES (1), (1); INSERT INTO t VALUES ('deferred', 1); COMMIT"), qr/ 23505: /, 'a deferred constraint fails');
is(rows_of('deferred'), '0 0', '... and the rows go with it');
like($session->query("BEGIN; INSERT INTO t VALUES ('behind', 1); CREATE TEMP TABLE parent (i int PRIMARY KEY) ON COMMIT DELETE ROWS;
	CREATE TEMP TABLE child (i int REFERENCES parent); COMMIT"), qr/ 0A000: /, 'a commit fails when the rows are in the buffer');
is(rows_of('behind'), '0 0', '... and they go, too');
$session->query("BEGIN ISOLATION LEVEL SERIALIZABLE; INSERT INTO t VALUES ('serializable', 1); SELECT count(*) FROM plain; INSERT INTO k VALUES (2)");
my $other = WriteCacheTest::Session->new($node);
$other->query('BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT count(*) FROM k; INSERT INTO plain VALUES (1); COMMIT');
like($session->query('COMMIT'), qr/ 40001: /, 'a serialization failure');
is(rows_of('serializable'), '0 0', '... takes the rows along');

# Interrupted while they stage, and when they wait for the next statement.
like($session->query("SET statement_timeout = 100; INSERT INTO t SELECT 'timeout', g FROM generate_series(1, 3) AS g, pg_sleep(g * 3600); RESET statement_timeout"),
	qr/ 57014: /, 'statement_timeout while rows are staged');
is(rows_of('timeout'), '0 0', '... leaves none');
my $pid = $other->pid;
$other->send("BEGIN; INSERT INTO t VALUES ('terminated', 1);");
$node->poll_query_until('postgres', "SELECT state = 'idle in transaction' FROM pg_stat_activity WHERE pid = $pid");
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
$other->send('COMMIT;');
like($other->finish, qr/ 57P01: /, 'terminated between statements');
is(rows_of('terminated'), '0 0', '... leaves none');

# Interrupted at each step of a commit: it either fails or has happened.
for my $signal (qw(INT TERM))
{
	for my $point (qw(reserved frame-filled prepared committed published))
	{
		my $who = "$signal at $point";
		my $victim = WriteCacheTest::Session->new($node);
		$pid = $victim->pid;
		$victim->send("SET writecache.injection_point = '$point'; SET writecache.injection_action = 'stop';
			INSERT INTO t SELECT '$who', generate_series(1, 3);\n\\if :ERROR\n\\echo refused\n\\else\n\\echo accepted\n\\endif");
		wait_for { is_stopped($pid) } "a session at $point";
		kill $signal, $pid;
		kill 'CONT', $pid;
		my $accepted = $victim->finish =~ /accepted/;
		wait_for { !is_running($pid) } 'the session to end';
		my $rows = rows_of($who);
		if ($accepted) { is($rows, '3 3', "$who: the session was told that the rows are there"); }
		else { like($rows, $point eq 'committed' || $point eq 'published' ? qr/^(3 3|0 0)$/ : qr/^0 0$/, "$who: the session was not told anything else"); }
	}
}

# A commit that waits for a standby that is not there.
$node->safe_psql('postgres', 'SELECT writecache.flush()');
reconfigure($node, synchronous_standby_names => 'nobody', synchronous_commit => 'local');
# The checkpointer tells the others; with the second of these it has.
$node->safe_psql('postgres', 'CHECKPOINT') for 1, 2;
my $stuck = WriteCacheTest::Session->new($node);
$pid = $stuck->pid;
$stuck->send("SET synchronous_commit = on; BEGIN; INSERT INTO plain VALUES (7); INSERT INTO t VALUES ('stuck', 1); COMMIT;");
$node->poll_query_until('postgres', "SELECT wait_event = 'SyncRep' FROM pg_stat_activity WHERE pid = $pid");
$session->query('SET synchronous_commit = local');
$session->query("INSERT INTO t SELECT 'passes', generate_series(1, 10)");
is($session->query('SELECT writecache.flush()'), 10, 'a commit that waits for a standby holds up nobody');
is(rows_of('passes'), '10 10', '... others are stored');
is(rows_of('stuck'), '0 0', '... while it is not visible');
$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
like($stuck->finish, qr/canceling wait for synchronous replication/, 'it gives up waiting');
is(rows_of('stuck'), '1 1', '... and has committed');
reconfigure($node, synchronous_standby_names => '');

# Savepoints beyond what a snapshot lists.
my $script = "BEGIN;\n";
for my $n (1 .. 10000)
{
	$script .= "SAVEPOINT s; INSERT INTO t VALUES ('savepoints', $n);" . ($n % 2 ? ' ROLLBACK TO s;' : '') . "\n";
}
is($session->query("$script; SELECT count(*) FROM t WHERE who = 'savepoints'; COMMIT"), 5000, '10,000 savepoints: the session sees what it kept');
is(rows_of('savepoints'), '5000 5000', '... and so do others');
$session->query("DO 'BEGIN FOR i IN 1 .. 200 LOOP BEGIN INSERT INTO t VALUES (''exceptions'', i); IF i % 2 = 0 THEN RAISE ''no''; END IF;
	EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP; END'");
is(rows_of('exceptions'), '100 100', 'exceptions in PL/pgSQL');

# Transactions inside a statement.
$session->query(q{CREATE PROCEDURE many(who text) LANGUAGE plpgsql AS 'BEGIN
	FOR i IN 1 .. 100 LOOP INSERT INTO t VALUES (who, i); IF i % 2 = 0 THEN COMMIT; ELSE ROLLBACK; END IF; END LOOP;
	INSERT INTO t VALUES (who, 101); RAISE division_by_zero; END'});
like($session->query("CALL many('procedure')"), qr/ 22012: /, 'a procedure that fails in the end');
is(rows_of('procedure'), '50 50', '... keeps what it committed');
is($session->query("BEGIN; INSERT INTO t SELECT 'cursor', generate_series(1, 5);
	DECLARE c CURSOR WITH HOLD FOR SELECT n FROM t WHERE who = 'cursor' ORDER BY n; FETCH 1 FROM c; INSERT INTO t VALUES ('cursor', 6); COMMIT;
	FETCH ALL FROM c; CLOSE c"), join("\n", 1 .. 5), 'a cursor that outlives its transaction shows what was there when it was opened');
is(rows_of('cursor'), '6 6', '... and the later row is there');

# Everything is in the table in the end, and all of the buffer is free again.
my $seen = $node->safe_psql('postgres', 'SELECT count(*) FROM t');
$node->safe_psql('postgres', 'SELECT writecache.flush()');
is($node->safe_psql('postgres', 'SET writecache.read_pending = off; SELECT count(*) FROM t'), $seen, 'what was seen is stored');
$session->finish;
ok($node->poll_query_until('postgres', 'SELECT free_bytes >= buffer_bytes - 3 * block_bytes FROM writecache.buffer_status()'),
	'nothing stays reserved');
$node->stop;
done_testing();
