#!/usr/bin/env python3
"""Rows of a view and of a foreign table by key: computed each time, and with writecache.get() and a staleness bound.

The view joins and aggregates 100 rows for a key; the foreign table is reached by postgres_fdw over loopback. Prepared,
one session, 20 statements to a pipeline.
"""
import os

from benchlib import SECONDS, interleave, on_server, pgbench, psql, verdict

PIPELINE = 20
KEYS = 1000


def compare(title, relation, target):
    def side(statement):
        script = ("\\startpipeline\n" + (f"\\set id random(1, {KEYS})\n{statement}\n") * PIPELINE + "\\endpipeline\n")
        return pgbench(script, seconds=SECONDS)[1] * PIPELINE
    rates = interleave(title, {
        "plain": lambda: side(f"SELECT * FROM {relation} WHERE id = :id;"),
        "cached": lambda: side(f"SELECT * FROM writecache.get(NULL::{relation}, :id);")}, unit="rows/s")
    verdict(rates, "cached", "plain", target)


on_server()
psql("CREATE TABLE items (item int PRIMARY KEY, price numeric)",
     "INSERT INTO items SELECT g, g / 100.0 FROM generate_series(1, 10000) g",
     "CREATE TABLE lines (customer int, item int, amount int)",
     f"INSERT INTO lines SELECT g % {KEYS} + 1, g % 10000 + 1, g % 7 FROM generate_series(1, {KEYS * 100}) g",
     "CREATE INDEX ON lines (customer)", "VACUUM ANALYZE lines", "VACUUM ANALYZE items",
     "CREATE VIEW customers AS SELECT customer AS id, count(*) AS n, sum(amount * price) AS total, max(price) AS top "
     "FROM lines JOIN items USING (item) GROUP BY customer",
     f"CREATE TABLE remote (id int PRIMARY KEY, name text); INSERT INTO remote SELECT g, 'item ' || g "
     f"FROM generate_series(1, {KEYS}) g",
     "CREATE EXTENSION postgres_fdw",
     f"CREATE SERVER loopback FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '{os.environ['PGHOST']}', "
     f"port '{os.environ['PGPORT']}', dbname '{os.environ.get('PGDATABASE', 'postgres')}')",
     "CREATE USER MAPPING FOR CURRENT_USER SERVER loopback",
     "CREATE FOREIGN TABLE far (id int, name text) SERVER loopback OPTIONS (table_name 'remote')",
     *(f"SELECT writecache.attach('{relation}', 'cache_aside', max_staleness => '1 h', key => '{{id}}')"
       for relation in ("customers", "far")))
compare("a view that joins and aggregates 100 rows", "customers", 15)
compare("a foreign table over loopback", "far", 10)
