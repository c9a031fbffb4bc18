"""The writers: threads that insert in every way there is, and note what they were told."""
import random
import threading
import time

import ledger as book
from pq import Lost, Refused
from ways import Ways

# A refusal with one of these is a fault whatever was going on: internal errors, damaged data, impossible states.
FAULTS = ("XX", "0A", "58")


def is_fault(refused):
    return refused.state.startswith(FAULTS) and "injected error" not in str(refused)


class Writer(Ways, threading.Thread):
    """One session after the other, one transaction after the other, until it is told to stop."""

    def __init__(self, number, database, cluster, observer, seed, last_tx):
        super().__init__(name=f"writer-{number}", daemon=True)
        self.database = database
        self.number, self.cluster, self.observer, self.last_tx = number, cluster, observer, last_tx
        self.random = random.Random(f"{seed} writer {number}")
        self.ledger = book.Ledger(self)
        self.halt = threading.Event()
        self.session = None
        self.injection = None  # (point, action) for the next transaction; until that is over
        self.kinds = self.weighted()

    def run(self):
        try:
            while not self.halt.is_set():
                self.turn()
        except Exception as problem:  # a fault in here must not look like a pass
            self.observer.complain(f"{self.name}: {type(problem).__name__}: {problem}")
        finally:
            self.drop_session()

    def drop_session(self):
        if self.session:
            self.session.close()
            self.session = None

    def turn(self):
        if self.session is None:
            try:
                self.session = self.cluster.connect(self.name, database=self.database)
                self.finish_prepared()
            except (Lost, Refused):
                self.drop_session()
                time.sleep(0.02)
                return
        kind = self.random.choices([k for _, k in self.kinds], [w for w, _ in self.kinds])[0]
        begun = len(self.ledger.transactions)
        transaction = self.ledger.begin(kind.__name__)
        injected = self.injection is not None
        try:
            self.inject()
            kind(transaction)
            self.end_turn(begun, book.ACKED)
            if injected:
                self.session.run("RESET writecache.injection_point")
        except Refused as refused:
            self.end_turn(begun, book.ABORTED, str(refused))
            self.note_refusal(transaction, refused)
            if injected:
                self.drop_session()
        except Lost as lost:
            self.end_turn(begun, book.UNKNOWN, str(lost))
            self.drop_session()
        finally:
            if injected:
                self.injection = None

    def end_turn(self, begun, state, note=""):
        """Gives what the turn began and nobody has ended yet the end that its last answer means."""
        for transaction in self.ledger.transactions[begun:]:
            if transaction.state != book.SENT:
                continue
            if state == book.UNKNOWN and not transaction.committing:
                transaction.end(book.ABORTED, note)
            elif state == book.ABORTED and transaction.chain:  # an earlier part of the statement may have committed
                transaction.end(book.UNKNOWN, note)
            else:
                transaction.end(state, note)

    def inject(self):
        if self.injection:
            point, action = self.injection
            self.session.run(f"SET writecache.injection_point = '{point}'; SET writecache.injection_action = '{action}'")

    def note_refusal(self, transaction, refused):
        self.observer.count(f"writer {refused.state}", f"{transaction.kind}: {refused}")
        if is_fault(refused):
            self.observer.complain(f"{self.name}, {transaction.kind} {transaction.number}: {refused}")
        try:
            self.session.run("ROLLBACK")
        except (Lost, Refused):
            self.drop_session()
        if self.random.random() < 0.05:
            self.drop_session()

    # --- PREPARE TRANSACTION

    def two_phase(self, tx):
        self.session.run("BEGIN")
        self.statements(tx, self.table_of_rows_that_spill())
        if self.random.random() < 0.3:
            tx.wanted = book.ABORTED
        gid = f"{self.number}-{tx.number}"
        tx.gid = gid
        tx.state = book.PREPARED
        try:
            self.session.run(f"PREPARE TRANSACTION '{gid}'")
        except Refused as refused:
            tx.end(book.ABORTED, str(refused))
            raise
        tx.committing = True
        self.finish(tx)

    def finish(self, tx):
        self.session.run(("COMMIT" if tx.wanted == book.ACKED else "ROLLBACK") + f" PREPARED '{tx.gid}'")
        tx.end(tx.wanted)

    def finish_prepared(self, session=None):
        """Decides what is in doubt: a transaction whose gid is gone has ended as it was told to, or was never prepared."""
        open_ones = [t for t in self.ledger.transactions if t.state == book.PREPARED]
        if not open_ones:
            return
        self.session = session or self.session
        there = {row[0] for row in self.session.run("SELECT gid FROM pg_prepared_xacts")}
        for tx in open_ones:
            if tx.gid in there:
                self.finish(tx)
            else:
                tx.end(tx.wanted if tx.committing else book.ABORTED, "its gid was gone")
