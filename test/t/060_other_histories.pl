# The buffer file and the tables beside it come from the same history, or the file is not used: base backups, standbys,
# promotion. And the file's size follows the setting when there is nothing in it.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $never = "flush_interval => '1 day'";

sub files
{
	my $node = shift;
	return sort map { s{.*/}{}r } glob($node->data_dir . '/pg_dynshmem/pg_writecache*');
}

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_writecache'\nwritecache.buffer_size = 4MB\nfsync = off");
$primary->start;
$primary->safe_psql('postgres', 'CREATE EXTENSION pg_writecache; CREATE TABLE t (i int)');
$primary->safe_psql('postgres', "SELECT writecache.attach('t', 'write_back', $never)");

# size
my $bytes = sub { $primary->safe_psql('postgres', 'SELECT buffer_bytes FROM writecache.buffer_status()') };
is($bytes->(), 4 * 1024 * 1024, 'the file has the size of the setting');
$primary->append_conf('postgresql.conf', 'writecache.buffer_size = 2MB');
$primary->restart;
is($bytes->(), 2 * 1024 * 1024, 'an empty file takes a new size at the next start');
$primary->safe_psql('postgres', 'INSERT INTO t VALUES (1)');
$primary->append_conf('postgresql.conf', 'writecache.buffer_size = 8MB');
my $from = -s $primary->logfile;
$primary->stop('immediate');
$primary->start;
is($bytes->(), 2 * 1024 * 1024, 'a file with rows keeps its size');
ok($primary->log_contains(qr/keeps its size/, $from), '... and the log says so');
$primary->safe_psql('postgres', 'SELECT writecache.flush()');
is($primary->safe_psql('postgres', 'SELECT count(*) FROM t'), 1, '... and its rows are there');
$primary->restart;
is($bytes->(), 8 * 1024 * 1024, 'the start after that changes it');

# base backup, standby
$primary->safe_psql('postgres', 'INSERT INTO t VALUES (2)');
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
is_deeply([ files($standby) ], [], 'a base backup leaves the buffer file out');
$standby->start;
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('write'));
is($standby->safe_psql('postgres', 'SELECT count(*) FROM t'), 1, 'buffered rows are not on the standby');
$standby->restart for 1 .. 2;
is_deeply([ files($standby) ], ['pg_writecache.buffer'], 'restarts of a standby leave no files behind');
is($primary->safe_psql('postgres', 'SELECT writecache.flush()'), 1, 'stored rows are');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('write'));
is($standby->safe_psql('postgres', 'SELECT count(*) FROM t'), 2, '... on the standby');

# promotion, and a crash before the first checkpoint on the new timeline
$standby->promote;
$standby->safe_psql('postgres', 'INSERT INTO t VALUES (3)');
$standby->stop('immediate');
$standby->start;
$standby->safe_psql('postgres', 'SELECT writecache.flush()');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM t'), 3, 'a crash after a promotion keeps acknowledged rows');
is_deeply([ files($standby) ], ['pg_writecache.buffer'], '... in the same file');

# a copy of the data directory that did not leave the file out
$primary->safe_psql('postgres', 'INSERT INTO t VALUES (4)');
my $copy = PostgreSQL::Test::Cluster->new('copy');
$copy->init_from_backup($primary, 'base');
PostgreSQL::Test::Utils::system_or_bail('cp', $primary->data_dir . '/pg_dynshmem/pg_writecache.buffer',
	$copy->data_dir . '/pg_dynshmem/');
$copy->start;
is_deeply([ files($copy) ], [ 'pg_writecache.buffer', 'pg_writecache.buffer.quarantined.1' ],
	'a file found beside a base backup is set aside');
is($copy->safe_psql('postgres', 'SELECT writecache.flush()'), 0, '... and not replayed');

$_->stop for $primary, $standby, $copy;
done_testing();
