"""Writes: the same change to both twins, by the same transaction."""
from scheduler import Do, Hold, Release
from tables import side


KINDS = {"values": 3, "select": 1, "copy": 1, "function": 2, "returning": 1, "through_view": 1, "prepared": 1, "in_cte": 1, "on_conflict": 1,
         "update": 1, "update_from": 0.5, "delete": 1, "delete_using": 0.5, "merge": 1, "from_itself": 1, "from_another": 1, "locking": 1,
         "block": 1, "refer": 1, "lock_table": 0.2}
DRAINING = ("on_conflict", "update", "update_from", "delete", "delete_using", "merge", "locking", "lock_table")


class Spoiled(Exception):
    """The twins may have been changed by different snapshots: the transaction has to go."""


class Writes:
    def __init__(self, session):
        self.s, self.v, self.rng, self.world = session, session.v, session.rng, session.world

    def write(self):
        kind = self.rng.choices(list(KINDS), list(KINDS.values()))[0]
        if kind in DRAINING and not self.v.chance(self.world.drains):
            kind = "values"
        self.world.counts.add("writes", kind)
        yield from getattr(self, kind)()

    def pair(self, text, copy=(), check=True, reads=False):
        """Runs a statement for both twins; what they return must be the same. `reads`: what others do can matter."""
        answers = []
        for schema in ("wb", "tw"):
            answers.append((yield Do(side(text, schema), copy))[-1])
        if check and sorted(answers[0], key=str) != sorted(answers[1], key=str) and not self.s.spoiled \
                and (not reads or self.s.saw_the_same()):
            self.world.complain(f"session {self.s.number}: a statement returned two things",
                                [text, f"write-back: {answers[0][:10]}", f"plain: {answers[1][:10]}"])

    def pair_of_one_snapshot(self, text):
        """For statements that read: in READ COMMITTED nobody may commit between the two."""
        if self.s.one_snapshot():
            yield from self.pair(text)
            return
        yield Hold()
        yield from self.pair(text, reads=True)
        same = self.s.saw_the_same()
        yield Release()
        if not same:
            raise Spoiled

    def target(self, table):
        """The table, or its heir."""
        return "@.heir" if table.name == "family" and self.v.chance(0.5) else f"@.{table.name}"

    def rows_text(self, table, count):
        names = self.v.column_list(table)
        first = self.v.fresh_ids(count)
        return names, [self.v.row(table, names, first + i) for i in range(count)]

    def values_text(self, table, count):
        names, rows = self.rows_text(table, count)
        return f"INSERT INTO {self.target(table)} ({', '.join(names)}) VALUES " + ", ".join(f"({', '.join(r)})" for r in rows)

    def table(self):
        return self.rng.choice(self.world.tables)

    def count(self):
        return self.rng.choice((1, 1, 2, 5, 30))

    # --- ways to insert

    def values(self):
        yield from self.pair(self.values_text(self.table(), self.count()))

    def returning(self):
        yield from self.pair(self.values_text(self.table(), self.count()) + " RETURNING id, a, b || 'x', ts")

    def select(self):
        table, count = self.table(), self.rng.choice((3, 20, 100))
        first = self.v.fresh_ids(count)
        yield from self.pair(f"INSERT INTO @.{table.name} (id, a, b, c, ts) SELECT {first} + n, n % 40, 'k' || n % 11, n + 0.5, "
                             f"timestamptz '2024-05-01 00:00+00' + n * interval '37 min' FROM generate_series(0, {count - 1}) n")

    def copy(self):
        table, count = self.table(), self.rng.choice((1, 10, 60))
        first = self.v.fresh_ids(count)
        lines = [f"{first + n}\t{self.rng.randint(0, 50)}\tk{self.rng.randint(0, 12)}\t{self.rng.randint(0, 20)}.5\t2024-05-0{self.rng.randint(1, 5)} 10:00+00"
                 for n in range(count)]
        yield from self.pair(f"COPY @.{table.name} (id, a, b, c, ts) FROM STDIN", tuple(lines))

    def function(self):
        """writecache.insert: a row of the table's type, or an array of them."""
        table, count = self.table(), self.rng.choice((1, 1, 7))
        if table.attached != [table.name]:
            return
        first = self.v.fresh_ids(count)
        rows = [f'{{"id": {first + n}, "a": {self.rng.randint(0, 50)}, "b": "m{self.rng.randint(0, 9)}", "c": {self.rng.randint(0, 20)}, '
                f'"ts": "2024-05-0{self.rng.randint(1, 5)} 12:00+00"}}' for n in range(count)]
        row = "(SELECT r FROM jsonb_populate_record(NULL::wb.{0}, '{1}') r)"
        if self.v.chance(0.5) and count == 1 and not table.computed:
            ours = f"SELECT writecache.insert({row.format(table.name, rows[0])})"
        else:
            ours = f"SELECT writecache.insert('wb.{table.name}', '[{', '.join(rows)}]'::jsonb)"
            if table.name == "wide":  # absent keys take the default there, null in a record
                return
        columns = ", ".join(n for n in table.writable() if n not in table.added)
        theirs = (f"INSERT INTO tw.{table.name} ({columns}) SELECT {columns} FROM jsonb_populate_recordset(NULL::tw.{table.name}, "
                  f"'[{', '.join(rows)}]'::jsonb)")
        if table.added:  # their defaults
            return
        yield Do(ours)
        yield Do(theirs)

    def block(self):
        """PL/pgSQL with a subtransaction that fails."""
        table = self.table()
        kept, gone = self.values_text(table, 2), self.values_text(table, 2)
        yield from self.pair(f"DO $$ BEGIN {kept}; BEGIN {gone}; RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN NULL; END; END $$")

    def from_itself(self):
        table = self.table()
        first = self.v.fresh_ids(40)
        where = self.v.where("q", table.readable())
        yield from self.pair_of_one_snapshot(
            f"INSERT INTO @.{table.name} (id, a, b, c, ts) SELECT {first - 1} + row_number() OVER (ORDER BY id), a, b, c, ts "
            f"FROM (SELECT * FROM @.{table.name} q WHERE {where} ORDER BY id LIMIT 40) q")

    def from_another(self):
        table, other = self.table(), self.table()
        first = self.v.fresh_ids(30)
        where = self.v.where("q", other.readable())
        yield from self.pair_of_one_snapshot(
            f"INSERT INTO @.{table.name} (id, a, b, c, ts) SELECT {first - 1} + row_number() OVER (ORDER BY q.id), q.a, q.b, p.n, coalesce(q.ts, '2024-05-03 08:00+00') FROM @.{other.name} q "
            f"JOIN (SELECT a, count(*) AS n FROM @.{table.name} GROUP BY a) p USING (a) WHERE {where} ORDER BY q.id LIMIT 30")

    def through_view(self):
        table = self.table()
        first = self.v.fresh_ids(2)
        rows = ", ".join(f"({first + n}, {self.rng.randint(0, 50)}, 'v{n}', '2024-05-04 09:00+00')" for n in range(2))
        yield from self.pair(f"INSERT INTO @.{self.v.one('v_', 'sb_')}{table.name} (id, a, b, ts) VALUES {rows}")

    def prepared(self):
        table = self.table()
        name = f"i{self.world.clock()}"
        yield from self.pair(f"PREPARE {name}_@@(bigint, int) AS INSERT INTO @.{table.name} (id, a, b, ts) VALUES ($1, $2, 'prepared', '2024-05-02 09:00+00')")
        for _ in range(self.rng.randint(1, 7)):
            yield from self.pair(f"EXECUTE {name}_@@({self.v.fresh_ids(1)}, {self.v.literal('int')})")
        yield from self.pair(f"DEALLOCATE {name}_@@")

    def in_cte(self):
        """The query beside it does not see the new rows."""
        table = self.table()
        yield from self.pair_of_one_snapshot(f"WITH new AS ({self.values_text(table, 3)} RETURNING id) SELECT (SELECT count(*) FROM new), "
                                             f"(SELECT count(*) FROM @.{table.name}), (SELECT sum(c) FROM @.{self.table().name})")

    # --- what goes to the table

    def refer(self):
        """A foreign key to a row that may be pending."""
        if self.world.by_name["pk"].referenced:
            yield from self.pair_of_one_snapshot(f"SELECT @.refer({self.v.fresh_ids(1)}, {self.v.known_id()})")

    def lock_table(self):
        """It may store what is pending in this transaction, which then cannot be prepared."""
        table = self.table()
        self.s.unpreparable = True
        yield from self.pair(f"LOCK TABLE @.{table.name} IN {self.v.one('SHARE', 'SHARE ROW EXCLUSIVE', 'ROW EXCLUSIVE')} MODE")

    def update_from(self):
        table, other = self.table(), self.table()
        yield from self.pair_of_one_snapshot(
            f"UPDATE @.{table.name} q SET c = p.n FROM (SELECT a, count(*) AS n FROM @.{other.name} WHERE a < 20 GROUP BY a) p "
            f"WHERE p.a = q.a AND id % 7 = {self.rng.randint(0, 6)} RETURNING q.id, q.c")

    def delete_using(self):
        table, other = self.table(), self.table()
        yield from self.pair_of_one_snapshot(
            f"DELETE FROM @.{table.name} q USING (SELECT DISTINCT a FROM @.{other.name} WHERE c > 12) p "
            f"WHERE p.a = q.a AND id % 9 = {self.rng.randint(0, 8)} RETURNING q.id, q.a")

    def on_conflict(self):
        table = self.world.by_name[self.rng.choice([t.name for t in self.world.tables if t.keyed])]
        ids = sorted({self.v.known_id() for _ in range(3)} | {self.v.fresh_ids(1)})
        rows = ", ".join(f"({i}, {self.rng.randint(0, 50)}, 'k1', 1.5, '2024-05-02 10:00+00')" for i in ids)
        action = self.v.one("NOTHING", "UPDATE SET a = excluded.a + 1", "UPDATE SET b = 'm1' WHERE q.a < 25")
        yield from self.pair_of_one_snapshot(f"INSERT INTO @.{table.name} AS q (id, a, b, c, ts) VALUES {rows} ON CONFLICT (id) DO {action} RETURNING id, a, b")

    def update(self):
        table = self.table()
        change = self.v.one("a = a + 1", "b = 'm3', c = c + 1", "c = NULL", "a = 5, b = b || 'x'")
        yield from self.pair_of_one_snapshot(f"UPDATE @.{table.name} q SET {change} WHERE {self.v.where('q', table.readable())} "
                                             f"AND id % 4 = {self.rng.randint(0, 3)} RETURNING id, a, b")

    def delete(self):
        table = self.table()
        yield from self.pair_of_one_snapshot(f"DELETE FROM @.{table.name} q WHERE {self.v.where('q', table.readable())} "
                                             f"AND id % 5 = {self.rng.randint(0, 4)} RETURNING id")

    def merge(self):
        table = self.table()
        ids = sorted({self.v.known_id() for _ in range(4)})
        first = self.v.fresh_ids(len(ids))
        source = ", ".join(f"({i}, {first + n})" for n, i in enumerate(ids))
        action = self.v.one("UPDATE SET a = 1, b = 'merged'", "DELETE", "DO NOTHING")
        yield from self.pair_of_one_snapshot(f"MERGE INTO @.{table.name} q USING (VALUES {source}) s(id, fresh) ON q.id = s.id "
                                             f"WHEN MATCHED AND q.a > 5 THEN {action} WHEN NOT MATCHED THEN INSERT (id, a, ts) "
                                             f"VALUES (s.fresh, 3, '2024-05-03 10:00+00')")

    def locking(self):
        table = self.table()
        yield from self.pair_of_one_snapshot(f"SELECT id, a FROM @.{table.name} q WHERE {self.v.where('q', table.readable())} "
                                             f"ORDER BY id LIMIT 5 FOR {self.v.one('UPDATE', 'SHARE', 'NO KEY UPDATE', 'KEY SHARE')}")

    # --- outside a transaction block

    def at_once(self):
        """Both statements in one message: one transaction without BEGIN."""
        text = self.values_text(self.table(), self.count())
        yield Do(f"{side(text, 'wb')}; {side(text, 'tw')}")
