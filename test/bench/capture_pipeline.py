#!/usr/bin/env python3
"""Single-row INSERT, one session, 50 statements to a pipeline: attached and plain, synchronous_commit on and off.

The statements of a pipeline are one transaction. The flush worker stores rows all the while.
"""
from benchlib import insert_rate, interleave, make_tables, on_server, verdict

STATEMENTS = 50
SCRIPT = ("\\startpipeline\n"
          + "\\set station random(1, 1000)\nINSERT INTO {table} VALUES (:station, now(), 17.25);\n" * STATEMENTS
          + "\\endpipeline\n")

on_server()
make_tables()
for mode, target in (("on", 2.5), ("off", 1.7)):
    def side(table, mode=mode):
        return insert_rate(table, SCRIPT, STATEMENTS, settings=f"-c synchronous_commit={mode}")
    rates = interleave(f"single-row INSERT, 1 session, {STATEMENTS} to a pipeline, synchronous_commit {mode}",
                       {"plain": lambda: side("plain"), "attached": lambda: side("buffered")})
    verdict(rates, "attached", "plain", target)
