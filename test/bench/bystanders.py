#!/usr/bin/env python3
"""What statements on tables that are not attached pay: instructions per statement with and without the library.

With the library another table is attached, and all hooks are in place.
"""
from benchlib import on_server, parameter, psql
from counted import CountedServer, stop_server

COUNT = parameter("COUNT", 1000, 300)
ROWS = 1000
TARGET = 1.0
STATEMENTS = {
    "SELECT by key": "SELECT value FROM bystander WHERE id = :id",
    "INSERT": f"INSERT INTO bystander VALUES ({ROWS} + nextval('ids'), 17.25)",
    "UPDATE by key": "UPDATE bystander SET value = value + 1 WHERE id = :id",
}


def fill():
    psql("TRUNCATE bystander", f"INSERT INTO bystander SELECT n, 0 FROM generate_series(1, {ROWS}) n",
         "SELECT setval('ids', 1)", "CHECKPOINT")


def count_all(libraries):
    server = CountedServer(libraries)
    counts = {}
    for mode in ("simple", "prepared"):
        for name, statement in STATEMENTS.items():
            counts[mode, name] = server.per_statement(statement, mode, COUNT, ROWS, fill)
    server.stop()
    return counts


on_server()
psql("CREATE TABLE bystander (id int PRIMARY KEY, value float8)", "CREATE SEQUENCE ids",
     "CREATE TABLE attached (id int)", "SELECT writecache.attach('attached', 'write_back')",
     "INSERT INTO attached VALUES (1)")
stop_server()
without = count_all("")
with_library = count_all("pg_writecache")
print(f"\ninstructions per statement on a table that is not attached, {COUNT} statements")
for (mode, name), plain in without.items():
    loaded = with_library[mode, name]
    percent = 100 * (loaded - plain) / plain
    print(f"  {mode:<9}{name:<14} without {plain:>9,.0f}   with {loaded:>9,.0f}   {percent:+.2f} %, "
          f"target under {TARGET:.0f} %: {'reached' if percent < TARGET else 'MISSED'}")
