# A commit that waits for room holds its table's lock. DDL that waits for that lock keeps the flush worker off the table;
# then the commit stores its rows itself, instead of all three waiting for each other.
use strict;
use warnings;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('full');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_writecache'\nfsync = off\n"
	  . "writecache.buffer_size = 1MB\nwritecache.wait_timeout = '2min'");
$node->start;
$node->safe_psql('postgres', "CREATE EXTENSION pg_writecache; CREATE TABLE t (i int, p text);
	SELECT writecache.attach('t', 'write_back', flush_interval => '1 day')");

my @sessions;

sub in_background
{
	my $out = '';
	push @sessions, IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', shift ], '<', \'', '>', \$out, '2>', \$out);
	return \$out;
}

# The worker is kept from flushing until everybody waits.
$node->safe_psql('postgres', "INSERT INTO t VALUES (0, ''); SELECT writecache.flush()");
my $worker = $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_writecache flush worker'");
kill 'STOP', $worker;
my $rows = "INSERT INTO t SELECT g, repeat('x', 2000) FROM generate_series(1, 20) AS g";
my $done = 0;
while ($done < 1000)
{
	my ($status) = $node->psql('postgres', "SET writecache.wait_timeout = '1ms'; $rows");
	last if $status != 0;
	++$done;
}
ok($done < 1000, 'the buffer is full');
my $writer = in_background($rows);
$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'INSERT INTO t%' AND wait_event_type = 'Extension'");
my $ddl = in_background('ALTER TABLE t ADD COLUMN more int');
$node->poll_query_until('postgres', 'SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)');
kill 'CONT', $worker;
$_->finish for @sessions;
is($$writer, '', 'the commit goes through');
is($$ddl, '', '... and so does the DDL');
is($node->safe_psql('postgres', 'SELECT count(*), count(more) FROM t'), (1 + 20 * ($done + 1)) . '|0', 'each row is stored once');
$node->stop;
done_testing();
