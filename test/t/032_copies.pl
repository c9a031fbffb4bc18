# Copies of a data directory, and its moves: rows that are pending go with a copy of a stopped server and stay with a server
# that moves, crashes or is run by a single user. They do not come to a server that has gone another way: back in time,
# as a standby, or rewound to one. No copy uses the original's file.
use strict;
use warnings;
use Test::More;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use WriteCacheTest;

sub run_or_fail { PostgreSQL::Test::Utils::system_or_bail(@_); return; }

sub files { return join ' ', sort map { s{.*/}{}r } glob shift() . '/pg_writecache*'; }

# What is in the table once everything is flushed.
sub stored
{
	my $node = shift;
	$node->safe_psql('postgres', 'SELECT writecache.flush()');
	return $node->safe_psql('postgres', "SET writecache.read_pending = off; SELECT string_agg(n::text, ' ' ORDER BY n) FROM t");
}

my $settings = "shared_preload_libraries = 'pg_writecache'\nwritecache.buffer_size = 1MB\nfsync = off\nautovacuum = off\n"
  . "wal_log_hints = on\nwal_keep_size = 1GB\nrestart_after_crash = off";
my $node = PostgreSQL::Test::Cluster->new('original');
$node->init(allows_streaming => 1, has_archiving => 1);
$node->append_conf('postgresql.conf', $settings);
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION pg_writecache');
attached_table($node, 't', 'n int');
$node->backup('base');
$node->safe_psql('postgres', 'INSERT INTO t VALUES (1)');
is(stored($node), '1', 'one row is stored');
$node->safe_psql('postgres', "SELECT pg_create_restore_point('here'); CREATE TABLE forced_to_disk ()");
$node->safe_psql('postgres', 'INSERT INTO t VALUES (2)');

# A copy of the stopped server, and the original moved away and back.
$node->stop('immediate');
my $data = $node->data_dir;
my $copy = PostgreSQL::Test::Cluster->new('copy');
run_or_fail('mkdir', '-p', $copy->basedir);
run_or_fail('cp', '-a', $data, $copy->data_dir);
my ($host, $port) = ($copy->host, $copy->port);
$copy->append_conf('postgresql.conf', "port = $port\nunix_socket_directories = '$host'\narchive_mode = off");
$copy->start;
is($copy->safe_psql('postgres', 'SELECT count(*) FROM t'), 2, 'a copy of a stopped server has its pending rows');
is(stored($copy), '1 2', '... once');
$copy->stop;
run_or_fail('mv', $data, "$data.moved");
run_or_fail('cp', '-a', "$data.moved", $data);
$node->start;
is(stored($node), '1 2', '... and so has the original, in a place that it was moved to');

# A single user.
$node->safe_psql('postgres', 'INSERT INTO t VALUES (3)');
$node->stop('immediate');
my $single = 'INSERT INTO t VALUES (4);' . "\n";
my ($out, $err);
IPC::Run::run([ 'postgres', '--single', '-D', $data, 'postgres' ], '<', \$single, '>', \$out, '2>', \$err) or diag("$out\n$err");
$node->start;
is(stored($node), '1 2 3 4', "a single user's session keeps what is pending and adds to it");

# Back in time, with the original's file beside the backup.
$node->safe_psql('postgres', 'INSERT INTO t VALUES (5)');
$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
my $past = PostgreSQL::Test::Cluster->new('past');
$past->init_from_backup($node, 'base', has_restoring => 1, standby => 0);
$past->append_conf('postgresql.conf', "recovery_target_name = 'here'\nrecovery_target_action = 'promote'\narchive_mode = off");
run_or_fail('cp', "$data/pg_dynshmem/pg_writecache.buffer", $past->data_dir . '/pg_dynshmem/');
$past->start;
$past->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die 'the recovery does not end';
is(stored($past), '1', 'a server that went back in time has what was stored then');
is(files($past->data_dir . '/pg_dynshmem'), 'pg_writecache.buffer pg_writecache.buffer.quarantined.1', '... and the file was set aside');
ok($past->log_contains('WARNING:  write buffer file .* cannot be used: the server starts as a standby or for point-in-time recovery'),
	'... says the log');
$past->safe_psql('postgres', 'INSERT INTO t VALUES (6)');
$past->stop('immediate');
$past->start;
is(stored($past), '1 6', '... its own rows survive a crash');
# The original's file once more, now that nothing says where the server came from.
$past->stop;
run_or_fail('cp', "$data/pg_dynshmem/pg_writecache.buffer", $past->data_dir . '/pg_dynshmem/');
$past->start;
is(stored($past), '1 6', '... and a file of the other timeline is set aside, too');
$past->stop;

# A standby on the same machine does not use its primary's file.
my $outside = PostgreSQL::Test::Utils::tempdir();
$node->append_conf('postgresql.conf', "writecache.directory = '$outside'");
is(stored($node), '1 2 3 4 5', 'the original goes on');
$node->restart;
$node->safe_psql('postgres', 'INSERT INTO t VALUES (7)');
$node->backup('later');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'later', has_streaming => 1);
$standby->append_conf('postgresql.conf', "writecache.directory = '$outside'");
ok(!$standby->start(fail_ok => 1), 'a standby does not start with the directory of its primary');
ok($standby->log_contains('FATAL:  write buffer file .* is in use by another server'), '... and says why');
$standby->{_pid} = undef;
$standby->append_conf('postgresql.conf', "writecache.directory = ''");
$standby->start;
is($node->safe_psql('postgres', 'SELECT count(*) FROM t'), 6, 'the primary has lost nothing by that');

# The standby takes over; the old primary, which crashed with rows pending, is rewound and follows it.
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
$standby->promote;
$node->stop('immediate');
$node->append_conf('postgresql.conf', "writecache.directory = ''");
$standby->safe_psql('postgres', 'CHECKPOINT; INSERT INTO t VALUES (8)');
is(stored($standby), '1 2 3 4 5 8', 'the promoted standby has what was stored, and its own rows');
run_or_fail('pg_rewind', '-D', $data, '--source-server', $standby->connstr('postgres'), '--config-file', "$data/postgresql.conf");
is(files("$data/pg_dynshmem"), '', 'pg_rewind takes the buffer file away');
$node->append_conf('postgresql.conf', "port = @{[$node->port]}\nunix_socket_directories = '@{[$node->host]}'");
$node->enable_streaming($standby);
$node->start;
$standby->wait_for_catchup($node, 'replay', $standby->lsn('insert'));
is($node->safe_psql('postgres', "SELECT string_agg(n::text, ' ' ORDER BY n) FROM t"), '1 2 3 4 5 8', 'the rewound server has the same');
$node->stop;
$standby->stop;

done_testing();
