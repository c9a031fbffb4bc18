"""The ways to write. Each commits, or ends its transaction's entry in the ledger itself; pq's exceptions tell the rest."""
import ledger as book
import tables
from pq import Refused


class Ways:
    """Part of a Writer: uses its session, random, ledger, observer, name and number."""

    def weighted(self):
        return [
            (6, self.single), (4, self.parameters), (4, self.prepared_statement), (4, self.several_rows),
            (3, self.from_select), (4, self.copy), (3, self.row_function), (2, self.json_function), (5, self.block),
            (3, self.block_rolled_back), (4, self.savepoints), (3, self.two_phase), (3, self.with_bystander),
            (1, self.bulk), (1, self.large_row), (2, self.copy_given_up), (2, self.plpgsql), (1, self.serializable),
            (1, self.own_rows), (2, self.implicit_transaction), (2, self.commits_inside), (3, self.pipeline),
            (1, self.deferred_failure), (1, self.many_savepoints), (2, self.barrier),
            (3, self.amend)]

    def table(self):
        return self.random.choice(tables.TABLES)

    def table_of_rows_that_spill(self):
        """Rows that go to the table in their own transaction overtake buffered ones, which is as it should be."""
        return self.random.choice([t for t in tables.TABLES if t != tables.ORDERED])

    def rows(self, transaction, table, count, length=None, counts=True, bad=0.03):
        """Makes rows; unless they are to be rolled back to a savepoint, they count as the transaction's."""
        own = transaction.rows.setdefault(table, {})
        made = []
        for _ in range(count):
            n = len(own) if counts else 1_000_000 + self.random.randrange(1_000_000)
            is_bad = table in tables.WITH_BAD_ROWS and self.random.random() < bad
            if counts:
                own[n] = is_bad
            size = self.random.choice((0, 10, 50, 200, 200, 1000, 6000)) if length is None else length
            made.append((self.number, transaction.number, n, size, book.payload(self.number, transaction.number, n, size),
                         "t" if is_bad else "f", tables.TAKEN if is_bad and table == tables.UNIQUE else None,
                         tables.NO_PARENT if is_bad else 1))
        return made

    @staticmethod
    def literals(rows):
        return ", ".join("(" + ", ".join("NULL" if v is None else f"'{v}'" for v in row) + ")" for row in rows)

    def insert_text(self, table, rows):
        return f"INSERT INTO {table} ({tables.COLUMNS}) VALUES {self.literals(rows)}"

    def commit_with(self, transaction, sql):
        transaction.committing = True
        self.session.run(sql)

    # --- the ways to write; each commits, or ends the transaction's entry itself

    def single(self, tx):
        table = self.table()
        tx.captured = True
        self.commit_with(tx, self.insert_text(table, self.rows(tx, table, 1)))

    def parameters(self, tx):
        table = self.table()
        tx.captured = True
        row = self.rows(tx, table, 1)[0]
        tx.committing = True
        self.session.run_with(f"INSERT INTO {table} ({tables.COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)", row)

    def prepared_statement(self, tx):
        table = self.table()
        tx.captured = True
        self.session.run("DEALLOCATE ALL")
        self.session.prepare("p", f"INSERT INTO {table} ({tables.COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)")
        self.session.run("BEGIN")
        for _ in range(self.random.randint(1, 8)):  # after five, a generic plan
            self.session.run_prepared("p", self.rows(tx, table, 1)[0])
        self.commit_with(tx, "COMMIT")

    def several_rows(self, tx):
        table = self.table()
        tx.captured = True
        self.commit_with(tx, self.insert_text(table, self.rows(tx, table, self.random.randint(2, 60))))

    def from_select(self, tx):
        table = self.table()
        tx.captured = True
        rows = self.rows(tx, table, self.random.randint(1, 150), length=40, bad=0)
        self.commit_with(tx, f"""INSERT INTO {table} (writer, tx, n, length, payload, parent)
            SELECT writer, tx, n, length, {book.PAYLOAD_SQL}, 1
              FROM (SELECT {self.number}, {tx.number}::bigint, generate_series(0, {len(rows) - 1}), 40)
                AS v (writer, tx, n, length)""")

    def copy_lines(self, rows):
        return ["\t".join("\\N" if v is None else str(v) for v in row) for row in rows]

    def copy(self, tx):
        table = self.table()
        tx.captured = True
        lines = self.copy_lines(self.rows(tx, table, self.random.choice((1, 5, 50, 300))))
        tx.committing = True
        self.session.copy(f"COPY {table} ({tables.COLUMNS}) FROM STDIN", lines)

    def copy_given_up(self, tx):
        table = self.table()
        lines = self.copy_lines(self.rows(tx, table, 20))
        tx.end(book.ABORTED)
        try:
            self.session.copy(f"COPY {table} ({tables.COLUMNS}) FROM STDIN", lines, give_up=True)
        except Refused:
            pass

    def json(self, rows):
        names = tables.COLUMNS.split(", ")
        return "[" + ", ".join(
            "{" + ", ".join(f'"{k}": ' + ("null" if v is None else f'"{v}"') for k, v in zip(names, row)) + "}"
            for row in rows) + "]"

    def row_function(self, tx):
        # PostgreSQL itself fails with an internal error when the table of a row type is dropped meanwhile.
        table = self.random.choice([t for t in tables.TABLES if t != tables.EMPTIED])
        tx.captured = True
        rows = self.json(self.rows(tx, table, self.random.randint(1, 5)))
        source = f"(SELECT r FROM jsonb_populate_recordset(NULL::{table}, '{rows}') AS r)"
        tx.committing = True
        if self.random.random() < 0.5:
            self.session.run(f"SELECT writecache.insert(ARRAY{source})")
        else:
            self.session.run(f"SELECT writecache.insert(r) FROM {source} AS x")

    def json_function(self, tx):
        table = self.table()
        tx.captured = True
        rows = self.json(self.rows(tx, table, self.random.randint(1, 20)))
        self.commit_with(tx, f"SELECT writecache.insert('{table}', '{rows}'::jsonb)")

    def statements(self, tx, table=None):
        """A few statements inside a transaction block, in one or more tables."""
        for _ in range(self.random.randint(1, 5)):
            target = table or self.table()
            rows = self.rows(tx, target, self.random.randint(1, 12))
            if self.random.random() < 0.3:
                self.session.copy(f"COPY {target} ({tables.COLUMNS}) FROM STDIN", self.copy_lines(rows))
            else:
                self.session.run(self.insert_text(target, rows))

    def block(self, tx):
        tx.captured = True
        self.session.run("BEGIN")
        self.statements(tx)
        self.commit_with(tx, "COMMIT")

    def block_rolled_back(self, tx):
        tx.end(book.ABORTED)
        self.session.run("BEGIN")
        self.statements(tx)
        how = self.random.choice(("ROLLBACK", "SELECT 1 / 0", "COMMIT"))
        if how == "COMMIT":  # of a transaction that has failed
            try:
                self.session.run("SELECT 1 / 0")
            except Refused:
                pass
        try:
            self.session.run(how)
        except Refused:
            self.session.run("ROLLBACK")

    def savepoints(self, tx):
        tx.captured = True
        self.session.run("BEGIN")
        for level in range(self.random.randint(1, 6)):
            self.session.run(f"SAVEPOINT s{level}")
            table = self.table()
            fate = self.random.choice(("keep", "release", "back", "error"))
            lost = fate in ("back", "error")
            self.session.run(self.insert_text(table, self.rows(tx, table, self.random.randint(1, 5), counts=not lost)))
            if fate == "error":
                try:
                    self.session.run(f"INSERT INTO {table} (writer) VALUES ('x')")
                except Refused:
                    pass
            if lost:
                self.session.run(f"ROLLBACK TO s{level}")
            elif fate == "release":
                self.session.run(f"RELEASE s{level}")
        self.commit_with(tx, "COMMIT")

    def plpgsql(self, tx):
        table, other = self.table(), self.table()
        tx.captured = True
        kept = self.insert_text(table, self.rows(tx, table, 3))
        gone = self.insert_text(other, self.rows(tx, other, 2, counts=False))
        more = self.insert_text(other, self.rows(tx, other, 2))
        self.commit_with(tx, f"""DO $$ BEGIN {kept};
            BEGIN {gone}; RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN NULL; END;
            {more}; END $$""")

    def implicit_transaction(self, tx):
        """Several statements in one message are one transaction."""
        tx.captured = True
        targets = [self.table() for _ in range(3)]
        self.commit_with(tx, "; ".join(self.insert_text(t, self.rows(tx, t, 2)) for t in targets))

    def commits_inside(self, tx):
        """One DO block, several transactions: a later one is there only if the earlier ones are."""
        chain = [tx] + [self.ledger.begin(tx.kind) for _ in range(self.random.randint(1, 3))]
        code = []
        for part in chain:
            part.chain, part.committing = chain, True
            table = self.table_of_rows_that_spill()
            code.append(self.insert_text(table, self.rows(part, table, 2, bad=0)) + "; COMMIT;")
        self.session.run(f"DO $$ BEGIN {' '.join(code)} END $$")

    def pipeline(self, tx):
        """Sent ahead of their answers; each is a transaction of its own and answered for itself."""
        table = self.table()
        parts = [tx] + [self.ledger.begin(tx.kind) for _ in range(self.random.randint(2, 25))]
        statements = []
        for part in parts:
            part.captured = part.committing = True
            statements.append(self.insert_text(table, self.rows(part, table, self.random.randint(1, 3), length=50)))

        def answered(index, refused):
            parts[index].end(book.ABORTED if refused else book.ACKED, str(refused or ""))

        self.session.pipeline(statements, answered)

    def deferred_failure(self, tx):
        """A commit that fails."""
        tx.end(book.ABORTED)
        self.session.run("BEGIN; INSERT INTO deferred VALUES (1)")
        self.statements(tx)
        try:
            self.session.run("COMMIT")
        except Refused as refused:
            if refused.state != "23505":
                raise
        else:
            self.observer.complain(f"{self.name}, {tx.number}: a deferred constraint did not fail")

    def many_savepoints(self, tx):
        """More subtransactions than shared memory keeps."""
        table = self.table()
        tx.captured = True
        text = "BEGIN; "
        for number in range(100):
            lost = number % 3 == 0
            text += f"SAVEPOINT s; {self.insert_text(table, self.rows(tx, table, 1, length=10, counts=not lost))}; "
            text += "ROLLBACK TO s; RELEASE s; " if lost else "RELEASE s; " if number % 3 == 1 else ""
        self.session.run(text)
        self.commit_with(tx, "COMMIT")

    def barrier(self, tx):
        """After flush() or wait(), what was acknowledged before is in the table."""
        tx.end(book.ABORTED)
        if not self.cluster.has_place_for_all():
            return
        mine = [t for t in self.ledger.transactions if t.state == book.ACKED][-8:]
        if self.random.random() < 0.5:
            self.session.run("SELECT writecache.flush()")
        elif self.session.run("SELECT writecache.wait(writecache.position(), '3 s')")[0][0] != "t":
            return
        for earlier in mine:
            for table, rows in earlier.rows.items():
                if table in tables.TABLES and table not in (tables.EMPTIED, tables.PARTITIONED):  # partitions come and go
                    good = sum(not bad for bad in rows.values())
                    found = int(self.session.run(f"SELECT count(*) FROM {table} WHERE writer = {self.number} AND tx = "
                                                 f"{earlier.number}")[0][0])
                    if found != good:
                        self.observer.complain(f"{self.name}: {found} instead of {good} rows of {earlier.number} in {table} "
                                               "after a flush")

    def amend(self, tx):
        """UPDATE and SELECT FOR UPDATE find every row that was acknowledged before, pending or not."""
        tx.end(book.ABORTED)
        mine = [(t, table) for t in self.ledger.transactions[-40:] if t.state == book.ACKED for table in t.rows
                if table in tables.TABLES and table not in (tables.EMPTIED, tables.PARTITIONED, *tables.WITH_BAD_ROWS)]
        if not mine or not self.cluster.has_place_for_all():
            return
        earlier, table = self.random.choice(mine)
        where = f"WHERE writer = {self.number} AND tx = {earlier.number}"
        found = self.session.run(self.random.choice((f"UPDATE {table} SET parent = parent {where} RETURNING n",
                                                     f"SELECT n FROM {table} {where} FOR UPDATE")))
        if len(found) != len(earlier.rows[table]):
            self.observer.complain(f"{self.name}: {len(found)} instead of {len(earlier.rows[table])} rows of {earlier.number} "
                                   f"in {table} can be changed")

    def with_bystander(self, tx):
        """A transaction that also writes WAL of its own: its commit record decides."""
        self.session.run("BEGIN")
        asynchronous = self.random.random() < 0.3
        if asynchronous:
            self.session.run("SET LOCAL synchronous_commit = off")
        first = self.random.random() < 0.5
        statement = f"INSERT INTO bystander VALUES ({self.number}, {tx.number})"
        tx.rows["bystander"] = {0: False}
        if first:
            self.session.run(statement)
        self.statements(tx)
        if not first:
            self.session.run(statement)
        self.commit_with(tx, "COMMIT")
        if asynchronous:  # PostgreSQL itself may lose it in a crash, but then all of it
            tx.end(book.UNKNOWN, "asynchronous")

    def bulk(self, tx):
        """More than the buffer is for: it goes to the table."""
        table = self.table_of_rows_that_spill()
        self.session.run("BEGIN")
        self.session.run("SET LOCAL writecache.bulk_bypass = '64kB'")
        for _ in range(self.random.randint(1, 3)):
            self.session.run(self.insert_text(table, self.rows(tx, table, 40, length=1000)))
        self.commit_with(tx, "COMMIT")

    def large_row(self, tx):
        table = self.random.choice((tables.PLAIN, tables.PARTITIONED, tables.FOREIGN))
        self.commit_with(tx, self.insert_text(table, self.rows(tx, table, 2, length=self.random.choice((30000, 64000, 90000)))))

    def serializable(self, tx):
        self.session.run("BEGIN ISOLATION LEVEL " + self.random.choice(("SERIALIZABLE", "REPEATABLE READ")))
        self.statements(tx, self.table_of_rows_that_spill())
        self.commit_with(tx, "COMMIT")

    def own_rows(self, tx):
        """Reads and changes the rows it has just inserted."""
        table = self.table_of_rows_that_spill()
        self.session.run("BEGIN")
        rows = self.rows(tx, table, self.random.randint(1, 10))
        self.session.run(self.insert_text(table, rows))
        mine = f"FROM {table} WHERE writer = {self.number} AND tx = {tx.number}"
        seen = int(self.session.run(f"SELECT count(*) {mine}")[0][0])
        if seen != len(rows):
            self.observer.complain(f"{self.name}, {tx.number}: sees {seen} of its own {len(rows)} rows in {table}")
        last = max(tx.rows[table])
        self.session.run(f"DELETE {mine} AND n = {last}")
        del tx.rows[table][last]
        self.commit_with(tx, "COMMIT")
