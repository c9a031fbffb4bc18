#!/usr/bin/env python3
"""100-row INSERT ... SELECT, one transaction each, 1 and 4 sessions: attached and plain.

How fast sessions are acknowledged: the buffer is large enough for what the flush worker, who stores rows all the
while, does not manage; each round waits for it before the next begins.
"""
from benchlib import insert_rate, interleave, make_tables, on_server, verdict

ROWS = 100
SCRIPT = ("\\set chunk random(0, 9)\n"
          f"INSERT INTO {{table}} SELECT :chunk * {ROWS} + n, now(), n::float8 FROM generate_series(1, {ROWS}) n;\n")

on_server()
make_tables()
for clients, target in ((1, 5), (4, 8)):
    def side(table, clients=clients):
        return insert_rate(table, SCRIPT, ROWS, clients=clients)
    rates = interleave(f"{ROWS}-row INSERT ... SELECT, sessions: {clients}",
                       {"plain": lambda: side("plain"), "attached": lambda: side("buffered")})
    verdict(rates, "attached", "plain", target)
