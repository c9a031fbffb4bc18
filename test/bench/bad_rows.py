#!/usr/bin/env python3
"""Storing 100,000 buffered rows of which the table refuses none, one, one in a thousand and all.

The rows wait in the buffer, held back by the table's options; then the time until flush() returns is taken. What is
refused has a key that the table has already, so that nobody knows it before the flush. All rows are checked to be where
they belong: in the table, or in writecache.rejected.
Environment: BENCH_ROWS (100,000).
"""
from benchlib import interleave, on_server, parameter, psql, seconds_of, verdict

ROWS = parameter("ROWS", 100_000, 100_000)
CHUNK = 10_000
HELD_BACK = "flush_interval => '1 day', flush_rows => 1000000000, flush_bytes => 1000000000000"


def rate(bad):
    """Returns the rows per second of a flush that finds `bad` rows refused, evenly spread."""
    psql("DROP TABLE IF EXISTS readings", "CREATE TABLE readings (id int PRIMARY KEY, at timestamptz, value float8)",
         f"INSERT INTO readings SELECT n * ({ROWS} / {max(bad, 1)}), now(), 0 FROM generate_series(1, {bad}) n",
         f"SELECT writecache.attach('readings', 'write_back', {HELD_BACK})",
         *(f"INSERT INTO readings SELECT n, now(), n FROM generate_series({n}, {n + CHUNK - 1}) n"
           for n in range(1, ROWS, CHUNK)), "CHECKPOINT")
    pending = int(psql("SELECT rows_pending FROM writecache.stat_write_back"))
    assert pending == ROWS, f"{pending} rows are pending"
    taken = seconds_of(lambda: psql("SELECT writecache.flush('readings')"))
    rejected = int(psql("SELECT writecache.discard_rejected('readings')"))
    stored = int(psql("SELECT count(*) FROM readings WHERE value > 0"))
    assert rejected == bad and stored == ROWS - bad, f"{bad} bad rows: {rejected} rejected, {stored} stored"
    return ROWS / taken


on_server()
SIDES = {"none bad": 0, "1 bad": 1, "0.1 % bad": ROWS // 1000, "all bad": ROWS}
rates = interleave(f"flush of {ROWS:,} rows", {side: (lambda bad=bad: rate(bad)) for side, bad in SIDES.items()})
verdict(rates, "1 bad", "none bad", 0.5)
verdict(rates, "0.1 % bad", "none bad", 0.05)
verdict(rates, "all bad", "none bad", 0.005)
