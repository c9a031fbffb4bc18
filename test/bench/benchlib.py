"""Shared by the server benchmarks: a private server, tables, clients, interleaved rounds, and how results are printed.

A benchmark measures both sides in one run on one server, in turn (A B A B ...), and compares round by round: what
disturbs the machine for a while disturbs both. It prints a line per round and the median of the rounds' ratios. A
figure that is missed is printed as such and is no failure; rows lost or invented are.

Environment: QUICK=1 (few, short rounds), BENCH_ROUNDS, BENCH_SECONDS (of one measurement).
"""
import os
import re
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
QUICK = os.environ.get("QUICK", "") not in ("", "0")

# What a production server of this size would have. autovacuum is off because it would hit one side only.
SETTINGS = {
    "fsync": "on",
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "30min",
    "autovacuum": "off",
    "writecache.buffer_size": "2GB",
    "wal_writer_flush_after": "0",
}


def parameter(name, default, quick):
    """Returns BENCH_<name> of the environment, else the default of this mode."""
    return int(os.environ.get("BENCH_" + name, quick if QUICK else default))


ROUNDS = parameter("ROUNDS", 5, 2)
SECONDS = parameter("SECONDS", 3, 1)


def on_server(**more):
    """Runs the calling script again, on a private server, and prints what it runs on; returns in that second run.

    Settings are added or replaced by name=value (a__b for a.b), or left at their defaults by name=None.
    """
    settings = SETTINGS | {name.replace("__", "."): value for name, value in more.items()}
    settings = {name: value for name, value in settings.items() if value is not None}
    script = os.path.abspath(sys.argv[0])
    if os.environ.get("PGWC_BENCH") != script:
        os.environ["PGWC_BENCH"] = script
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        program = os.path.join(ROOT, "test/tools/with-server.sh")
        os.execv(program, [program, *options, "--", sys.executable, script, *sys.argv[1:]])
    sys.stdout.reconfigure(line_buffering=True)
    print(f"PostgreSQL {psql('SHOW server_version')}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; "
          + ", ".join(f"{name} {value}" for name, value in settings.items()))


def psql(*statements):
    """Runs the statements in one session, each its own transaction, and returns what they print."""
    command = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]
    for statement in statements:
        command += ["-c", statement]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"{statements}: {result.stderr}")
    return result.stdout.strip()


def make_tables(index=True):
    """(Re)creates the tables of readings: "plain", and "buffered", which is attached."""
    statements = ["DROP TABLE IF EXISTS plain, buffered"]
    for table in ("plain", "buffered"):
        statements.append(f"CREATE TABLE {table} (station int, at timestamptz, value float8)")
        if index:
            statements.append(f"CREATE INDEX ON {table} (station, at)")
    psql(*statements, "SELECT writecache.attach('buffered', 'write_back')", "CHECKPOINT")


def stored(table):
    """Returns the number of rows in the table once all that was acknowledged is stored."""
    return int(psql("SELECT writecache.flush()", f"SELECT count(*) FROM {table}").split()[-1])


def pgbench(script, clients=1, seconds=SECONDS, settings="", options=()):
    """Runs a pgbench script with prepared statements; returns the transactions done and those per second."""
    command = ["pgbench", "-n", "-M", "prepared", "-c", str(clients), "-j", str(min(clients, os.cpu_count())),
               "-T", str(seconds), "-f", "-", *options]
    result = subprocess.run(command, input=script, capture_output=True, text=True,
                            env=os.environ | {"PGOPTIONS": settings})
    done = re.search(r"^number of transactions actually processed: (\d+)", result.stdout, re.M)
    rate = re.search(r"^tps = ([\d.]+)", result.stdout, re.M)
    if result.returncode != 0 or not done or not rate:
        sys.exit(f"pgbench: {result.stdout}{result.stderr}")
    return int(done[1]), float(rate[1])


def insert_rate(table, script, rows, **how):
    """Returns the rows per second that a script with {table} in it inserts into the emptied table, and checks them."""
    psql("SELECT writecache.flush()", f"TRUNCATE {table}", "CHECKPOINT")
    os.sync()  # what the round before left to write is not this round's
    done, rate = pgbench(script.replace("{table}", table), **how)
    count = stored(table)
    if count != done * rows:
        sys.exit(f"WRONG: {done * rows} rows were acknowledged, table {table} has {count}")
    return rate * rows


def interleave(title, sides, unit="rows/s"):
    """Runs every side's function once a round, prints the rates and returns them by side."""
    print(f"\n{title}")
    rates = {side: [] for side in sides}
    for number in range(1, ROUNDS + 1):
        for side, measure in sides.items():
            rates[side].append(measure())
        print(f"  round {number}: " + "   ".join(f"{side} {rates[side][-1]:>11,.0f} {unit}" for side in sides))
    return rates


def verdict(rates, ours, theirs, target):
    """Prints the median ratio of ours to theirs beside the target, with the raw medians."""
    ratios = [a / b for a, b in zip(rates[ours], rates[theirs])]
    ratio = statistics.median(ratios)
    print(f"  {ours} / {theirs}: median {ratio:.2f} (rounds {min(ratios):.2f} to {max(ratios):.2f}; "
          f"{statistics.median(rates[ours]):,.0f} to {statistics.median(rates[theirs]):,.0f}), "
          f"target {target}: {'reached' if ratio >= target else 'MISSED'}")


def seconds_of(action):
    """Returns how long the action takes."""
    start = time.monotonic()
    action()
    return time.monotonic() - start
