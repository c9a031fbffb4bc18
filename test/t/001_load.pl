# The extension needs to be loaded with the server, and then the server starts and stops with it.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('load');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_writecache'");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION pg_writecache');
is( $node->safe_psql('postgres', "SELECT extversion FROM pg_extension WHERE extname = 'pg_writecache'"),
	'1.0', 'the extension can be created');
$node->stop;
done_testing();
