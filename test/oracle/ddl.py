"""Changes to the tables themselves, to both twins in one transaction."""
from pq import Refused
from scheduler import Do
from tables import DAYS, side


KINDS = {"add_column": 2, "drop_column": 3, "index": 2, "reindex": 1, "truncate": 1, "vacuum": 1, "analyze": 1, "cluster": 1, "option": 1,
         "attach_again": 1, "partition_again": 0.5}


class Changes:
    def __init__(self, session):
        self.s, self.rng, self.world = session, session.rng, session.world

    def change(self):
        table = self.rng.choice(self.world.tables)
        kind = self.rng.choices(list(KINDS), list(KINDS.values()))[0]
        made = getattr(self, kind)(table)
        if not made:
            return
        self.world.counts.add("DDL", kind)
        text, rewrites = made
        stores = any(word in text for word in ("COLUMN", "detach", "DETACH"))
        if stores:
            self.world.storing.add(self.s.number)
        if rewrites:
            self.world.rewriting[self.s.number] = table.name
        try:
            yield Do(text)
        except Refused as refused:
            self.s.judge(refused, ("55000",))
            yield Do("ROLLBACK")
        finally:
            if self.world.rewriting.pop(self.s.number, None):
                self.world.rewritten[table.name] = self.world.clock()
        self.world.refresh(table)
        if stores:
            self.world.storing.discard(self.s.number)
            self.world.stored_by_ddl = self.world.clock()

    def both(self, text, *more):
        end = self.rng.choice(("COMMIT", "COMMIT", "COMMIT", "ROLLBACK"))
        return f"BEGIN; {side(text, 'wb')}; {side(text, 'tw')}; {end}"

    def add_column(self, table):
        if len(table.added) > 2 or table.name == "secret":
            return None
        name = f"x{self.world.clock()}"
        default = self.rng.choice(("", " DEFAULT 7", " DEFAULT 3 NOT NULL"))
        return self.both(f"ALTER TABLE @.{table.name} ADD COLUMN {name} int{default}"), False

    def drop_column(self, table):
        if not table.added:
            return None
        return self.both(f"ALTER TABLE @.{table.name} DROP COLUMN {self.rng.choice(sorted(table.added))}"), False

    def index(self, table):
        columns = self.rng.choice(("a", "b", "ts", "id", "a, ts DESC", "lower(b)", "c"))
        name = f"extra_{table.name}"
        if self.rng.random() < 0.4:
            return self.both(f"DROP INDEX IF EXISTS @.{name}"), False
        return self.both(f"CREATE INDEX IF NOT EXISTS {name} ON @.{table.name} ({columns})"), False

    def truncate(self, table):
        return self.both(f"TRUNCATE @.{table.name} CASCADE"), True

    def vacuum(self, table):
        how = self.rng.choice(("", "(FREEZE) ", "(FULL) ", "(ANALYZE) "))
        return f"VACUUM {how}wb.{table.name}", "FULL" in how

    def reindex(self, table):
        return f"REINDEX TABLE wb.{table.name}", False

    def cluster(self, table):
        if table.name not in ("pk", "wide"):
            return None
        return f"CLUSTER wb.{table.name} USING {table.name}_pkey", True

    def attach_again(self, table):
        name = self.rng.choice(table.attached)
        return (f"BEGIN; SELECT writecache.detach('wb.{name}'); SELECT writecache.attach('wb.{name}', 'write_back', flush_interval => '1 day'); "
                f"{self.rng.choice(('COMMIT', 'COMMIT', 'ROLLBACK'))}"), False

    def partition_again(self, _table):
        name, bounds = self.rng.choice((("part_1", f"FOR VALUES FROM (MINVALUE) TO ('{DAYS[1]}')"), ("part_4", "DEFAULT"),
                                        ("part_3", f"FOR VALUES FROM ('{DAYS[2]}') TO ('{DAYS[4]}')")))
        return self.both(f"ALTER TABLE @.part DETACH PARTITION @.{name}; ALTER TABLE @.part ATTACH PARTITION @.{name} {bounds}"), False

    def analyze(self, table):
        return f"ANALYZE wb.{table.name}; ANALYZE tw.{table.name}", False

    def option(self, table):
        value = self.rng.choice(("flush_interval => '1 day'", "flush_interval => '5 ms'", "flush_rows => 10", "flush_rows => 100000"))
        return f"SELECT writecache.alter('wb.{self.rng.choice(table.attached)}', {value})", False
