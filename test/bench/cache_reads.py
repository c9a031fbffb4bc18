#!/usr/bin/env python3
"""Reads by key through the row cache and without it, prepared: single rows of few and of many keys, 50 statements to a
pipeline; one field of a large document; = ANY and get_many; several sessions.

Both sides read the same rows from tables of the same size and shape; one of them is attached as write_around.
"""
import os

from benchlib import QUICK, SECONDS, interleave, on_server, pgbench, psql, verdict

PIPELINE = 50
MANY = 100_000 if QUICK else 1_000_000
ITEMS = ("name text, price numeric, stock int, changed timestamptz", "'item ' || g, g / 100.0, g % 1000, now()")
DOCUMENT = ("body jsonb", "(SELECT jsonb_object_agg('field' || k, repeat(md5((g * k)::text), 3)) "
                          "FROM generate_series(1, 40) k)")


def make(name, rows, columns, values):
    """Creates name_plain and name_cached, and reads every row of the latter once."""
    for side in ("plain", "cached"):
        psql(f"CREATE TABLE {name}_{side} (id int PRIMARY KEY, {columns})",
             f"INSERT INTO {name}_{side} SELECT g, {values} FROM generate_series(1, {rows}) g",
             f"VACUUM ANALYZE {name}_{side}", f"SELECT sum(hashtext({name}_{side}::text)) FROM {name}_{side}")
    psql(f"SELECT writecache.attach('{name}_cached', 'write_around')",
         f"SELECT count(*) FROM writecache.get_many(NULL::{name}_cached, "
         f"ARRAY(SELECT g FROM generate_series(1, {rows}) g))")


def pipeline(rows, statement):
    """A pgbench script of single-row statements with random keys."""
    return ("\\startpipeline\n" + (f"\\set id random(1, {rows})\n" + statement + "\n") * PIPELINE
            + "\\endpipeline\n")


def compare(title, name, script, target, per_run, cached_script=None, **how):
    def side(suffix):
        text = cached_script if cached_script and suffix == "cached" else script
        return pgbench(text.replace("{table}", f"{name}_{suffix}"), seconds=SECONDS, **how)[1] * per_run
    rates = interleave(title, {suffix: (lambda suffix=suffix: side(suffix)) for suffix in ("plain", "cached")},
                       unit="keys/s")
    verdict(rates, "cached", "plain", target)
    return rates


on_server(shared_buffers="1GB", writecache__cache_size="1GB")
make("hot", 10_000, *ITEMS)
make("many", MANY, *ITEMS)
make("document", 2_000, *DOCUMENT)

ROW = "SELECT * FROM {table} WHERE id = :id;"
compare("primary key, 10,000 hot rows", "hot", pipeline(10_000, ROW), 1.25, PIPELINE)
compare(f"primary key, {MANY:,} rows", "many", pipeline(MANY, ROW), 1.3, PIPELINE)
compare("one field of a 4 kB compressed document", "document",
        pipeline(2_000, "SELECT body->>'field7' FROM {table} WHERE id = :id;"), 1.5, PIPELINE)
compare("the whole document", "document", pipeline(2_000, ROW), 1.0, PIPELINE)
for count, any_target, get_target in ((1000, 1.5, 1.7), (32, 1.0, 1.0)):
    keys = ("-D", "keys={" + ",".join(str(k * 7 % 10_000 + 1) for k in range(count)) + "}")
    any_of = "SELECT count(price) FROM {table} WHERE id = ANY(:keys::int[]);\n"
    get = "SELECT count(price) FROM writecache.get_many(NULL::{table}, :keys::int[]);\n"
    compare(f"= ANY, {count} keys", "hot", any_of, any_target, count, options=keys)
    compare(f"get_many beside = ANY, {count} keys", "hot", any_of, get_target, count, cached_script=get, options=keys)
sessions = min(4, os.cpu_count())
alone = compare("the hot rows again, 1 session", "hot", pipeline(10_000, ROW), 1.25, PIPELINE)
together = compare(f"the hot rows, {sessions} sessions", "hot", pipeline(10_000, ROW), 1.25, PIPELINE, clients=sessions)
verdict({"together": together["cached"], "alone": alone["cached"]}, "together", "alone", 3)
