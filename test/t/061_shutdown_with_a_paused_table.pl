# A table that waits to be mended does not hold up a shutdown, and its rows are there afterwards.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('paused');
$node->init;
# A shutdown that waited for the table would not end before pg_ctl gives up.
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_writecache'\nwritecache.shutdown_timeout = '1 day'\nfsync = off");
$node->start;
$node->safe_psql('postgres', q{
CREATE EXTENSION pg_writecache;
CREATE TABLE helper (i int);
CREATE FUNCTION same(v int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM 1 FROM public.helper; RETURN v; END';
CREATE TABLE broken (v int);
CREATE INDEX ON broken (same(v));
CREATE TABLE sound (v int);});
$node->safe_psql('postgres', "SELECT writecache.attach('$_', 'write_back', flush_interval => '1 day')") for 'broken', 'sound';
$node->safe_psql('postgres', 'DROP TABLE helper; INSERT INTO broken VALUES (1)');
my ($code) = $node->psql('postgres', "SELECT writecache.flush('broken')");
isnt($code, 0, 'the table cannot be flushed');
$node->safe_psql('postgres', 'INSERT INTO sound VALUES (2)');
local $ENV{PGCTLTIMEOUT} = 30;
$node->stop('fast');
pass('the server has stopped');
$node->start;
is($node->safe_psql('postgres', 'SELECT count(*) FROM sound'), 1, 'the other table was flushed');
$node->safe_psql('postgres', 'CREATE TABLE helper (i int)');
$node->safe_psql('postgres', "SELECT writecache.alter('broken')");
$node->safe_psql('postgres', "SELECT writecache.flush('broken')");
is($node->safe_psql('postgres', 'SELECT v FROM broken'), 1, 'the row was kept');
$node->stop;
done_testing();
