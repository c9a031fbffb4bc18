#!/usr/bin/env python3
"""100,000 readings a second for a minute into a table with an index on (station, at), and what that costs.

4 paced clients insert 100 rows a statement; 10,000 stations deliver ten times a second. Beside it the same paced
clients insert directly, and then as fast as they can. Latency is a statement's own, without the wait for a late
client; CPU is that of all of the server's processes, in cores. The buffer and autovacuum have their defaults.
Environment: BENCH_SECONDS (60), BENCH_RATE (100000 rows/s).
"""
import glob
import os
import statistics
import subprocess
import tempfile
import threading

from benchlib import on_server, parameter, pgbench, psql, make_tables, stored

DURATION = parameter("SECONDS", 60, 10)
RATE = parameter("RATE", 100_000, 100_000)
ROWS = 100
CLIENTS = 4
SCRIPT = (f"\\set chunk random(0, {10_000 // ROWS - 1})\n"
          f"INSERT INTO {{table}} SELECT :chunk * {ROWS} + n, clock_timestamp(), n::float8"
          f" FROM generate_series(1, {ROWS}) n;\n")


def server_cpu():
    """Returns the CPU seconds that the server has used, its processes of the past included."""
    with open(os.path.join(os.environ["PGDATA"], "postmaster.pid")) as file:
        postmaster = int(file.readline())
    ticks = 0
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(path) as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        pid, parent = int(path.split("/")[2]), int(fields[1])
        if postmaster in (pid, parent):
            # the postmaster's children of the past are in its own cutime and cstime
            ticks += sum(map(int, fields[11:15] if pid == postmaster else fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


class Lag:
    """Looks every 100 ms how old the oldest pending row is, while the object's block runs."""

    def __enter__(self):
        self.seconds = []
        self.watcher = subprocess.Popen(
            ["psql", "-X", "-q", "-A", "-t"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.watcher.stdin.write("SELECT coalesce(extract(epoch FROM max(oldest_pending)), 0)"
                                 " FROM writecache.stat_write_back \\watch 0.1\n")
        self.watcher.stdin.flush()
        self.reader = threading.Thread(target=self.read)
        self.reader.start()
        return self

    def read(self):
        for line in self.watcher.stdout:
            try:
                self.seconds.append(float(line))
            except ValueError:
                pass  # the headings of \watch

    def __exit__(self, *_):
        self.watcher.terminate()
        self.watcher.wait()
        self.reader.join()


def run(table, title, rate):
    """Runs the clients against the emptied table; returns the largest lag and the samples taken."""
    psql("SELECT writecache.flush()", f"TRUNCATE {table}", "CHECKPOINT")
    with tempfile.TemporaryDirectory() as folder:
        options = ["-l", f"--log-prefix={folder}/log"] + (["--rate", str(rate // ROWS)] if rate else [])
        cpu = server_cpu()
        with Lag() as lag:
            done, per_second = pgbench(SCRIPT.replace("{table}", table), CLIENTS, DURATION, options=options)
        cpu = server_cpu() - cpu
        latencies = []
        for path in glob.glob(f"{folder}/log.*"):
            with open(path) as file:
                for line in file:
                    fields = line.split()
                    late = int(fields[6]) if rate else 0
                    latencies.append((int(fields[2]) - late) / 1000)
    cuts = statistics.quantiles(latencies, n=100)
    count = stored(table)
    print(f"  {title:<22} {per_second * ROWS:>9,.0f} rows/s   p50 {cuts[49]:6.2f} ms   p99 {cuts[98]:6.2f} ms   "
          f"server CPU {cpu / DURATION:4.2f} cores   acknowledged {done * ROWS:,}, stored {count:,}"
          f"{'' if count == done * ROWS else '   WRONG'}")
    return max(lag.seconds, default=0.0), len(lag.seconds), per_second * ROWS


on_server(autovacuum="on", writecache__buffer_size=None)
make_tables()
interval = float(psql("SELECT extract(epoch FROM current_setting('writecache.flush_interval')::interval)"))
print(f"\n{DURATION} s, {CLIENTS} clients, {ROWS} rows a statement")
lag, samples, reached = run("buffered", "attached, paced", RATE)
run("plain", "plain, paced", RATE)
run("plain", "plain, no pause", None)
good = lag <= interval + 1 and reached >= 0.98 * RATE
print(f"  attached: {reached:,.0f} rows/s, lag at most {lag:.2f} s in {samples} samples, "
      f"target {RATE:,} and {interval + 1:.1f} s: {'reached' if good else 'MISSED'}")
