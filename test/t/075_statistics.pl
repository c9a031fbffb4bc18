# The statistics that autovacuum goes by count flushed rows while the worker lives.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('statistics');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_writecache'\nfsync = off");
$node->start;
$node->safe_psql('postgres', q{CREATE EXTENSION pg_writecache; CREATE TABLE t (i int);
	CREATE TABLE other (i int);
	SELECT writecache.attach('t', 'write_back');
	SELECT writecache.attach('other', 'write_back', flush_interval => '1 day');
	INSERT INTO other VALUES (1); INSERT INTO t SELECT generate_series(1, 1000); SELECT writecache.flush('t')});
ok($node->poll_query_until('postgres', "SELECT n_tup_ins = 1000 FROM pg_stat_user_tables WHERE relname = 't'"),
	'flushed rows are counted');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_writecache flush worker'"),
	'1', 'by a worker that lives');

$node->stop;
done_testing();
