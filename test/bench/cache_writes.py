#!/usr/bin/env python3
"""What writes to tables of the row cache cost beside the same writes to a plain table, each its own transaction: statements
a second, synchronous_commit on, one session; and instructions of the session per statement, without the disk.

write_around: 0 %, since no code of the extension runs in the writes. COPY goes around the cache in every mode.
"""
import os

from benchlib import SECONDS, interleave, on_server, parameter, pgbench, psql, verdict
from counted import FOLDER, CountedServer, stop_server

COUNT = parameter("COUNT", 1000, 300)
COPIED = 100
TABLES = {"plain": None, "around": "write_around", "through": "write_through", "aside": "cache_aside"}
# Counts vary by some tenths of a percent.
TARGETS = {"around": 0.5, "through": 5.0, "aside": 5.0}
FILE = os.path.join(FOLDER, "copied.tsv")
STATEMENTS = {
    "UPDATE by key": "UPDATE {table} SET value = value + 1 WHERE id = :id",
    "INSERT": "INSERT INTO {table} (value, name) VALUES (17.25, 'some text')",
    "DELETE by key": "DELETE FROM {table} WHERE id = (SELECT nextval('victims'))",
    f"COPY of {COPIED} rows": f"COPY {{table}} (value, name) FROM '{FILE}'",
}


def fill(table):
    """Makes the table as it was at first."""
    psql(f"TRUNCATE {table}", "SELECT setval('ids', 1, false)", "SELECT setval('victims', 1, false)",
         f"INSERT INTO {table} (value, name) SELECT n, 'some text' FROM generate_series(1, {3 * COUNT}) n",
         f"VACUUM ANALYZE {table}", "CHECKPOINT")


on_server()
with open(FILE, "w") as file:
    file.write("1.5\tsome text\n" * COPIED)
os.chmod(FILE, 0o644)
psql("CREATE SEQUENCE ids", "CREATE SEQUENCE victims")
for name, mode in TABLES.items():
    psql(f"CREATE TABLE {name} (id int PRIMARY KEY DEFAULT nextval('ids'), value float8, name text)")
    if mode:
        psql(f"SELECT writecache.attach('{name}', '{mode}')")
for title, statement in list(STATEMENTS.items())[:2]:
    for table in TABLES:
        fill(table)
    script = f"\\set id random(1, {COUNT})\n{statement};\n"
    rates = interleave(f"{title}, synchronous_commit on", {
        table: (lambda table=table: pgbench(script.format(table=table), seconds=SECONDS)[1]) for table in TABLES},
        unit="statements/s")
    for table in TARGETS:
        verdict(rates, table, "plain", 1 / (1 + TARGETS[table] / 100))
stop_server()
server = CountedServer("pg_writecache")
counts = {(mode, title, table): server.per_statement(statement.format(table=table), mode, COUNT, COUNT,
                                                     lambda table=table: fill(table))
          for mode in ("simple", "prepared") for title, statement in STATEMENTS.items() for table in TABLES}
server.stop()
print(f"\ninstructions per statement, {COUNT} statements")
for mode in ("simple", "prepared"):
    for title in STATEMENTS:
        plain = counts[mode, title, "plain"]
        print(f"  {mode:<9}{title:<18} plain {plain:>10,.0f}")
        for table, target in TARGETS.items():
            percent = 100 * (counts[mode, title, table] - plain) / plain
            print(f"    {TABLES[table]:<14} {counts[mode, title, table]:>10,.0f}   {percent:+.2f} %, "
                  f"target at most {target:.1f} %: {'reached' if percent <= target else 'MISSED'}")
