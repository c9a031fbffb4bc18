# What the TAP tests share: a server with the extension, sessions that stay open, its processes, and crashes.
package WriteCacheTest;
use strict;
use warnings;
use Exporter 'import';
use IPC::Run;
use Time::HiRes 'sleep';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;

our @EXPORT = qw(server attached_table configure reconfigure psql_errors wait_for is_running is_stopped children_of launcher_of worker_of
  kill_orphans wait_for_crash try_to_start start_again wait_until_up in_background start_writer acknowledged verdict);

# Looks until the condition is true; returns what it said.
sub wait_for(&$)
{
	my ($condition, $what) = @_;
	for (1 .. 50 * ($ENV{PG_TEST_TIMEOUT_DEFAULT} || 180))
	{
		my $result = $condition->();
		return $result if $result;
		sleep 0.02;
	}
	die "waited in vain for $what";
}

# A running server with the extension; settings as name => value.
sub server
{
	my ($name, %settings) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init;
	%settings = (shared_preload_libraries => 'pg_writecache', fsync => 'off', log_statement => 'none', %settings);
	$node->append_conf('postgresql.conf', join "\n", map { "$_ = '$settings{$_}'" } sort keys %settings);
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION pg_writecache');
	return $node;
}

# A write-back table; options of attach() as SQL. It is flushed when it is asked to, unless the options say more.
sub attached_table
{
	my ($node, $table, $columns, $options) = @_;
	$options //= "flush_interval => '1 day'";
	$node->safe_psql('postgres', "CREATE TABLE $table ($columns); SELECT writecache.attach('$table', 'write_back', $options)");
	return;
}

# Settings for the next start; the last word on each counts.
sub configure
{
	my ($node, %settings) = @_;
	$node->append_conf('postgresql.conf', join "\n", map { "$_ = '$settings{$_}'" } sort keys %settings);
	return;
}

# Settings for a running server: they are in force for the flush worker's next turn.
sub reconfigure
{
	my ($node, %settings) = @_;
	configure($node, %settings);
	$node->reload;
	# Who sees them was forked after the postmaster had told the others.
	for my $name (sort keys %settings)
	{
		wait_for { $node->safe_psql('postgres', "SELECT current_setting('$name')") eq $settings{$name} } "$name to be in force";
	}
	return;
}

# What a script says on stderr, with SQLSTATE.
sub psql_errors
{
	my ($node, $sql) = @_;
	my ($code, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql", on_error_stop => 0);
	return $err;
}

# The one-letter state of a process; nothing if there is none.
sub state_of
{
	my $pid = shift;
	open my $stat, '<', "/proc/$pid/stat" or return '';
	return (<$stat> // '') =~ /^\d+ \(.*\) (\S)/ ? $1 : '';
}

# Not: whether it waits for its parent to look at it.
sub is_running { return state_of(shift) !~ /^[ZX]?$/; }
sub is_stopped { return state_of(shift) =~ /^[Tt]$/; }

# The server's own processes (pid => title). Some are connected to no database, and no view shows them.
sub children_of
{
	my $node = shift;
	my %children;
	my $postmaster = $node->{_pid} or return %children;
	for my $path (glob '/proc/[0-9]*/stat')
	{
		open my $stat, '<', $path or next;
		my ($pid, $state, $parent) = (<$stat> // '') =~ /^(\d+) \(.*\) (\S) (\d+)/ or next;
		next if $parent != $postmaster || $state eq 'Z';
		open my $title, '<', "/proc/$pid/cmdline" or next;
		$children{$pid} = <$title> // '';
	}
	return %children;
}

sub child_titled
{
	my ($node, $title, $not) = @_;
	return wait_for {
		my %children = children_of($node);
		my ($pid) = grep { $children{$_} =~ /$title/ && $_ != ($not // 0) } keys %children;
		$pid;
	} "a process \"$title\"";
}

# The launcher, or a flush worker; not the one whose id is given.
sub launcher_of { return child_titled(shift, 'pg_writecache launcher', shift); }
sub worker_of { return child_titled(shift, 'pg_writecache flush worker', shift); }

# Ends what a dead postmaster has left: who waited for a lock that died with its holder never notices.
sub kill_orphans
{
	my $directory = shift->data_dir;
	for my $link (glob '/proc/[0-9]*/cwd')
	{
		my $cwd = readlink $link // next;
		kill 'KILL', (split '/', $link)[2] if $cwd eq $directory;
	}
	return;
}

# Waits until the postmaster has gone, on its own account.
sub wait_for_crash
{
	my $node = shift;
	my $pid = $node->{_pid};
	wait_for { !is_running($pid) } 'the end of the server';
	$node->{_pid} = undef;
	return;
}

# Starts a server that may crash at any moment, even between pg_ctl's success and the look at postmaster.pid that
# PostgreSQL::Test::Cluster takes then, and bails out. False, if pg_ctl failed.
sub try_to_start
{
	my $node = shift;
	my $failed = system_log('pg_ctl', '-w', '-D', $node->data_dir, '-l', $node->logfile, '-o', '--cluster-name=' . $node->name, 'start');
	$node->_update_pid(-1);
	return !$failed;
}

# Starts a server that crashed; orphans of the last run may still be about to notice.
sub start_again
{
	my $node = shift;
	wait_for { try_to_start($node) } 'the server to start again';
	return;
}

# A psql that runs a script while the test goes on; finish() returns what it said.
sub in_background
{
	my ($node, $sql) = @_;
	return WriteCacheTest::Session->new($node)->send("$sql\n;");
}

# After a crash that the postmaster has survived.
sub wait_until_up
{
	my $node = shift;
	wait_for { $node->psql('postgres', 'SELECT 1') == 0 } 'the server to accept connections';
	return;
}

# A session that inserts (number, 1), (number, 2), ... until it loses the server, and notes what was acknowledged.
# Rows with negative numbers are rolled back.
sub start_writer
{
	my ($node, $table, $number) = @_;
	my $base = PostgreSQL::Test::Utils::tempdir() . "/writer$number";
	open my $script, '>', "$base.sql" or die "$base.sql: $!";
	for my $n (1 .. 50000)
	{
		my ($keep, $drop) = ("INSERT INTO $table VALUES ($number, $n);", "INSERT INTO $table VALUES ($number, -$n);");
		print $script $n % 10 == 3 ? "BEGIN; $drop ROLLBACK; $keep\n"
		  : $n % 10 == 5 ? "BEGIN; $keep SAVEPOINT s; $drop ROLLBACK TO s; COMMIT;\n"
		  : "$keep\n";
		print $script "\\echo $n\n";
	}
	close $script or die $!;
	my $psql = IPC::Run::start([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', "$base.sql" ],
		'<', \'', '>', "$base.out", '2>', "$base.err");
	return { psql => $psql, out => "$base.out", number => $number };
}

# How far it has come at least. psql hands out its notes by the page, and all of them at its end.
sub acknowledged
{
	my $notes = slurp_file(shift->{out});
	$notes =~ s/[^\n]*\z//;
	return (split /\n/, $notes)[-1] // 0;
}

# What is wrong with the rows of writers that have ended; nothing, if each row they were promised is in the table once, in
# order, and no other. The last one may be there although nobody could be told.
sub verdict
{
	my ($node, $table, @writers) = @_;
	my @faults;
	for my $writer (@writers)
	{
		$writer->{psql}->finish;
		my $told = acknowledged($writer);
		my $row = $node->safe_psql('postgres', qq{
			SELECT count(*), count(DISTINCT n), coalesce(min(n), 1), coalesce(max(n), 0), count(*) FILTER (WHERE n < before)
			  FROM (SELECT n, lag(n) OVER (ORDER BY ctid) AS before FROM $table WHERE w = $writer->{number}) AS rows});
		my ($count, $different, $least, $last, $disorder) = split /\|/, $row;
		push @faults, "writer $writer->{number}: $told acknowledged, $count rows, $different different, from $least to $last, $disorder out of order"
		  if $count != $different || $least != 1 && $count || $last != $count || $last < $told || $last > $told + 1 || $disorder;
	}
	return join "\n", @faults;
}

package WriteCacheTest::Session;
use IPC::Open3;
use PostgreSQL::Test::Utils;

# Prints SQLSTATEs. Goes on after an error. Its output goes to files, so that it never waits for us to read.
sub new
{
	my ($class, $node, %parameters) = @_;
	my $base = PostgreSQL::Test::Utils::tempdir() . '/session';
	my $self = bless { asked => 0, out => "$base.out", err => "$base.err", read => { out => 0, err => 0 } }, $class;
	open my $out, '>', $self->{out} or die "$self->{out}: $!";
	open my $err, '>', $self->{err} or die "$self->{err}: $!";
	$self->{psql} = open3($self->{in}, '>&' . fileno $out, '>&' . fileno $err,
		'psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-d', $node->connstr($parameters{database} // 'postgres'));
	return $self;
}

# Sends SQL and does not wait.
sub send
{
	my ($self, $sql) = @_;
	local $SIG{PIPE} = 'IGNORE';
	$sql .= "\n";
	# psql may have gone with the server.
	while (length $sql) { substr($sql, 0, syswrite($self->{in}, $sql) // length $sql) = ''; }
	return $self;
}

# What it has printed since it was asked last.
sub said
{
	my $self = shift;
	my $said = '';
	for my $stream ('out', 'err')
	{
		my $text = slurp_file($self->{$stream}, $self->{read}{$stream});
		$self->{read}{$stream} += length $text;
		$said .= $text;
	}
	return $said;
}

# Sends SQL and returns what it prints: rows, then errors. What is left of earlier commands comes first.
sub query
{
	my ($self, $sql) = @_;
	my $mark = 'done ' . ++$self->{asked};
	$self->send("$sql\n;\n\\echo $mark\n\\warn $mark");
	WriteCacheTest::wait_for {
		!WriteCacheTest::is_running($self->{psql})
		  || 2 == grep { slurp_file($self->{$_}, $self->{read}{$_}) =~ /^\Q$mark\E\n/m } 'out', 'err';
	} "an answer to $sql";
	my $said = $self->said;
	$said =~ s/^\Q$mark\E\n//mg;
	chomp $said;
	return $said;
}

sub pid
{
	my $self = shift;
	$self->{pid} //= $self->query('SELECT pg_catalog.pg_backend_pid()');
	return $self->{pid};
}

# Waits for the end of what was sent, ends the session and returns what it has said.
sub finish
{
	my $self = shift;
	close $self->{in} if $self->{in};
	delete $self->{in};
	waitpid $self->{psql}, 0;
	my $said = $self->said;
	chomp $said;
	return $said;
}

1;
