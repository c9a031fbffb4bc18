"""One thread that runs the scripts of all sessions, a statement at a time, and knows which of them wait for which.

A script is a generator: it yields Do(sql) and gets the rows of each statement, or the error. Between two statements of a
script others run. Most of the time a statement is waited for; when it waits for a lock, and now and then anyway, the
next session goes on meanwhile.

Hold() keeps the others still until Release(): what two statements of a READ COMMITTED transaction see is then the same,
unless `session.spoiled` says that the first of them had to let somebody pass.
"""
import select
import time
from dataclasses import dataclass

from pq import Lost, Refused

PATIENCE = 60  # seconds after which something hangs
SUSPICION = 0.05  # seconds after which we ask what a statement waits for


@dataclass
class Do:
    text: str
    copy: tuple = ()


class Hold:
    pass


class Release:
    pass


class Hang(Exception):
    pass


class Scheduler:
    def __init__(self, world, rng, sessions, overlap):
        self.world, self.rng, self.sessions, self.overlap = world, rng, sessions, overlap
        self.holder = None
        self.observer = None
        for session in sessions:
            self.begin(session)

    def begin(self, session):
        session.connect(self.world.cluster)
        session.gen, session.request, session.answer = session.script(), None, None
        session.started = session.busy_since = None
        session.blocked = session.wants_hold = session.done = False
        session.spoiled = False

    def run(self, more):
        """Runs until more() is false and every script has come to its end."""
        while True:
            self.world.stopping = self.world.stopping or not more()
            left = [s for s in self.sessions if not s.done]
            if not left:
                return
            self.collect()
            ready = [s for s in left if s.busy_since is None and not s.done and (not s.wants_hold or self.can_hold(s))]
            if self.holder:
                ready = [s for s in ready if s is self.holder]
            elif any(s.wants_hold for s in left):  # let what is under way end
                ready = [s for s in ready if s.wants_hold] or (ready if self.all_blocked() else [])
            if not ready:
                self.wait_any()
                self.world.troubles.nobody_can_go_on()
                continue
            session = self.rng.choice(ready)
            if session.wants_hold:
                session.wants_hold, session.spoiled, self.holder = False, False, session
            self.advance(session)
            if session.busy_since is not None and (self.holder or self.rng.random() >= self.overlap):
                self.wait_for(session)
            self.world.between_steps(self)

    def can_hold(self, session):
        return self.holder is None and all(s.busy_since is None or s.blocked for s in self.sessions if s is not session)

    def all_blocked(self):
        busy = [s for s in self.sessions if s.busy_since is not None]
        return bool(busy) and not any(s.wants_hold and self.can_hold(s) for s in self.sessions) and all(s.blocked for s in busy)

    # --- scripts

    def advance(self, session):
        """Gives a script its answer and sends what it wants next."""
        answer, session.answer = session.answer, None
        try:
            request = session.gen.throw(answer) if isinstance(answer, Exception) else session.gen.send(answer)
        except StopIteration:
            session.done = True
            self.let_go(session)
            return
        if isinstance(request, Do):
            self.world.note(session, request.text)
            session.asked_at = self.world.clock()
            try:
                session.connection.send(request.text, request.copy)
                session.busy_since = time.monotonic()
            except Lost as lost:
                self.world.lost(self, session, lost)
        elif isinstance(request, Hold):
            session.wants_hold = True
        else:
            self.let_go(session)

    def let_go(self, session):
        if self.holder is session:
            self.holder = None

    def others_stood_still(self, session):
        """Whether nobody has committed since `session` holds the others. Who waited then must wait still: the answer of
        a COMMIT comes a moment after what it did can be seen."""
        return not session.spoiled and all(self.is_blocked(s) for s in self.sessions if s is not session and s.busy_since is not None)

    def collect(self):
        for session in self.sessions:
            if session.busy_since is not None:
                self.look(session)

    def look(self, session):
        """Takes the answer if it has come."""
        try:
            answer = session.connection.poll()
            if answer is None:
                return False
        except (Refused, Lost) as problem:
            answer = problem
            self.world.note(session, f"-- {' '.join(str(problem).split())[:200]}")
        if session.blocked and not isinstance(answer, Exception):
            self.world.note(session, "-- no longer waits")
        session.answer, session.busy_since, session.blocked = answer, None, False
        if self.holder and self.holder is not session:
            self.holder.spoiled = True
        if isinstance(answer, Lost):
            self.world.lost(self, session, answer)  # and all begin anew
        return True

    def wait_for(self, session):
        """Waits for the answer, or until it is clear that the statement waits for somebody."""
        patience = SUSPICION
        while session.busy_since is not None and not self.look(session):
            waited = time.monotonic() - session.busy_since
            if waited > patience:
                if self.is_blocked(session):
                    self.world.note(session, "-- waits")
                    session.blocked, session.spoiled = True, True
                    self.let_go(session)
                    return
                patience += SUSPICION
            if waited > PATIENCE:
                raise Hang(f"session {session.number} hangs")
            select.select([session.connection.socket()], [], [], 0.02)

    def wait_any(self):
        busy = [s for s in self.sessions if s.busy_since is not None]
        if not busy:
            return
        select.select([s.connection.socket() for s in busy], [], [], 0.05)
        now = time.monotonic()
        for session in busy:
            if session.busy_since is not None and not self.look(session):
                if now - session.busy_since > PATIENCE:
                    raise Hang(f"session {session.number} hangs")
                if now - session.busy_since > SUSPICION and not session.blocked:
                    session.blocked = self.is_blocked(session)

    def is_blocked(self, session):
        try:
            if self.observer is None:
                self.observer = self.world.cluster.connect("observer")
            rows = self.observer.run(f"SELECT cardinality(pg_blocking_pids({session.connection.pid})), wait_event_type "
                                     f"FROM pg_stat_activity WHERE pid = {session.connection.pid}")
        except (Lost, Refused):
            self.observer = None
            return False
        # A wait for a flush ends by itself, unless the flush waits for a session of ours.
        patient = time.monotonic() - session.busy_since < 0.3
        if self.world.troubles.frozen and session.connection.pid in self.world.cluster.stopped():
            return True
        return bool(rows) and (rows[0][0] != "0" or (rows[0][1] == "Extension" and not patient))

    # --- crashes

    def restart_all(self):
        """Every session begins anew, with a new connection."""
        self.holder = self.observer = None
        for session in self.sessions:
            session.close()
            self.begin(session)
