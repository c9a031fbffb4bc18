"""Reads by key, each paired with the same read of the table itself in one statement, that is, under one snapshot.

What keeps the second half away from the cache and from every index is TABLESAMPLE SYSTEM (100): all rows, by place.
"""
import json

UNCACHED = " TABLESAMPLE SYSTEM (100)"


class Reads:
    def __init__(self, session):
        self.rng, self.session = session.rng, session

    def keys(self, table):
        many = self.rng.choice((1, 3, 8, 20)) if table.kind != "wide" else self.rng.choice((20, 60))
        if table.kind == "wide" and self.rng.random() < 0.7:  # neighbours, so that some are read again
            start = self.rng.randint(1, table.count)
            return [(str(start + n),) for n in range(many)]
        return [table.key(self.rng) for _ in range(many)]

    def output(self, table):
        """What is selected of a row."""
        forms = ("t::text", "t::text", "(t.v, t.w)::text", "(t.pad, t.v)::text", f"(t.{table.keys[-1]}, length(t.pad))::text")
        return self.rng.choice(forms)

    def select(self, table, keys, output, source):
        """SELECT of rows by key; `source` comes after the table's name. The form is chosen by self.form."""
        name, rng = table.name, self.rng
        condition = self.condition
        if self.form == "values":
            rows = ", ".join(f"({', '.join(f'{v}::{t}' for v, t in zip(key, table.types))})" for key in keys)
            names = ", ".join(f"k{n}" for n in range(len(table.keys)))
            on = " AND ".join(f"t.{column} = j.k{n}" for n, column in enumerate(table.keys))
            return f"SELECT {output} AS r FROM (VALUES {rows}) j({names}) JOIN {name} t{source} ON {on}{condition}"
        if self.form == "lateral":
            rows = ", ".join(f"({', '.join(f'{v}::{t}' for v, t in zip(key, table.types))})" for key in keys)
            names = ", ".join(f"k{n}" for n in range(len(table.keys)))
            on = " AND ".join(f"t.{column} = j.k{n}" for n, column in enumerate(table.keys))
            return f"SELECT (SELECT {output} FROM {name} t{source} WHERE {on}{condition}) AS r FROM (VALUES {rows}) j({names})"
        if self.form == "any":
            others = "".join(f" AND t.{column} = {value}::{kind}" for column, value, kind in list(zip(table.keys, keys[0], table.types))[1:])
            array = ", ".join(key[0] for key in keys)
            return f"SELECT {output} AS r FROM {name} t{source} WHERE t.{table.keys[0]} = ANY (ARRAY[{array}]::{table.types[0]}[]){others}{condition}"
        on = " AND ".join(f"t.{column} = {value}::{kind}" for column, value, kind in zip(table.keys, keys[0], table.types))
        return f"SELECT {output} AS r FROM {name} t{source} WHERE {on}{condition}"

    def functions(self, table, keys):
        """The two halves with get or get_many; absent keys count, and so does the order."""
        names = ", ".join(f"k{n}" for n in range(len(table.keys)))
        arguments = ", ".join(f"j.k{n}" for n in range(len(table.keys)))
        arrays = ", ".join(f"ARRAY[{', '.join(key[n] for key in keys)}]::{kind}[]" for n, kind in enumerate(table.types))
        on = " AND ".join(f"t.{column} = j.k{n}" for n, column in enumerate(table.keys))
        source = f"unnest({arrays}) WITH ORDINALITY j({names}, n)"
        stored = f"SELECT n || ':' || coalesce(t::text, '') AS r FROM {source} LEFT JOIN {table.name} t{UNCACHED} ON {on}"
        if self.form == "get":
            return f"SELECT n || ':' || coalesce(writecache.get(NULL::{table.name}, {arguments})::text, '') AS r FROM {source}", stored
        # A row of nulls stands for none; no row of ours looks like it.
        return (f"SELECT n || ':' || CASE WHEN g.v IS NULL THEN '' ELSE g.r END AS r FROM (SELECT m.v, m::text AS r, row_number() OVER () AS n "
                f"FROM writecache.get_many(NULL::{table.name}, {arrays}) m) g", stored)

    def pair(self, table):
        """The cached half, the whole comparison, and how many keys it reads."""
        rng = self.rng
        self.form = rng.choice(("values", "lateral", "any", "any", "one", "one", "get", "get_many"))
        self.condition = rng.choice(("", "", "", " AND t.v % 2 = 0", " AND t.w >= 0"))
        keys = self.keys(table)
        if self.form == "one":
            keys = keys[:1]
        if self.form in ("get", "get_many"):
            cached, stored = self.functions(table, keys)
        else:
            output = self.output(table)
            cached, stored = (self.select(table, keys, output, source) for source in ("", UNCACHED))
        halves = ", ".join(f"(SELECT string_agg(r, E'\\n' ORDER BY r COLLATE \"C\") AS {name} FROM ({half}) r) {name}"
                           for name, half in (("cached", cached), ("stored", stored)))
        comparison = f"SELECT left(cached, 2000), left(stored, 2000) FROM {halves} WHERE cached IS DISTINCT FROM stored"
        return cached, comparison, len(keys)

    def read(self, table):
        cached, comparison, count = self.pair(table)
        rng, session = self.rng, self.session
        if rng.random() < 0.02:
            self.look_at_plan(cached)
        elif rng.random() < 0.1:
            return self.by_cursor(comparison, count)
        elif rng.random() < 0.2:
            session.run("DEALLOCATE ALL")
            session.run(f"SET plan_cache_mode = {rng.choice(('auto', 'force_generic_plan'))}")
            session.run(f"PREPARE same AS {comparison}")
            for _ in range(rng.randint(1, 5)):
                self.judge(comparison, session.run("EXECUTE same"), count)
                session.pause()
            return None
        return self.judge(comparison, session.run(comparison), count)

    def by_cursor(self, comparison, count):
        """The snapshot is the cursor's; what happens before it is fetched comes later."""
        session = self.session
        alone = not session.in_transaction
        if alone:
            session.run("BEGIN")
            session.in_transaction = True
        session.run("CLOSE ALL")
        session.run(f"DECLARE held CURSOR FOR {comparison}")
        for _ in range(self.rng.randint(0, 2) if session.writable else 0):
            session.writes.change()
        session.pause()
        self.judge(f"(cursor) {comparison}", session.run("FETCH ALL FROM held"), count)
        if alone:
            session.end()

    def judge(self, comparison, rows, count):
        self.session.counts["statements"] += 1
        self.session.counts["reads"] += count
        if rows:
            self.session.fault(f"cached: {rows[0][0]}\nstored: {rows[0][1]}\n{comparison}")

    def look_at_plan(self, cached):
        plan = json.loads("".join(row[0] for row in self.session.run(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {cached}")))
        nodes = [plan[0]["Plan"]]
        while nodes:
            node = nodes.pop()
            nodes += node.get("Plans", [])
            for name in ("Proofs by Page", "Proofs by TID", "Cache Misses"):
                self.session.counts[name] += node.get(name, 0)
