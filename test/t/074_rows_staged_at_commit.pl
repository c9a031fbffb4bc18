# Rows that are stored when their transaction ends fire triggers, and what these insert into other attached tables or check
# late counts too.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('late');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_writecache'\nfsync = off\nmax_prepared_transactions = 2\n"
	  . "writecache.buffer_size = 1MB\nwritecache.bulk_bypass = -1");
$node->start;
$node->safe_psql('postgres', q{CREATE EXTENSION pg_writecache;
	CREATE TABLE log (i int); CREATE TABLE t (i int, p text);
	CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN IF new.i % 1000 = 0 THEN INSERT INTO public.log VALUES (new.i); END IF; RETURN new; END $$;
	CREATE TRIGGER note AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION note();
	SELECT writecache.attach('log', 'write_back');
	SELECT writecache.attach('t', 'write_back', allow_triggers => true);
	CREATE TABLE parent (id int PRIMARY KEY);
	CREATE TABLE child (p int REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
	SELECT writecache.attach('child', 'write_back')});

# More than half of the buffer: stored at commit.
my $rows = "INSERT INTO log VALUES (0); INSERT INTO t SELECT g, repeat('x', 80) FROM generate_series(1, 8000) AS g";
$node->safe_psql('postgres', "BEGIN; $rows; COMMIT; SELECT writecache.flush()");
is($node->safe_psql('postgres', 'SELECT count(*), sum(i) FROM log'), '9|36000', 'rows of triggers at commit');
$node->safe_psql('postgres', "BEGIN; $rows; PREPARE TRANSACTION 'x'; COMMIT PREPARED 'x'");
is($node->safe_psql('postgres', 'SELECT count(*), sum(i) FROM log'), '18|72000', 'rows of triggers at PREPARE');

my ($status, $out, $err) = $node->psql('postgres', "BEGIN; INSERT INTO child VALUES (999); PREPARE TRANSACTION 'y'", on_error_stop => 1);
like($err, qr/violates foreign key constraint/, 'deferred constraints are checked at PREPARE');
is($node->safe_psql('postgres', 'SELECT count(*) FROM child'), '0', 'no row without a parent');

$node->stop;
done_testing();
