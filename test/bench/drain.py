#!/usr/bin/env python3
"""Storing 2,000,000 buffered readings against COPY BINARY of the same rows in arrival order, with and without an index.

Readings arrive as sensors deliver: every station once per tick, in an order that changes from tick to tick. They wait
in the buffer, held back by the table's options; then these become the defaults, and the time until flush() returns is
taken. COPY reads the file on the server. Tables are fresh in every round. The more stations, the more index pages does
arrival order touch, and the fewer rows has a batch for each.
Environment: BENCH_ROWS (2,000,000), BENCH_STATIONS (10,000).
"""
import os

from benchlib import interleave, make_tables, on_server, parameter, psql, seconds_of, stored, verdict

ROWS = parameter("ROWS", 2_000_000, 400_000)
STATIONS = parameter("STATIONS", 10_000, 10_000)
CHUNK = 10_000
HELD_BACK = "flush_interval => '1 day', flush_rows => 1000000000, flush_bytes => 1000000000000"
DEFAULTS = ("flush_interval => current_setting('writecache.flush_interval')::interval, "
            "flush_rows => current_setting('writecache.flush_rows')::bigint, "
            "flush_bytes => pg_size_bytes(current_setting('writecache.flush_bytes'))")


def make_source(path):
    """Makes the readings, as the table "source" in arrival order and as a file for COPY BINARY."""
    psql("SELECT setseed(0.5)",
         f"""CREATE TABLE source AS
             SELECT row_number() OVER () AS n, r.* FROM (
               SELECT station, timestamptz '2026-01-01' + tick * interval '10 s' AS at, 20 + random() * 5 AS value
                 FROM generate_series(1, {ROWS // STATIONS}) tick, generate_series(1, {STATIONS}) station
                ORDER BY tick, random()) r""",
         "CREATE INDEX ON source (n)", "VACUUM ANALYZE source",
         f"COPY (SELECT station, at, value FROM source ORDER BY n) TO '{path}' (FORMAT binary)")


def settle():
    psql("CHECKPOINT")
    os.sync()


def copy_rate(path, index):
    make_tables(index)
    settle()
    rate = ROWS / seconds_of(lambda: psql(f"COPY plain FROM '{path}' (FORMAT binary)"))
    assert stored("plain") == ROWS
    return rate


def drain_rate(index):
    make_tables(index)
    psql(f"SELECT writecache.alter('buffered', {HELD_BACK})",
         *(f"INSERT INTO buffered SELECT station, at, value FROM source WHERE n > {n} AND n <= {n + CHUNK} ORDER BY n"
           for n in range(0, ROWS, CHUNK)))
    pending = int(psql("SELECT rows_pending FROM writecache.stat_write_back"))
    assert pending == ROWS, f"{pending} rows are pending"
    settle()
    rate = ROWS / seconds_of(lambda: psql(f"SELECT writecache.alter('buffered', {DEFAULTS})",
                                          "SELECT writecache.flush('buffered')"))
    pending = int(psql("SELECT rows_pending FROM writecache.stat_write_back"))
    assert pending == 0 and stored("buffered") == ROWS, f"{pending} rows pending, {stored('buffered')} stored"
    return rate


on_server()
path = os.path.join(os.environ["PGDATA"], "source.bin")
make_source(path)
for index, target in ((True, 1.5), (False, 0.9)):
    rates = interleave(f"{ROWS:,} readings of {STATIONS:,} stations, {'index on (station, at)' if index else 'no index'}",
                       {"COPY BINARY": lambda: copy_rate(path, index), "flush": lambda: drain_rate(index)})
    verdict(rates, "flush", "COPY BINARY", target)
