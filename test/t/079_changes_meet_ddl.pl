# Sessions that change or lock rows of a table with buffered rows, while DDL waits for the table because of them: the
# worker is let through before the DDL, and no session has to be ended.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use WriteCacheTest;

my $node = server('changes', autovacuum => 'off', 'writecache.wait_timeout' => 0);
$node->safe_psql('postgres', q{
CREATE TABLE parent (id int PRIMARY KEY);
INSERT INTO parent SELECT generate_series(1, 10);
CREATE TABLE t (id int PRIMARY KEY, parent int REFERENCES parent, n int);
SELECT writecache.attach('t', 'write_back', flush_interval => '1 day', flush_rows => 1000000);});
my $waits = "EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 't'::regclass AND mode = 'AccessExclusiveLock')";
my $insert = 'INSERT INTO t SELECT n, n, 0 FROM generate_series(1, 3) n';
my $log = -s $node->logfile;
for my $mode ('ROW EXCLUSIVE', 'ROW SHARE')
{
	for my $change ('UPDATE t SET n = 1 WHERE id = %d', 'SELECT FROM t WHERE id = %d FOR UPDATE', 'DELETE FROM parent WHERE id = %d + 3')
	{
		$node->safe_psql('postgres', "TRUNCATE t; INSERT INTO parent SELECT generate_series(1, 10) ON CONFLICT DO NOTHING");
		$node->safe_psql('postgres', $insert);
		my @sessions = map { in_background($node, "BEGIN; LOCK TABLE t IN $mode MODE;
			DO \$\$ BEGIN WHILE NOT $waits LOOP PERFORM pg_sleep(0.01); END LOOP; END \$\$;
			" . sprintf($change, $_) . "; COMMIT; SELECT 'through'") } 1 .. 3;
		$node->poll_query_until('postgres', "SELECT count(*) = 3 FROM pg_locks WHERE granted AND relation = 't'::regclass AND mode = '"
			  . join('', map { ucfirst lc } split / /, $mode) . "Lock'");
		my $ddl = in_background($node, 'ALTER TABLE t ALTER COLUMN n SET DEFAULT 0');
		like($_->finish, qr/through/, "$mode, $change") for @sessions;
		$ddl->finish;
	}
}
unlike(slurp_file($node->logfile, $log), qr/deadlock detected/, 'no deadlock');
$node->stop;
done_testing();
