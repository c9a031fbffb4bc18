#!/usr/bin/env python3
"""What queries pay for the buffer: a look-up with an empty buffer, look-ups and whole-table queries with rows pending.

The look-up with an empty buffer is counted in instructions, against a plain table. The others are timed: look-ups by key
with 100,000 and 1,000,000 rows pending against the same ones with none, count(*) and ORDER BY ... LIMIT with 100,000
pending beside many in the table against the same rows all in a plain table.
Environment: BENCH_TABLE_ROWS (10,000,000).
"""
from benchlib import interleave, on_server, parameter, pgbench, psql, seconds_of, verdict
from counted import CountedServer, stop_server

TABLE_ROWS = parameter("TABLE_ROWS", 10_000_000, 500_000)
COUNT = parameter("COUNT", 1000, 300)
HELD_BACK = "flush_interval => '1 day', flush_rows => 1000000000, flush_bytes => 1000000000000"
LOOK_UP = "SELECT * FROM {table} WHERE id = :id"


def make(table, rows, attached):
    psql(f"DROP TABLE IF EXISTS {table}",
         f"CREATE TABLE {table} (id int PRIMARY KEY, at timestamptz, value float8)", f"CREATE INDEX ON {table} (at)",
         f"INSERT INTO {table} SELECT n, timestamptz '2026-01-01' + n * interval '1 s', n FROM generate_series(1, {rows}) n",
         f"VACUUM ANALYZE {table}",
         *([f"SELECT writecache.attach('{table}', 'write_back', {HELD_BACK})"] if attached else []))


def stage(table, first, last):
    step = 10_000
    psql(*(f"INSERT INTO {table} SELECT n, timestamptz '2026-01-01' + n * interval '1 s', n "
           f"FROM generate_series({n}, {min(n + step - 1, last)}) n" for n in range(first, last + 1, step)))


def look_up_rate(table, rows):
    script = f"\\set id random(1, {rows})\n" + LOOK_UP.replace("{table}", table) + ";\n"
    return pgbench(script)[1]


on_server()

make("table_alone", TABLE_ROWS + 100_000, False)
make("with_pending", TABLE_ROWS, True)
stage("with_pending", TABLE_ROWS + 1, TABLE_ROWS + 100_000)
for title, query in (("count(*)", "SELECT count(*) FROM {table}"),
                     ("ORDER BY at DESC LIMIT 10", "SELECT * FROM {table} ORDER BY at DESC LIMIT 10")):
    times = interleave(f"{title}, {TABLE_ROWS:,} rows and 100,000 pending",
                       {side: (lambda side=side: 1 / seconds_of(lambda: psql(query.replace("{table}", side))))
                        for side in ("table_alone", "with_pending")}, unit="queries/s")
    verdict(times, "with_pending", "table_alone", round(1 / 1.3, 2))

for pending, most in ((100_000, 2), (1_000_000, 10)):
    make("looked_up", 100_000, True)
    make("empty", 100_000, True)
    stage("looked_up", 100_001, 100_000 + pending)
    look_up_rate("looked_up", 100_000)  # the first ones make the summaries
    rates = interleave(f"look-up by key, {pending:,} rows pending",
                       {"none pending": lambda: look_up_rate("empty", 100_000),
                        "pending": lambda: look_up_rate("looked_up", 100_000 + pending)}, unit="look-ups/s")
    verdict(rates, "pending", "none pending", 1 / most)
    psql("SELECT writecache.flush()")

make("plain", 1000, False)
make("attached", 1000, True)
stop_server()
server = CountedServer("pg_writecache")
print(f"\ninstructions of a look-up by key, buffer empty, {COUNT} statements")
for mode in ("simple", "prepared"):
    plain, attached = (server.per_statement(LOOK_UP.replace("{table}", table), mode, COUNT, 1000)
                       for table in ("plain", "attached"))
    percent = 100 * (attached - plain) / plain
    print(f"  {mode:<9}plain {plain:>9,.0f}   attached {attached:>9,.0f}   {percent:+.2f} %, "
          f"target under 3 %: {'reached' if percent < 3 else 'MISSED'}")
server.stop()
