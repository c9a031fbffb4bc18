"""One episode: new tables, some sessions, some hundred steps, and the account at the end."""
import random
import time

import ddl
import queries
import questions
import tables
import troubles
import writes
from cluster import read_log
from pq import Lost
from scheduler import Hang, Scheduler
from session import Session


def expect(counts):
    counts.expect("queries", queries.SHAPES)
    counts.expect("relations", queries.RELATIONS)
    counts.expect("ways to ask", [*questions.WAYS, "EXPLAIN ANALYZE of pending rows", "pending() with rows"])
    counts.expect("plan nodes", questions.NODES)
    counts.expect("cursors", [*(f"{how}CURSOR" for how in questions.CURSORS), "WITH HOLD", "FETCH", "FETCH after COMMIT", "back and again"])
    counts.expect("transactions", ("READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE", "COMMIT", "ROLLBACK", "PREPARE TRANSACTION", "SAVEPOINT",
                                   "ROLLBACK TO", "RELEASE", "ROLLBACK TO after an error"))
    counts.expect("writes", [*writes.KINDS, "without BEGIN"])
    counts.expect("DDL", ddl.KINDS)
    counts.expect("troubles", ["flush()", *troubles.WAYS, *(f"flush stops at {point}" for point in troubles.FLUSH_POINTS),
                                *(f"death at {point}" for point in troubles.FLUSH_POINTS)])


class Episode:
    """What the sessions share."""

    def __init__(self, number, seed, cluster, deadline, counts):
        self.number, self.cluster, self.deadline, self.counts = number, cluster, deadline, counts
        expect(counts)
        self.seed = f"{seed} episode {number}"
        self.rng = random.Random(self.seed)
        self.crashes = self.rng.random() < 0.3
        self.freezes = self.rng.random() < (0.7 if self.crashes else 0.3)
        self.unlogged = not self.crashes and self.rng.random() < 0.5  # then nothing of a transaction is in the WAL
        self.ddl = self.rng.choice((0, 0.5, 1))
        self.steps_wanted = self.rng.choice((300, 600, 1000))
        self.drains = self.rng.choice((0.02, 0.1, 0.4))  # how much of what empties the buffer is done
        self.overlap = self.rng.choice((0, 0.2, 0.5))
        self.tables = tables.make(self.rng)
        self.by_name = {t.name: t for t in self.tables}
        self.next_id = 1
        self.ticks = 0
        self.log, self.faults, self.gids, self.rewritten = [], [], [], {}
        self.troubles = troubles.Troubles(self, self.rng)
        self.compared = 0
        self.rewriting = {}  # session: the table that its DDL is rewriting
        self.storing, self.stored_by_ddl = set(), 0  # sessions with DDL under way that stores what is pending, and when the last was over
        self.stopping = False
        # Snapshot too old; a change of columns under a prepared statement or beside a statement.
        self.allowed = {"42703", "0A000"} if self.ddl else set()

    def clock(self):
        self.ticks += 1
        return self.ticks

    def note(self, session, text):
        self.log.append((session.number if session else 0, text))

    def steps(self):
        return [f"{who}: {text}" for who, text in self.log]

    def complain(self, text, lines=()):
        self.note(None, f"-- FAULT: {text}")
        self.faults += [text, *(f"  {line}" for part in lines for line in str(part).splitlines())]
        self.stopping = True

    def lost(self, scheduler, session, lost):
        if not self.troubles.lost(scheduler, session, lost):
            self.complain(f"session {session.number} lost its connection: {lost}")
            raise lost

    def between_steps(self, scheduler):
        self.troubles.between_steps(scheduler)

    def refresh(self, table):
        try:
            if not table.refresh(self.control):
                self.complain(f"the twins of {table.name} have different columns")
        except Lost:  # whoever was to die has; recover() looks again
            if not self.troubles.expected:
                raise

    def run(self):
        offset = self.cluster.log.stat().st_size
        self.connect_control()
        self.major = int(self.control.run("SHOW server_version_num")[0][0]) // 10000
        try:
            self.prepare()
            self.sessions = [Session(n, self, random.Random(f"{self.seed} session {n}")) for n in range(1, self.rng.randint(2, 6) + 1)]
            self.scheduler = Scheduler(self, self.rng, self.sessions, self.overlap)
            self.scheduler.run(self.more)
            self.conclude()
            for session in self.sessions:
                session.close()
        except Hang as hang:
            self.complain(str(hang), self.activity())
        except Lost as lost:
            if not self.faults:
                self.complain(f"a connection was lost: {lost}")
            time.sleep(1)
        self.control.close()
        return self.faults + read_log(self.cluster.log, offset)

    def connect_control(self):
        self.control = self.cluster.connect("control")
        self.control.run("SET statement_timeout = '60s'")  # nothing of an episode outlives it

    def activity(self):
        return self.cluster.connect("look").run("SELECT application_name, pid, state, wait_event_type, wait_event, pg_blocking_pids(pid), query "
                                                "FROM pg_stat_activity WHERE pid <> pg_backend_pid()")

    def prepare(self):
        for statement in tables.setup(self.tables, self.rng, self.unlogged):
            self.control.run(statement)
        setup = Session(0, self, random.Random(f"{self.seed} setup"))
        for table in self.tables:
            for _ in range(self.rng.choice((0, 2, 6))):
                text = setup.writes.values_text(table, 50)
                self.control.run(f"{tables.side(text, 'wb')}; {tables.side(text, 'tw')}")
            if self.rng.random() < 0.5:
                self.control.run("SELECT writecache.flush()")
            if self.rng.random() < 0.5:
                self.control.run(f"ANALYZE wb.{table.name}; ANALYZE tw.{table.name}")

    def more(self):
        return len(self.log) < self.steps_wanted and time.monotonic() < self.deadline

    def conclude(self):
        """Everything decided, before and after a last flush: the twins are the same."""
        if self.troubles.frozen:
            self.troubles.thaw()
        for row in self.control.run("SELECT gid FROM pg_prepared_xacts"):
            self.control.run(f"{self.rng.choice(('COMMIT', 'ROLLBACK'))} PREPARED '{row[0]}'")
        self.check_twins("at the end")
        self.control.run("SELECT writecache.flush()")
        self.check_twins("after a flush")
        self.control.run("SET writecache.read_pending = off")
        self.check_twins("in the tables alone")
        self.control.run("RESET writecache.read_pending")
        rejected = self.control.run("SELECT relation, row, sqlstate, message FROM writecache.rejected")
        if rejected:
            self.complain(f"{len(rejected)} rows were rejected", rejected[:5])

    def check_twins(self, when):
        for table in self.tables:
            columns = ", ".join(table.readable())
            for ours, theirs in (("wb", "tw"), ("tw", "wb")):
                rows = self.control.run(f"SELECT {columns} FROM {ours}.{table.name} EXCEPT ALL SELECT {columns} FROM {theirs}.{table.name}")
                if rows:
                    self.complain(f"{when}: {len(rows)} rows of {table.name} are only in {ours}", rows[:5])
        if self.by_name["pk"].referenced and (rows := self.control.run(
                "SELECT wb, tw FROM wb.referrer wb FULL JOIN tw.referrer tw USING (id, pk) WHERE wb IS NULL OR tw IS NULL")):
            self.complain(f"{when}: different references", rows[:5])

    def summary(self):
        return (f"{len(self.log)} steps, {self.compared} answers compared" + (", DDL" if self.ddl else "") + (f", {self.troubles.crashes} crashes" if self.crashes else "")
                + (", slow flushes" if self.freezes else "") + (", pure" if self.unlogged else ""))
