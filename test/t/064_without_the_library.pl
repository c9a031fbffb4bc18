# A server without the library has ordinary tables; buffered rows wait for the next start with it, and if nothing is left
# that they could go to, the log says so. Every object of the extension has a comment.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $with = "shared_preload_libraries = 'pg_writecache'";
my $without = "shared_preload_libraries = ''";
my $node = PostgreSQL::Test::Cluster->new('without');
$node->init;
$node->append_conf('postgresql.conf', "$with\nfsync = off");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION pg_writecache; CREATE TABLE t (i int); CREATE TABLE u (i int)');
$node->safe_psql('postgres', "SELECT writecache.attach('$_', 'write_back', flush_interval => '1 day')") for 't', 'u';
is( $node->safe_psql('postgres', q{
SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
 WHERE c.relnamespace = 'writecache'::regnamespace AND c.relkind IN ('r', 'v') AND col_description(c.oid, a.attnum) IS NULL
UNION ALL SELECT relname, NULL FROM pg_class
 WHERE relnamespace = 'writecache'::regnamespace AND relkind IN ('r', 'v') AND obj_description(oid, 'pg_class') IS NULL
UNION ALL SELECT proname, NULL FROM pg_proc
 WHERE pronamespace = 'writecache'::regnamespace AND obj_description(oid, 'pg_proc') IS NULL}),
	'', 'everything has a comment');

sub restart_as
{
	$node->stop('immediate');
	$node->append_conf('postgresql.conf', shift);
	$node->start;
}

$node->safe_psql('postgres', 'INSERT INTO t VALUES (1)');
restart_as($without);
is($node->safe_psql('postgres', 'INSERT INTO t VALUES (2) RETURNING i'), 2, 'an ordinary table without the library');
is($node->safe_psql('postgres', 'SELECT count(*) FROM t'), 1, 'the buffered row waits');
my ($code, $out, $err) = $node->psql('postgres', 'SELECT writecache.flush()');
like($err, qr/pg_writecache is not loaded.*HINT.*shared_preload_libraries/s, 'functions say what is missing');
restart_as($with);
$node->safe_psql('postgres', 'SELECT writecache.flush()');
is($node->safe_psql('postgres', 'SELECT i FROM t ORDER BY i'), "1\n2", 'the next start with it stores the row');

$node->safe_psql('postgres', 'INSERT INTO u SELECT generate_series(1, 7)');
restart_as($without);
$node->safe_psql('postgres', 'DROP EXTENSION pg_writecache');
my $from = -s $node->logfile;
restart_as($with);
ok($node->poll_query_until('postgres', "SELECT pg_read_file('" . $node->logfile . "') ~ 'threw away 7 buffered rows'"),
	'rows that belong to nothing are thrown away, and the log says so');
$node->stop;
done_testing();
