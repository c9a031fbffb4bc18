# A flush that does not come to an end holds up a shutdown for writecache.shutdown_timeout and no longer; its rows are kept.
use strict;
use warnings;
use Test::More;
use WriteCacheTest;

my $node = server('hangs', 'writecache.shutdown_timeout' => '1s', autovacuum => 'off');
$node->safe_psql('postgres', q{
CREATE TABLE pace (slow boolean);
INSERT INTO pace VALUES (true);
CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  WHILE (SELECT slow FROM public.pace) LOOP PERFORM pg_sleep(0.01); END LOOP;
  RETURN NEW; END $$;
CREATE TABLE slow (n int);
CREATE TRIGGER dawdle BEFORE INSERT ON slow FOR EACH ROW EXECUTE FUNCTION dawdle();
SELECT writecache.attach('slow', 'write_back', flush_interval => '1 day', allow_triggers => true);});
attached_table($node, 'other', 'n int');
for my $round (1, 2)
{
	$node->safe_psql('postgres', 'INSERT INTO slow SELECT generate_series(1, 10); INSERT INTO other VALUES (1)');
	my $session = in_background($node, "SELECT writecache.flush('slow')");
	$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'pg_writecache flush worker' AND wait_event = 'PgSleep'");
	my $log = -s $node->logfile;
	local $ENV{PGCTLTIMEOUT} = 60;
	$node->stop('fast');
	$session->finish;
	like(PostgreSQL::Test::Utils::slurp_file($node->logfile, $log), qr/canceling statement due to user request/, "shutdown $round: the flush was cancelled");
	$node->start;
	is($node->safe_psql('postgres', 'SELECT count(*) FROM slow'), 10 * $round, '... its rows are kept');
}
$node->safe_psql('postgres', 'UPDATE pace SET slow = false');
$node->safe_psql('postgres', "SELECT writecache.alter('slow')");
$node->safe_psql('postgres', 'SELECT writecache.flush()');
is($node->safe_psql('postgres', 'SET writecache.read_pending = off; SELECT count(*) FROM slow'), 20, '... and stored later, once');
is($node->safe_psql('postgres', 'SET writecache.read_pending = off; SELECT count(*) FROM other'), 2, 'so are others');
$node->stop;
done_testing();
