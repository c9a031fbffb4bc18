# Who must not drop or copy a database does not stop its flush worker; who owns it can dump it.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Utils;
use Test::More;
use WriteCacheTest;

my $node = server('who');
$node->safe_psql('postgres', 'CREATE ROLE nobody_special LOGIN; CREATE ROLE maker LOGIN CREATEDB; CREATE ROLE keeper LOGIN; CREATE DATABASE d OWNER keeper');
$node->safe_psql('d', "CREATE EXTENSION pg_writecache; SET ROLE keeper; CREATE TABLE t (i int PRIMARY KEY);
	SELECT writecache.attach('t', 'write_back', flush_interval => '1 day')");
$node->safe_psql('d', 'INSERT INTO t VALUES (1)');

my $worker = worker_of($node);
for my $role ('nobody_special', 'maker')
{
	for my $sql ('DROP DATABASE d', 'ALTER DATABASE d RENAME TO e', 'ALTER DATABASE d SET TABLESPACE pg_default', 'CREATE DATABASE e TEMPLATE d')
	{
		my ($status) = $node->psql('postgres', $sql, extra_params => [ '-U', $role ]);
		isnt($status, 0, "$role: $sql is refused");
	}
}
ok(is_running($worker), 'the flush worker has seen nothing of it');

$node->safe_psql('d', 'INSERT INTO t VALUES (1), (2)');
$node->safe_psql('d', 'SELECT writecache.flush()');
$node->safe_psql('d', 'INSERT INTO t VALUES (3)');
$node->command_ok([ 'pg_dump', '-U', 'keeper', '-f', $node->basedir . '/d.sql', 'd' ], 'the owner of a database dumps it');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $node->basedir . '/d.sql', 'restored' ], 'the dump can be restored');
is($node->safe_psql('restored', 'SELECT string_agg(i::text, $$ $$ ORDER BY i) FROM t'), '1 2 3', 'pending rows are in it');
is($node->safe_psql('restored', 'SELECT relation, "row" FROM writecache.rejected'), 't|{"i": 1}', 'rejected ones are');
is($node->safe_psql('restored', 'SELECT relation FROM writecache.tables'), 't', 'the attachment is');

my ($status) = $node->psql('postgres', 'DROP DATABASE d', extra_params => [ '-U', 'keeper' ]);
is($status, 0, 'its owner can drop it');
$node->stop;
done_testing();
