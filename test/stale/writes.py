"""Everything that can happen to a row: writes of every kind, and what DDL and maintenance do to its table."""


class Writes:
    def __init__(self, session):
        self.rng, self.session = session.rng, session

    def table(self):
        return self.rng.choice([t for t in self.session.tables if t.kind != "view"])

    def where(self, table, key):
        return " AND ".join(f"{column} = {value}" for column, value in zip(table.keys, key))

    def change(self):
        """One statement, or a few that belong together, in the transaction that is open, if one is."""
        table = self.table()
        kinds = [self.update] * 6 + [self.update_indexed, self.insert, self.upsert, self.delete, self.replace, self.rekey, self.swap, self.lock,
                                     self.merge, self.copy, self.looking, self.long_row, self.replica, self.evict] * 2 + [self.truncate, self.add_column, self.all_rows]
        kind = self.rng.choice(kinds)
        self.session.counts[kind.__name__] += 1
        kind(table, table.key(self.rng))

    def run(self, text):
        return self.session.run(text)

    def pad(self):
        return self.rng.choice(("'x'", "repeat('p', 3000)", "(SELECT string_agg(md5(g::text || random()), '') FROM generate_series(1, 120) g)"))

    def update(self, table, key):
        self.run(f"UPDATE {table.name} SET v = v + 1 WHERE {self.where(table, key)}")

    def update_indexed(self, table, key):
        self.run(f"UPDATE {table.name} SET w = w + 1 WHERE {self.where(table, key)}")

    def long_row(self, table, key):
        self.run(f"UPDATE {table.name} SET pad = {self.pad()} WHERE {self.where(table, key)}")

    def row(self, key):
        return f"({', '.join(key)}, {self.rng.randint(0, 99)}, {self.pad()})"

    def insert(self, table, key):
        self.run(f"INSERT INTO {table.name} ({table.columns()}, v, pad) VALUES {self.row(key)} ON CONFLICT DO NOTHING")

    def upsert(self, table, key):
        self.run(f"INSERT INTO {table.name} AS o ({table.columns()}, v, pad) VALUES {self.row(key)} "
                 f"ON CONFLICT ({table.columns()}) DO UPDATE SET v = o.v + 1, pad = EXCLUDED.pad")

    def merge(self, table, key):
        source = ", ".join(f"{value}::{kind} AS {column}" for column, value, kind in zip(table.keys, key, table.types))
        on = " AND ".join(f"o.{column} = n.{column}" for column in table.keys)
        self.run(f"MERGE INTO {table.name} o USING (SELECT {source}) n ON {on} WHEN MATCHED AND o.v % 3 = 0 THEN DELETE "
                 "WHEN MATCHED THEN UPDATE SET v = o.v + 1 "
                 f"WHEN NOT MATCHED THEN INSERT ({table.columns()}, v) VALUES ({', '.join(f'n.{c}' for c in table.keys)}, 0)")

    def copy(self, table, key):
        values = [value.strip("'") for value in key]
        self.run(f"DELETE FROM {table.name} WHERE {self.where(table, key)}")
        self.session.copy(f"COPY {table.name} ({table.columns()}, v, pad) FROM STDIN", ["\t".join([*values, "7", "copied"])])

    def delete(self, table, key):
        self.run(f"DELETE FROM {table.name} WHERE {self.where(table, key)}")

    def replace(self, table, key):
        """Another row with the key, in place or, after pruning, in the same place."""
        self.run(f"DELETE FROM {table.name} WHERE {self.where(table, key)}")
        if self.rng.random() < 0.3 and not self.session.in_transaction:
            self.run(f"VACUUM {table.name}")
        self.insert(table, self.rng.choice((key, table.key(self.rng))))

    def rekey(self, table, key):
        """The row gets another key: in a partitioned table it may move."""
        new = table.key(self.rng)
        sets = ", ".join(f"{column} = {value}" for column, value in zip(table.keys, new))
        if self.rng.random() < 0.6:
            self.run(f"DELETE FROM {table.name} WHERE {self.where(table, new)}")
        self.run(f"UPDATE {table.name} SET {sets} WHERE {self.where(table, key)}")

    def swap(self, table, key):
        other, aside = table.key(self.rng), tuple("'00000000-0000-0000-0000-000000000000'" if t == "uuid" else "'aside'" if t == "text" else "0"
                                                  for t in table.types)
        with self.session.atomic():
            for old, new in ((key, aside), (other, key), (aside, other)):
                sets = ", ".join(f"{column} = {value}" for column, value in zip(table.keys, new))
                self.run(f"UPDATE {table.name} SET {sets} WHERE {self.where(table, old)}")
                if self.rng.random() < 0.3:
                    self.session.reads.read(table)

    def lock(self, table, key):
        strength = self.rng.choice(("KEY SHARE", "SHARE", "NO KEY UPDATE", "UPDATE"))
        self.run(f"SELECT 1 FROM {table.name} WHERE {self.where(table, key)} FOR {strength} {self.rng.choice(('', 'SKIP LOCKED', 'NOWAIT'))}")

    def all_rows(self, table, key):
        if table.kind != "wide":
            self.run(f"UPDATE {table.name} SET v = v + 1")

    def looking(self, _table, _key):
        """A statement whose function reads what the statement itself has written so far."""
        self.session.counts["reads"] += 4
        self.run("UPDATE hot SET v = v + look(id) + look(1 + id % 14) - 1 WHERE id <= 4" if self.rng.random() < 0.5 else
                 "UPDATE hot SET v = v + look(1 + id % 4) WHERE id <= 4")

    def replica(self, table, key):
        """Behind the back of triggers."""
        self.run("SET session_replication_role = replica")
        self.update(table, key)
        self.run("RESET session_replication_role")

    def evict(self, table, key):
        if self.rng.random() < 0.1:
            self.run(f"SELECT writecache.invalidate('{table.name}')")
        else:
            self.run(f"SELECT writecache.evict('{table.name}', {', '.join(f'{value}::{kind}' for value, kind in zip(key, table.types))})")

    def truncate(self, table, _key):
        if table.kind == "wide":
            return
        with self.session.atomic():
            self.run(f"CREATE TEMP TABLE IF NOT EXISTS kept_{table.name} AS SELECT {table.columns()}, v, w, pad FROM {table.name} LIMIT 0")
            self.run(f"DELETE FROM kept_{table.name}")
            self.run(f"INSERT INTO kept_{table.name} SELECT {table.columns()}, v, w, pad FROM {table.name}")
            self.run(f"TRUNCATE {table.name}")
            if self.rng.random() < 0.5:
                self.session.reads.read(table)
            if self.rng.random() < 0.9:
                self.run(f"INSERT INTO {table.name} ({table.columns()}, v, w, pad) SELECT {table.columns()}, v, w, pad FROM kept_{table.name} "
                         f"ORDER BY {self.rng.choice(('v', 'random()', table.keys[0]))}")
                if self.rng.random() < 0.5:
                    self.session.reads.read(table)

    def add_column(self, table, _key):
        default = self.rng.choice(("int", "int DEFAULT 5", "text DEFAULT 'new'", "text DEFAULT repeat('n', 50)", "boolean DEFAULT true",
                                   "double precision DEFAULT random()"))
        with self.session.atomic():
            self.run(f"ALTER TABLE {table.name} DROP COLUMN IF EXISTS extra")
            if self.rng.random() < 0.8:
                self.run(f"ALTER TABLE {table.name} ADD extra {default}")
            if self.rng.random() < 0.7:
                self.session.reads.read(table)

    # --- what runs by itself

    def maintain(self):
        rng = self.rng
        table = rng.choice(self.session.tables)
        name = table.name
        if table.kind == "view":
            self.session.counts["refresh"] += 1
            return self.run(f"REFRESH MATERIALIZED VIEW {rng.choice(('', 'CONCURRENTLY'))} {name}")
        choices = ["vacuum"] * 6 + ["freeze", "full", "cluster", "reindex", "retype", "index", "warm"]
        choices += {"partitioned": ["detach"] * 3, "wide": [], "heap": ["persistence", "attach"]}[table.kind]
        what = rng.choice(choices)
        self.session.counts[what] += 1
        index = "(SELECT indexrelid::regclass FROM pg_index WHERE indrelid = '{}'::regclass AND indisunique LIMIT 1)"
        if what == "vacuum":
            self.run(f"VACUUM ({rng.choice(('ANALYZE', 'INDEX_CLEANUP ON', 'TRUNCATE OFF'))}) {name}")
        elif what == "freeze":
            self.run(f"VACUUM (FREEZE) {name}")
        elif what == "full" and table.kind != "wide":
            self.run(f"VACUUM (FULL) {name}")
        elif what == "cluster" and table.kind == "heap":
            chosen = self.run(f"SELECT {index.format(name)}")[0][0]
            self.run(f"CLUSTER {name} USING {chosen}")
        elif what == "reindex":
            # What failures have left. That of TOAST tables goes with them, and is not to be dropped by anybody.
            for row in self.run("SELECT indexrelid::regclass FROM pg_index JOIN pg_class ON oid = indexrelid "
                                "WHERE NOT indisvalid AND relnamespace <> 'pg_toast'::regnamespace"):
                if not row[0].isdigit():  # gone meanwhile
                    self.run(f"DROP INDEX IF EXISTS {row[0]}")
            self.run(f"REINDEX TABLE {rng.choice(('', 'CONCURRENTLY'))} {name}")
        elif what == "warm":
            self.run(f"SELECT writecache.warm('{name}')")
        elif what == "retype":
            self.run(f"ALTER TABLE {name} ALTER w TYPE {rng.choice(('int', 'bigint', 'numeric'))}")
        elif what == "index" and name == "logged":
            with self.session.atomic():
                old = self.run("SELECT indexrelid::regclass FROM pg_index WHERE indrelid = 'logged'::regclass AND indisunique")
                self.run(f"CREATE UNIQUE INDEX ON {name} (id)")
                for row in old:
                    self.run(f"DROP INDEX {row[0]}")
        elif what == "persistence":
            self.run(f"ALTER TABLE {name} SET {'LOGGED' if name == 'loose' else 'UNLOGGED'}")
            self.session.pause()
            self.session.reads.read(table)
            self.run(f"ALTER TABLE {name} SET {'UNLOGGED' if name == 'loose' else 'LOGGED'}")
        elif what == "attach":
            with self.session.atomic():
                self.run(f"SELECT writecache.detach('{name}')")
                self.run(f"SELECT writecache.attach('{name}', '{rng.choice(('write_around', 'write_through', 'cache_aside'))}'{table.attach})")
        elif what == "detach":
            with self.session.atomic():
                self.run("ALTER TABLE parts DETACH PARTITION parts_2")
                if rng.random() < 0.5:
                    self.run("UPDATE parts_2 SET v = v + 1")
                self.run("ALTER TABLE parts ATTACH PARTITION parts_2 FOR VALUES FROM (5) TO (10)")
        return None
