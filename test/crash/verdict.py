"""Ledger against tables: what was acknowledged is there once, what was rolled back is not, the rest is whole or absent."""
import ledger as book
import tables

EVERYTHING = [*tables.TABLES, "bystander"]


def contents(session, table):
    """(writer, tx) -> list of n, in the table."""
    where = "writer > 0"
    rows = session.run(f"SELECT writer, tx, array_agg({'0' if table == 'bystander' else 'n'} ORDER BY 1) FROM {table} WHERE {where} GROUP BY 1, 2")
    return {(int(w), int(t)): numbers(ns) for w, t, ns in rows}


def rejected(session, table):
    rows = session.run(f"""SELECT (row ->> 'writer')::int, (row ->> 'tx')::bigint, array_agg((row ->> 'n')::int)
                             FROM writecache.rejected WHERE relation = '{table}'::regclass GROUP BY 1, 2""")
    return {(int(w), int(t)): numbers(ns) for w, t, ns in rows}


def numbers(array):
    return sorted(int(n) for n in array.strip("{}").split(",") if n)


class Verdict:
    def __init__(self, ledgers, truncations, in_order):
        self.transactions = {(t.writer, t.number): t for ledger in ledgers for t in ledger.transactions}
        self.truncations = truncations
        self.in_order = in_order  # there was room in the buffer all the time
        self.faults = []
        self.suspects = set()  # (table, writer, tx)
        self.in_doubt = self.acknowledged = self.rows = 0

    def fault(self, text, table, key):
        self.faults.append(f"{table}, writer {key[0]}, transaction {key[1]}: {text}")
        self.suspects.add((table, *key))

    def judge(self, session):
        found = {t: contents(session, t) for t in EVERYTHING}
        refused = {t: rejected(session, t) for t in tables.TABLES}
        for table in EVERYTHING:
            for where in (found, refused):
                for key in where.get(table, {}):
                    if key not in self.transactions:
                        self.fault("a row of a transaction of an earlier round, or of none", table, key)
        for key, transaction in self.transactions.items():
            self.judge_transaction(key, transaction, found, refused)
        self.judge_chains(found)
        if self.in_order:
            self.judge_order(session)
        self.judge_payloads(session)
        return self.faults

    def judge_transaction(self, key, tx, found, refused):
        present = absent = 0
        for table, rows in tx.rows.items():
            if not rows:
                continue
            have = found[table].get(key, [])
            have_refused = refused.get(table, {}).get(key, [])
            want = sorted(n for n, bad in rows.items() if not bad)
            want_refused = sorted(n for n, bad in rows.items() if bad)
            if not have and not have_refused:
                if table == tables.EMPTIED and self.may_be_truncated(tx):
                    continue
                absent += 1
                if tx.state == book.ACKED:
                    self.fault(f"{len(rows)} acknowledged rows are gone", table, key)
            elif have == want and have_refused == want_refused:
                present += 1
                if table == tables.EMPTIED and tx.state != book.ABORTED and self.must_be_truncated(tx):
                    self.fault("rows that a TRUNCATE removed are back", table, key)
            else:
                present += 1
                twice = sorted({n for n in have + have_refused if (have + have_refused).count(n) > 1})
                self.fault(f"{tx.state}: has {brief(have)}, rejected {brief(have_refused)}; should have {brief(want)} and "
                           f"{brief(want_refused)}" + (f"; twice {brief(twice)}" if twice else ""), table, key)
        for table in EVERYTHING:
            if key in found[table] and table not in tx.rows:
                self.fault("rows in a table that it did not write to, or only before a rollback to a savepoint", table, key)
        if tx.state == book.ACKED:
            self.acknowledged += 1
            self.rows += sum(map(len, tx.rows.values()))
        elif tx.state == book.ABORTED:
            if present:
                self.fault("rolled back, but there are rows", next(iter(tx.rows)), key)
        elif tx.state == book.UNKNOWN:
            self.in_doubt += 1
            if present and absent:
                self.fault("in doubt, and half of it is there", next(iter(tx.rows)), key)
        else:
            self.fault(f"the harness does not know its end: {tx.state}", next(iter(tx.rows), "?"), key)

    def judge_chains(self, found):
        """Of the transactions that one statement commits, a later one is there only if the earlier ones are."""
        for tx in self.transactions.values():
            if tx.chain and tx.chain[0] is tx:
                there = [((t.writer, t.number) in found[table], t) for t in tx.chain for table in t.rows if table != tables.EMPTIED]
                for (earlier, missing), (later, _) in zip(there, there[1:]):
                    if later and not earlier:
                        self.fault("is not there, but the one after it is", next(iter(missing.rows)), (missing.writer, missing.number))

    def must_be_truncated(self, tx):
        return any(certain and tx.ended < began for began, _, certain in self.truncations)

    def may_be_truncated(self, tx):
        return any(ended > tx.began for _, ended, _ in self.truncations)

    def judge_order(self, session):
        """Rows that went through the buffer are stored in the order of their writer's commits. Not those of a transaction
        that also wrote elsewhere: it does not wait for room when the buffer is full, but stores its rows itself."""
        last = {}
        for writer, tx, n, stored in session.run(
                "SELECT writer, tx, n, stored FROM ordered WHERE writer > 0 ORDER BY stored"):
            key, here = (int(writer), int(tx)), (int(tx), int(n))
            transaction = self.transactions.get(key)
            if transaction is None or not transaction.captured or len(transaction.rows) > 1:
                continue
            if here <= last.get(key[0], (0, 0)):
                self.fault(f"row {n} was stored after {last[key[0]]}", tables.ORDERED, key)
            last[key[0]] = here

    def judge_payloads(self, session):
        for table in tables.TABLES:
            for writer, tx, n in session.run(f"SELECT writer, tx, n FROM {table} WHERE writer > 0 AND payload IS DISTINCT FROM "
                                             f"{book.PAYLOAD_SQL.replace('length', 'length::int')}"):
                self.fault(f"row {n} has another payload than it was given", table, (int(writer), int(tx)))

    def evidence(self, session):
        """The rows in question, with where they are and who wrote them."""
        lines = []
        for table, writer, tx in sorted(self.suspects, key=str)[:200]:
            if table not in EVERYTHING:
                continue
            for row in session.run(f"SELECT tableoid::regclass, ctid, xmin, * FROM {table} WHERE writer = {writer} AND tx = {tx}"):
                lines.append(f"{table}: {row}")
            for row in session.run(f"SELECT * FROM writecache.rejected WHERE row @> '{{\"writer\": {writer}, \"tx\": {tx}}}'"):
                lines.append(f"rejected: {row}")
        return lines


def brief(ns):
    """0-5, 7 instead of every number."""
    parts, start = [], None
    for i, n in enumerate(ns):
        if start is None:
            start = n
        if i + 1 == len(ns) or ns[i + 1] != n + 1:
            parts.append(str(start) if start == n else f"{start}-{n}")
            start = None
    return "[" + ", ".join(parts[:20]) + (", ..." if len(parts) > 20 else "") + "]"
