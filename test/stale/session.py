"""A session of the checker: transactions of every isolation level, reads in and between them."""
import random
import time
from collections import Counter
from contextlib import contextmanager

from pq import Refused
from reads import Reads
from writes import Writes

# What sessions that get in each other's way are told; a change of columns beside or under a statement.
EXPECTED = {"55006", "40001", "40P01", "55P03", "23505", "42703", "0A000", "23514", "57014"}
# A table was rewritten, or a catalog row was changed, between two looks at it.
EXPECTED_WORDS = ("tuple concurrently", "does not exist", "is not a partition", "is already a partition", "is not attached", "are not cached",
                  "is already attached", "this transaction cannot cache", "row do not match", "row type do not match", "has wrong type",
                  "were dropped after the query was planned")
# The same, unless it is a function of ours that says so: it has locked the table before it looks.
EXPECTED_OF_OTHERS = ("could not open relation with OID", "cache lookup failed")


class Session:
    def __init__(self, number, seed, cluster, tables, deadline):
        self.number, self.cluster, self.tables, self.deadline = number, cluster, tables, deadline
        self.rng = random.Random(f"{seed} session {number}")
        self.counts = Counter()
        self.faults, self.log = [], []
        self.in_transaction, self.writable = False, True
        self.reads, self.writes = Reads(self), Writes(self)

    def work(self):
        self.connection = self.cluster.connect(f"session-{self.number}")
        self.run("SET lock_timeout = '300ms'; SET statement_timeout = '30s'; SET enable_hashjoin = off; SET enable_mergejoin = off")
        self.parallel = self.run("SELECT name FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query') ORDER BY 1 LIMIT 1")[0][0]
        while time.monotonic() < self.deadline and not self.faults and not self.stop.value:
            try:
                self.turn()
            except Refused as refused:
                self.judge(refused)
                self.run("ROLLBACK")
                self.run("RESET session_replication_role")
                self.in_transaction = False
                for row in self.run(f"SELECT gid FROM pg_prepared_xacts WHERE gid = 'session {self.number}'"):
                    self.run(f"ROLLBACK PREPARED '{row[0]}'")
        self.connection.close()

    def turn(self):
        self.writable = True
        roll = self.rng.random()
        if roll < 0.55:
            for _ in range(self.rng.randint(1, 5)):
                self.read()
        elif roll < 0.75:
            self.writes.change()
        elif roll < 0.96:
            self.transaction()
        elif roll < 0.97:
            self.run(f"SET {self.parallel} = {self.rng.choice(('on', *['off'] * 7))}")
        else:
            self.writes.maintain()

    def read(self):
        table = self.rng.choice(self.tables)
        if table.kind == "wide" and self.rng.random() < 0.6:
            table = self.tables[0]
        self.reads.read(table)

    def transaction(self):
        rng = self.rng
        level = rng.choice(("READ COMMITTED", "READ COMMITTED", "REPEATABLE READ", "REPEATABLE READ", "SERIALIZABLE"))
        self.counts[level] += 1
        self.writable = rng.random() < 0.8
        self.run(f"BEGIN ISOLATION LEVEL {level}{'' if self.writable else ', READ ONLY'}")
        self.in_transaction = True
        savepoints = 0
        for _ in range(rng.randint(2, 8)):
            roll = rng.random()
            if roll < 0.5 or not self.writable:
                self.read()
            elif roll < 0.75:
                self.writes.change()
            elif roll < 0.85:
                self.run("SAVEPOINT s")
                savepoints += 1
            elif savepoints and roll < 0.93:
                self.run("ROLLBACK TO s")
                self.counts["rollback to savepoint"] += 1
                if rng.random() < 0.5:
                    self.read()
            elif savepoints:
                self.run("RELEASE s")
                savepoints -= 1
            else:
                self.pause()
        if self.writable and rng.random() < 0.15:
            self.prepare()
        else:
            self.end()

    def end(self):
        kept = self.rng.random() < 0.7
        self.counts["commit" if kept else "rollback"] += 1
        self.run("COMMIT" if kept else "ROLLBACK")
        self.in_transaction = False

    def prepare(self):
        """A transaction that nobody's session runs any more is in the way until it is decided."""
        try:
            self.run(f"PREPARE TRANSACTION 'session {self.number}'")
        except Refused as refused:
            self.in_transaction = False
            if "temporary" in str(refused) or refused.state in EXPECTED:
                return
            raise
        self.in_transaction = False
        self.counts["prepared"] += 1
        for _ in range(self.rng.randint(0, 3)):
            try:
                self.read()
            except Refused as refused:
                self.judge(refused)
                self.run("ROLLBACK")
                self.in_transaction = False
        self.run(f"{self.rng.choice(('COMMIT', 'ROLLBACK'))} PREPARED 'session {self.number}'")
        self.read()

    @contextmanager
    def atomic(self):
        """Several statements in one transaction: the one that is open, or one of their own."""
        if self.in_transaction:
            yield
            return
        self.run("BEGIN")
        self.in_transaction = True
        yield
        self.end()

    def pause(self):
        """Lets others do something."""
        time.sleep(self.rng.choice((0, 0, 0.001, 0.01)))

    def run(self, text):
        self.note(text)
        return self.connection.run(text)

    def copy(self, text, lines):
        self.note(text)
        self.connection.copy(text, lines)

    def note(self, text):
        self.log.append(text)
        if len(self.log) > 400:
            del self.log[:200]

    def judge(self, refused):
        self.counts["refused"] += 1
        self.note(f"-- {refused}")
        statement = self.log[-2]
        words = EXPECTED_WORDS + (() if "writecache.get" in statement else EXPECTED_OF_OTHERS)
        if refused.state not in EXPECTED and not any(part in str(refused) for part in words):
            self.fault(f"{refused}\n{statement}")

    def fault(self, text):
        """Something that must not be; the session ends."""
        self.faults.append(text)
