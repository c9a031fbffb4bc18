"""What goes on beside the writers: DDL on their tables, and snapshots that are held."""
import datetime
import random
import threading
import time

import ledger as book
import tables
from pq import Lost, Refused
from writers import is_fault


class Actor(threading.Thread):
    """A session that does something again and again; it may be refused, and its connection may go."""

    def __init__(self, name, cluster, observer, seed):
        super().__init__(name=name, daemon=True)
        self.cluster, self.observer = cluster, observer
        self.random = random.Random(f"{seed} {name}")
        self.halt = threading.Event()
        self.session = None

    def run(self):
        try:
            while not self.halt.is_set():
                try:
                    if self.session is None:
                        self.session = self.cluster.connect(self.name)
                        self.greet()
                    self.turn()
                except Refused as refused:
                    self.observer.count(f"{self.name} {refused.state}", str(refused))
                    if is_fault(refused):
                        self.observer.complain(f"{self.name}: {refused}")
                    self.give_up_transaction()
                except Lost:
                    self.drop_session()
                self.halt.wait(self.pause())
        except Exception as problem:  # a fault in here must not look like a pass
            self.observer.complain(f"{self.name}: {type(problem).__name__}: {problem}")
        finally:
            self.drop_session()

    def give_up_transaction(self):
        try:
            self.session.run("ROLLBACK")
        except (Lost, Refused):
            self.drop_session()

    def drop_session(self):
        if self.session:
            self.session.close()
            self.session = None

    def greet(self):
        pass


class Schemer(Actor):
    """DDL on the tables that are being written to."""

    def __init__(self, cluster, observer, seed):
        super().__init__("ddl", cluster, observer, seed)
        self.truncations = []  # (began, ended, certain) of table "emptied"
        self.history = []  # what was done, and when
        self.choices = [
            (4, self.columns), (3, self.index), (2, self.rewrite), (2, self.vacuum), (3, self.rename), (3, self.move),
            (4, self.truncate), (3, self.attachment), (3, self.options), (2, self.partition), (2, self.constraint),
            (2, self.keys), (1, self.event_trigger), (1, self.roles), (1, self.schemas), (2, self.lock), (3, self.flush), (2, self.retry_rejected), (2, self.owner), (1, self.checkpoint),
            (1, self.new_attachment)]

    def pause(self):
        return self.random.random() * 0.1

    def greet(self):
        self.session.run(f"SET lock_timeout = '{self.random.choice(('50ms', '400ms', '3s', '0'))}'")
        tables.restore(self.session)

    def turn(self):
        change = self.random.choices([c for _, c in self.choices], [w for w, _ in self.choices])[0]
        self.table = self.random.choice(tables.TABLES)
        self.history.append(f"{datetime.datetime.now()} {change.__name__}, table {self.table}")
        try:
            change()
            self.history.append(f"{datetime.datetime.now()} done")
        except (Lost, Refused) as problem:
            self.history.append(f"{datetime.datetime.now()} {problem}")
            raise

    def do(self, *statements, block=True):
        """Runs DDL, sometimes in a transaction that is rolled back, wholly or to a savepoint."""
        fate = self.random.choice(("plain", "plain", "block", "rollback", "savepoint")) if block else "plain"
        self.history.append(f"  {fate}: {'; '.join(statements)}")
        if fate == "plain":
            for statement in statements:
                self.session.run(statement)
        elif fate == "savepoint":
            self.session.run("BEGIN")
            self.session.run("SAVEPOINT s")
            for statement in statements:
                self.session.run(statement)
            self.session.run("ROLLBACK TO s")
            for statement in statements:
                self.session.run(statement)
            self.session.run("COMMIT")
        else:
            self.session.run("BEGIN")
            for statement in statements:
                self.session.run(statement)
            self.session.run("COMMIT" if fate == "block" else "ROLLBACK")

    def columns(self):
        t = self.table
        self.do(*self.random.choice((
            (f"ALTER TABLE {t} ADD COLUMN IF NOT EXISTS extra int DEFAULT 7",),
            (f"ALTER TABLE {t} ADD COLUMN IF NOT EXISTS more text",),
            (f"ALTER TABLE {t} DROP COLUMN IF EXISTS extra",),
            (f"ALTER TABLE {t} DROP COLUMN IF EXISTS more", f"ALTER TABLE {t} ADD COLUMN IF NOT EXISTS extra int"),
            (f"ALTER TABLE {t} ADD COLUMN IF NOT EXISTS extra timestamptz DEFAULT clock_timestamp()",))))

    def index(self):
        t = self.table
        how = self.random.choice(("CREATE", "CONCURRENTLY", "DROP", "REINDEX", "CLUSTER"))
        if how == "CREATE":
            self.do(f"CREATE INDEX IF NOT EXISTS {t}_more ON {t} (tx DESC)")
        elif how == "CONCURRENTLY" and t != tables.PARTITIONED:
            self.do(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {t}_more ON {t} (tx DESC)", block=False)
        elif how == "CLUSTER" and t not in (tables.PARTITIONED, tables.ORDERED):
            self.session.run(f"CREATE INDEX IF NOT EXISTS {t}_more ON {t} (tx DESC)")
            self.do(f"CLUSTER {t} USING {t}_more", block=False)
        elif how == "REINDEX" and t != tables.PARTITIONED:
            self.do(f"REINDEX TABLE {t}", block=False)
        else:
            self.do(f"DROP INDEX IF EXISTS {t}_more")

    def rewrite(self):
        self.do(f"ALTER TABLE {self.table} ALTER COLUMN length TYPE {self.random.choice(('bigint', 'int'))}")

    def vacuum(self):
        self.do(f"VACUUM {self.random.choice(('', 'FULL ', 'ANALYZE '))}{self.table}", block=False)

    def rename(self):
        self.do(f"ALTER TABLE {self.table} RENAME TO {self.table}_renamed", f"ALTER TABLE {self.table}_renamed RENAME TO {self.table}")

    def move(self):
        self.do(f"ALTER TABLE {self.table} SET SCHEMA elsewhere", f"ALTER TABLE elsewhere.{self.table} SET SCHEMA public")

    def truncate(self):
        began, certain, happened = time.monotonic(), False, True
        keep = self.random.random() < 0.7
        way = (f"TRUNCATE {tables.EMPTIED}" if self.random.random() < 0.6 else
               f"DROP TABLE {tables.EMPTIED}; CREATE TABLE {tables.EMPTIED} ({tables.DEFINITION}); {tables.attach(tables.EMPTIED)}")
        try:
            self.session.run("BEGIN")
            self.session.run(way)
            self.session.run("COMMIT" if keep else "ROLLBACK")
            certain = happened = keep
        except Refused:
            happened = False
            raise
        except Lost:
            happened = keep
            raise
        finally:
            if happened:
                self.truncations.append((began, time.monotonic(), certain))

    def attachment(self):
        self.do(f"SELECT writecache.detach('{self.table}')", tables.attach(self.table))

    def options(self):
        option = self.random.choice(("flush_rows => 1", "flush_rows => 100", "flush_interval => '1 ms'",
                                     "flush_interval => '1 hour'", "flush_bytes => 100", "flush_bytes => 1000000",
                                     "when_full => 'wait'", "when_full => 'write_through'", "when_full => 'error'"))
        if self.table != tables.ORDERED:  # its rows must not overtake each other
            self.do(f"SELECT writecache.alter('{self.table}', {option})")

    def retry_rejected(self):
        table = self.random.choice(tables.WITH_BAD_ROWS)
        stored = self.session.run(f"SELECT writecache.retry_rejected('{table}')")[0][0]
        if stored != "0":
            self.observer.complain(f"retry_rejected stored {stored} rows in {table} that it cannot take")

    def owner(self):
        if self.table not in (tables.ORDERED, tables.FOREIGN):  # their triggers want more rights
            self.do(f"ALTER TABLE {self.table} OWNER TO {self.random.choice(('somebody', 'postgres'))}")

    def checkpoint(self):
        self.session.run("CHECKPOINT")

    def new_attachment(self):
        """A table that comes and goes with rows pending."""
        self.session.run("CREATE TABLE passing (id int); SELECT writecache.attach('passing', 'write_back', flush_interval => '1 h')")
        self.session.run("INSERT INTO passing SELECT generate_series(1, 100)")
        self.session.run("DROP TABLE passing")

    def partition(self):
        part, bounds = self.random.choice(sorted(tables.PARTITIONS.items()))
        self.do(f"ALTER TABLE partitioned DETACH PARTITION {part}",
                f"ALTER TABLE partitioned ATTACH PARTITION {part} FOR VALUES FROM ({bounds})")

    def constraint(self):
        t = self.table
        self.do(*self.random.choice((
            (f"ALTER TABLE {t} DROP CONSTRAINT IF EXISTS sane", f"ALTER TABLE {t} ADD CONSTRAINT sane CHECK (n >= 0)"),
            (f"ALTER TABLE {t} ALTER COLUMN payload SET NOT NULL",),
            (f"ALTER TABLE {t} ALTER COLUMN payload DROP NOT NULL",))))

    def keys(self):
        """Constraints over all rows, pending ones too. They hold, or there are rows twice."""
        t = self.table
        if t in (tables.PARTITIONED, tables.EMPTIED):
            return
        self.do(*self.random.choice((
            (f"ALTER TABLE {t} DROP CONSTRAINT IF EXISTS once", f"ALTER TABLE {t} ADD CONSTRAINT once UNIQUE (writer, tx, n)"),
            (f"ALTER TABLE {t} DROP CONSTRAINT IF EXISTS once",),
            (f"ALTER TABLE {t} DROP CONSTRAINT IF EXISTS to_parent",
             f"ALTER TABLE {t} ADD CONSTRAINT to_parent FOREIGN KEY (parent) REFERENCES parents" +
             (" NOT VALID" if t in tables.WITH_BAD_ROWS else "")),
            (f"ALTER TABLE {t} DROP CONSTRAINT IF EXISTS to_parent",))))

    def event_trigger(self):
        """Reads the tables in the middle of other DDL."""
        self.session.run("DROP EVENT TRIGGER IF EXISTS watching")
        if self.random.random() < 0.7:
            event = self.random.choice(("ddl_command_start", "ddl_command_end"))
            self.session.run(f"CREATE EVENT TRIGGER watching ON {event} EXECUTE FUNCTION watch()")

    def roles(self):
        self.do(f"ALTER TABLE {tables.PLAIN} OWNER TO somebody", "REASSIGN OWNED BY somebody TO postgres")

    def schemas(self):
        """DROP SCHEMA and DROP OWNED with rows pending."""
        goes = self.random.choice(("DROP SCHEMA leaving CASCADE", "DROP OWNED BY leaver"))
        self.do("CREATE SCHEMA leaving AUTHORIZATION leaver", "CREATE TABLE leaving.t (id int)",
                "ALTER TABLE leaving.t OWNER TO leaver",
                "SELECT writecache.attach('leaving.t', 'write_back', flush_interval => '1 h')",
                "INSERT INTO leaving.t SELECT generate_series(1, 100)", goes,
                "DROP SCHEMA IF EXISTS leaving CASCADE")

    def lock(self):
        self.session.run("BEGIN")
        mode = self.random.choice(("ACCESS EXCLUSIVE", "SHARE", "SHARE ROW EXCLUSIVE"))
        self.session.run(f"LOCK TABLE {self.table} IN {mode} MODE")
        time.sleep(self.random.random() * 0.3)
        self.session.run("COMMIT")

    def flush(self):
        self.session.run("SELECT writecache.flush()" if self.random.random() < 0.3 else
                         f"SELECT writecache.flush('{self.table}')")


class Reader(Actor):
    """Holds a snapshot for a while and looks at it several times: it shows each row that was acknowledged before, once,
    and does not change."""

    def __init__(self, number, cluster, observer, seed, writers):
        super().__init__(f"reader-{number}", cluster, observer, seed)
        self.writers = writers

    def pause(self):
        return self.random.random() * 0.2

    def look(self, table):
        return self.session.run(f"SELECT writer, tx, count(*), count(DISTINCT n), sum(n) FROM {table} GROUP BY 1, 2 ORDER BY 1, 2")

    def partitions(self):
        return self.session.run(f"SELECT relid FROM pg_partition_tree('{tables.PARTITIONED}') ORDER BY 1")

    def turn(self):
        self.session.run("BEGIN ISOLATION LEVEL REPEATABLE READ")
        # Locks before the snapshot: a rewritten table looks empty to older snapshots, and what is attached to a table later
        # is there for them.
        self.session.run("SET LOCAL lock_timeout = '1s'; LOCK TABLE " + ", ".join([*tables.TABLES, *tables.PARTITIONS])
                         + " IN ACCESS SHARE MODE")
        acknowledged = [t for w in self.writers for t in w.ledger.transactions[-50:] if t.state == book.ACKED]
        partitions = self.partitions()
        first = {t: self.look(t) for t in tables.TABLES}
        for _ in range(self.random.randint(1, 3)):
            self.halt.wait(self.random.random() * 0.5)
            table = self.random.choice(tables.TABLES)
            again = self.look(table)
            # A partition that is attached meanwhile shows its rows to older snapshots, too.
            if again != first[table] and (table != tables.PARTITIONED or self.partitions() == partitions):
                self.observer.complain(f"{self.name}: one snapshot of {table} showed two things",
                                       {"gone": sorted(set(first[table]) - set(again)),
                                        "new": sorted(set(again) - set(first[table]))})
        self.session.run("COMMIT")
        if self.cluster.has_place_for_all():
            self.compare(acknowledged, first)
        for table, rows in first.items():
            twice = [row for row in rows if row[2] != row[3]]
            if twice:
                self.observer.complain(f"{self.name}: rows of {table} twice in a snapshot", {"rows": twice})

    def compare(self, acknowledged, looks):
        found = {t: {(int(row[0]), int(row[1])): int(row[2]) for row in rows} for t, rows in looks.items()}
        for transaction in acknowledged:
            for table, rows in transaction.rows.items():
                if table not in found or table in (tables.EMPTIED, tables.PARTITIONED):
                    continue
                good = sum(not bad for bad in rows.values())  # a bad row is seen until it is rejected
                number = found[table].get((transaction.writer, transaction.number), 0)
                if not good <= number <= len(rows):
                    self.observer.complain(f"{self.name}: sees {number} of {good} to {len(rows)} rows of {table}, writer "
                                           f"{transaction.writer}, transaction {transaction.number}, acknowledged before")


class Visitor(Actor):
    """A database that comes, gets rows, and goes."""

    def __init__(self, cluster, observer, seed):
        super().__init__("visitor", cluster, observer, seed)

    def pause(self):
        return 0.3 + self.random.random() * 2

    def turn(self):
        self.session.run("SET statement_timeout = '30s'")
        self.session.run("DROP DATABASE IF EXISTS visited")
        self.session.run("CREATE DATABASE visited")
        guest = self.cluster.connect("guest", database="visited")
        try:
            interval = self.random.choice(("1 ms", "1 h"))
            guest.run("CREATE EXTENSION pg_writecache; CREATE TABLE t (i int); "
                      f"SELECT writecache.attach('t', 'write_back', flush_interval => '{interval}')")
            for _ in range(self.random.randint(1, 3)):
                guest.run("INSERT INTO t SELECT generate_series(1, 300)")
            guest.run("SELECT writecache.flush()")
        finally:
            guest.close()
        began = time.monotonic()
        self.session.run("DROP DATABASE visited WITH (FORCE)")
        if time.monotonic() - began > 20:
            self.observer.complain("DROP DATABASE took more than 20 seconds")
