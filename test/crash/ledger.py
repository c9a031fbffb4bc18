"""What the writers were told, kept outside the server.

A row is (writer, tx, n): n numbers the rows of a transaction within a table. Its payload follows from that, so a row
that was misread gives itself away.
"""
import hashlib
import json
import time

# What is known of a transaction.
SENT = "sent"              # under way
ACKED = "acked"            # COMMIT was answered: every row, once
ABORTED = "aborted"        # certainly rolled back: no row
UNKNOWN = "unknown"        # the connection was lost during the commit: all rows once, or none
PREPARED = "prepared"      # by PREPARE TRANSACTION or about to be; its gid decides


def payload(writer, tx, n, length):
    text = hashlib.md5(f"{writer}:{tx}:{n}".encode()).hexdigest()
    return (text * (length // 32 + 1))[:length]


# The same in SQL.
PAYLOAD_SQL = "left(repeat(md5(writer || ':' || tx || ':' || n), length / 32 + 1), length)"


class Transaction:
    __slots__ = ("writer", "number", "kind", "rows", "state", "committing", "wanted", "gid", "began", "ended", "captured",
                 "chain", "note")

    def __init__(self, writer, number, kind):
        self.writer, self.number, self.kind = writer, number, kind
        self.rows = {}           # table -> {n: bad}; what its commit makes permanent
        self.state = SENT
        self.committing = False  # the statement that commits may have reached the server
        self.wanted = ACKED      # what becomes of it once it is prepared
        self.gid = None
        self.began, self.ended = time.monotonic(), None
        self.captured = False    # nothing in it asks for the direct way to the table
        self.chain = None        # of transactions that one statement commits, in this order
        self.note = ""

    def end(self, state, note=""):
        self.ended = time.monotonic()
        self.state, self.note = state, note

    def as_json(self):
        return json.dumps({"writer": self.writer, "tx": self.number, "kind": self.kind, "state": self.state,
                           "began": self.began, "ended": self.ended, "gid": self.gid, "note": self.note,
                           "rows": {t: {str(n): bad for n, bad in rows.items()} for t, rows in self.rows.items()}})


class Ledger:
    """One writer's transactions of one round, in order."""

    def __init__(self, writer):
        self.writer = writer
        self.transactions = []

    def begin(self, kind):
        # Numbers go on from round to round, so that a row of an earlier life is known as such.
        self.writer.last_tx += 1
        transaction = Transaction(self.writer.number, self.writer.last_tx, kind)
        self.transactions.append(transaction)
        return transaction
