# The tour in README.md does what it says. The links in the documentation lead somewhere. Every setting is in the reference.
use strict;
use warnings;
use Cwd qw(abs_path);
use File::Basename;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $top = dirname(dirname(dirname(abs_path(__FILE__))));
my $readme = slurp_file("$top/README.md");
my $tour = join '', $readme =~ /^```sql\n(.*?)^```$/gms;

my $node = PostgreSQL::Test::Cluster->new('tour');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_writecache'\nfsync = off\ntimezone = 'UTC'");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION pg_writecache');
# 5 s may be over between two lines on a slow machine.
ok($tour =~ s/flush_interval => '5 s'/flush_interval => '1 day'/, 'the tour attaches a table');
my ($out, $err);
PostgreSQL::Test::Utils::run_log(
	[ 'psql', '-X', '-At', '-q', '-d', $node->connstr('postgres'), '-f', '-' ], '<', \$tour, '>', \$out, '2>', \$err);
is($out, <<'OUT', 'results are as the comments say');

Custom Scan (WriteBackInsert)
  Write Buffer: used
  Table: readings
  ->  Result
readings|1000|1000|0
1000
0
1000
1|2026-01-02 12:00:00+00|21
1|2026-01-02 12:00:00+00|21
1
2
t
2
1|{"at": "2026-01-01T12:00:00+00:00", "celsius": 23, "station": 1}|23505|readings_pkey
1

1007

Custom Scan (RowCache) on products
  Cache Key: (id = 7)
  Pattern: write_around
product 7
better
3|product 3
7|better
3|product 3

7|100|79.9000000000000000
OUT
my @errors = $err =~ /(ERROR: .*|NOTICE: .*)/g;
is_deeply(\@errors, [
	'NOTICE:  primary key constraint "readings_pkey" will be checked when rows are flushed',
	'ERROR:  new row for relation "readings" violates check constraint "readings_celsius_check"' ],
	'... and so are the messages');

my $reference = slurp_file("$top/doc/reference.md");
for my $setting (split /\n/, $node->safe_psql('postgres', "SELECT name FROM pg_settings WHERE name LIKE 'writecache.%' AND name NOT LIKE '%injection%'"))
{
	like($reference, qr/^\| `\Q$setting\E` \|/m, "$setting is in the reference");
}
for my $function (split /\n/, $node->safe_psql('postgres', "SELECT DISTINCT proname FROM pg_proc WHERE pronamespace = 'writecache'::regnamespace AND prorettype <> 'trigger'::regtype"))
{
	like($reference, qr/writecache\.$function\(|`$function\(/, "$function() is in the reference");
}
$node->stop;

my @lost;
for my $file ("$top/README.md", glob("$top/doc/*.md"), glob("$top/src/*/README.md"))
{
	for my $link (slurp_file($file) =~ /\]\(([^)#:]+)/g)
	{
		push @lost, "$file: $link" unless -e dirname($file) . "/$link";
	}
}
is_deeply(\@lost, [], 'every link leads to a file');
done_testing();
