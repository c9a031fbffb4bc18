"""The grammar of queries. Each has one answer, as a list or as a bag of rows, whatever the plan."""
from dataclasses import dataclass


@dataclass
class Query:
    text: str            # with @. for the schema
    tables: set          # whose rows it reads
    ordered: bool = False
    volatile: bool = False   # sees later commits than its own snapshot, where that is possible
    role: str = ""
    folded: bool = False  # calls an IMMUTABLE function that is none: its value is that of the planning


SHAPES = {"rows": 2, "first_rows": 2, "aggregate": 1, "groups": 1, "extremes": 1, "join": 2, "semi_join": 1, "lateral": 1,
          "set_operation": 1, "window": 1, "distinct": 1, "cte": 1, "function": 1, "row_security": 1, "grouping_sets": 1, "recursive": 1,
          "scalar_subqueries": 1, "partial_rows": 1, "sample": 1, "system_columns": 1, "whole_row": 1, "list_join": 1, "derived": 1,
          "aggregate_view": 1, "immutable_function": 1, "only": 0.5}
DRAINING = ("sample", "system_columns", "only")  # what is pending is stored first
RELATIONS = ("partition or heir", "table", "view", "security-barrier view", "SQL function", "subquery that stays", "subquery", "partitioned table")


class Grammar:
    def __init__(self, values, tables, counts):
        self.v, self.tables, self.counts = values, tables, counts
        self.rng, self.one, self.chance = values.rng, values.one, values.chance

    def query(self):
        self.used, self.volatile = set(), False
        shape = self.rng.choices(list(SHAPES), list(SHAPES.values()))[0]
        if shape in DRAINING and not self.chance(self.v.world.drains):
            shape = "rows"
        self.counts.add("queries", shape)
        made = getattr(self, shape)()
        text, ordered = made if isinstance(made, tuple) else (made, False)
        query = Query(text, self.used, ordered, self.volatile)
        if shape == "row_security":
            query.role = "reader"
        query.folded = shape == "immutable_function"
        return query

    # --- relations

    def table(self, *names):
        table = self.rng.choice([t for t in self.tables if not names or t.name in names])
        self.used.add(table.name)
        return table

    def relation(self, q, table=None):
        """Something to select from under the name q, and its columns."""
        table = table or self.table()
        t = table.name
        self.used.add(t)
        roll = self.rng.random()
        columns = table.readable()
        name, text, columns = self.relation_of(table, q, columns, roll)
        self.counts.add("relations", name)
        return text, columns

    def relation_of(self, table, q, columns, roll):
        t = table.name
        if table.leaves and roll < 0.3:
            return "partition or heir", f"@.{self.rng.choice(table.leaves)} {q}", columns
        if roll < 0.7:
            return "partitioned table" if t == "part" else "table", f"@.{t} {q}", columns
        if roll < 0.76:
            return "view", f"@.v_{t} {q}", {n: k for n, k in columns.items() if n not in table.added}
        if roll < 0.82:
            return "security-barrier view", f"@.sb_{t} {q}", {n: columns[n] for n in ("id", "a", "b", "c", "ts")}
        if roll < 0.88:
            return "SQL function", f"@.sql_{t}({self.v.literal('int')}) {q}", columns
        if roll < 0.94:
            return "subquery that stays", f"(SELECT * FROM @.{t} s WHERE {self.v.where('s', columns)} OFFSET 0) {q}", columns
        return "subquery", f"(SELECT * FROM @.{t} s WHERE {self.v.where('s', columns)}) {q}", columns

    def where(self, q, columns):
        return f"WHERE {self.v.where(q, columns)}" if self.chance(0.8) else ""

    def some(self, q, columns):
        """A select list."""
        if self.chance(0.15):
            return ", ".join(f"{q}.{n}" for n in columns)
        names = self.rng.sample(sorted(columns), self.rng.randint(1, min(4, len(columns))))
        return ", ".join(f"{q}.{n}" for n in names)

    # --- shapes

    def rows(self):
        r, columns = self.relation("q")
        return f"SELECT {self.some('q', columns)} FROM {r} {self.where('q', columns)}"

    def partial_rows(self):
        """What an index alone can answer."""
        table = self.table()
        name = self.one("a", "b", "ts", "id")
        kind = table.columns[name]
        return f"SELECT q.{name} FROM @.{table.name} q WHERE q.{name} {self.one('=', '>', '<=', '>=')} {self.v.literal(kind)}"

    def first_rows(self):
        """The order is by columns that decide between any two rows that differ in what is selected."""
        r, columns = self.relation("q")
        lead = [n for n in ("a", "b", "c", "ts", "id") if self.chance(0.4)] or ["ts"]
        ways = ["", " DESC", " DESC NULLS LAST", " NULLS FIRST"]
        way = self.rng.choice(ways)
        order = [f"q.{n}{way if self.chance(0.8) else self.rng.choice(ways)}" for n in lead]
        if "id" not in lead:
            order.append(f"q.id{way}")
        limit = f"LIMIT {self.rng.randint(0, 12)}" if self.chance(0.85) else ""
        if limit and self.chance(0.2):
            limit += f" OFFSET {self.rng.randint(0, 30)}"
        if limit and self.chance(0.1):
            # rows that tie in the order are all there
            return (f"SELECT q.{lead[0]} FROM {r} {self.where('q', columns)} ORDER BY q.{lead[0]} "
                    f"FETCH FIRST {self.rng.randint(1, 9)} ROWS WITH TIES"), True
        return f"SELECT q.id, {self.some('q', {n: columns[n] for n in ('a', 'b', 'c', 'ts')})} FROM {r} {self.where('q', columns)} ORDER BY {', '.join(order)} {limit}", True

    def measures(self, q):
        every = ["count(*)", f"count({q}.a)", f"sum({q}.a)", f"sum({q}.c)", f"min({q}.ts)", f"max({q}.b)", f"max({q}.id)", f"avg({q}.c)",
                 f"count(DISTINCT {q}.b)", f"bool_and({q}.a > 3)", f"string_agg({q}.b, ',' ORDER BY {q}.b)", f"array_agg({q}.id ORDER BY {q}.id)",
                 f"sum({q}.a) FILTER (WHERE {q}.c > 4)", f"percentile_disc(0.5) WITHIN GROUP (ORDER BY {q}.a)", f"min({q}.c - {q}.a)"]
        return ", ".join(self.rng.sample(every, self.rng.randint(1, 4)))

    def aggregate(self):
        r, columns = self.relation("q")
        return f"SELECT {self.measures('q')} FROM {r} {self.where('q', columns)}"

    def extremes(self):
        table = self.table()
        name = self.one("a", "b", "ts", "id", "c")
        f = self.one("min", "max")
        where = f"WHERE {self.v.where('q', table.readable())}" if self.chance(0.5) else ""
        return f"SELECT {f}(q.{name}), {self.one('min', 'max')}(q.ts) FROM @.{table.name} q {where}"

    def groups(self):
        r, columns = self.relation("q")
        by = self.one("q.a", "q.b", "q.a, q.b", "q.ts::date", "lower(q.b)", "q.a % 5", "q.c > 5")
        having = self.one("", "", "HAVING count(*) > 2", "HAVING max(q.a) < 30")
        return f"SELECT {by}, {self.measures('q')} FROM {r} {self.where('q', columns)} GROUP BY {by} {having}"

    def grouping_sets(self):
        r, columns = self.relation("q")
        sets = self.one("ROLLUP (q.a, q.b)", "CUBE (q.b, (q.a % 3))", "GROUPING SETS ((q.a), (q.b), ())")
        return f"SELECT {'q.a, q.b' if '%' not in sets else 'q.b'}, count(*), sum(q.c) FROM {r} {self.where('q', columns)} GROUP BY {sets}"

    def join(self):
        r, rc = self.relation("q")
        s, sc = self.relation("p")
        kind = self.one("JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN")
        on = self.one("q.a = p.a", "q.id = p.id", "q.b = p.b AND q.a = p.a", "q.ts = p.ts", "q.a = p.a AND q.ts = p.ts", "q.id = p.a")
        if kind != "FULL JOIN":
            on += self.one("", "", f" AND {self.v.where('p', sc)}", " AND q.c < p.c")
        third, where = "", self.where("q", rc)
        if self.chance(0.25):
            u, _ = self.relation("u")
            third = f"{self.one('JOIN', 'LEFT JOIN')} {u} ON u.id = {self.one('q.id', 'p.id', 'q.a')}"
        if self.chance(0.3):
            return f"SELECT count(*), sum(q.a), sum(p.c), count(p.id) FROM {r} {kind} {s} ON {on} {third} {where}"
        return f"SELECT q.id, p.id AS pid, p.b, q.a FROM {r} {kind} {s} ON {on} {third} {where}"

    def semi_join(self):
        r, rc = self.relation("q")
        s, sc = self.relation("p")
        w = self.v.where("p", sc)
        return f"SELECT {self.some('q', rc)} FROM {r} WHERE " + self.one(
            f"q.a IN (SELECT p.a FROM {s} WHERE {w})", f"EXISTS (SELECT 1 FROM {s} WHERE p.a = q.a AND {w})",
            f"NOT EXISTS (SELECT 1 FROM {s} WHERE p.id = q.id AND {w})", f"q.id = ANY (SELECT p.id FROM {s} WHERE {w})",
            f"q.id = ANY (ARRAY(SELECT p.id FROM {s} WHERE {w}))", f"CASE WHEN q.c > 9 THEN EXISTS (SELECT FROM {s} WHERE p.a = q.a) ELSE q.a > 3 END",
            f"q.a NOT IN (SELECT p.a FROM {s} WHERE p.a IS NOT NULL AND {w})", f"(q.a, q.b) IN (SELECT p.a, p.b FROM {s} WHERE {w})",
            f"q.c > ALL (SELECT p.c FROM {s} WHERE p.a = q.a AND p.id <> q.id)", f"q.ts = (SELECT max(p.ts) FROM {s} WHERE p.a = q.a)")

    def lateral(self):
        r, rc = self.relation("q")
        s, _ = self.relation("p")
        inner = (f"(SELECT p.id AS pid, p.ts AS pts FROM {s} WHERE {self.one('p.a = q.a', 'p.b = q.b', 'p.ts <= q.ts', 'p.id < q.id')} "
                 "ORDER BY p.ts DESC, p.id LIMIT 2) x")
        how = self.one(f"CROSS JOIN LATERAL {inner}", f"LEFT JOIN LATERAL {inner} ON true")
        return f"SELECT q.id, x.pid, x.pts FROM {r} {how} {self.where('q', rc)}"

    def set_operation(self):
        r, rc = self.relation("q")
        s, sc = self.relation("p")
        names = self.one("a", "b", "a, b", "ts", "id")
        pick = lambda q: ", ".join(f"{q}.{n.strip()}" for n in names.split(","))  # noqa: E731
        op = self.one("UNION", "UNION ALL", "EXCEPT", "EXCEPT ALL", "INTERSECT", "INTERSECT ALL")
        text = f"SELECT {pick('q')} FROM {r} {self.where('q', rc)} {op} SELECT {pick('p')} FROM {s} {self.where('p', sc)}"
        if names == "id" and self.chance(0.5):
            return f"{text} ORDER BY 1 LIMIT 7", True
        return text

    def window(self):
        r, rc = self.relation("q")
        part = self.one("", "PARTITION BY q.a", "PARTITION BY q.b")
        order = self.one("ORDER BY q.ts, q.id", "ORDER BY q.id DESC", "ORDER BY q.a, q.id")
        f = self.one("row_number()", "rank()", "lag(q.a)", "sum(q.c)", "first_value(q.b)", "count(*)", "ntile(3)")
        frame = " ROWS BETWEEN 2 PRECEDING AND CURRENT ROW" if f.startswith(("sum", "count")) and self.chance(0.5) else ""
        text = f"SELECT q.id, {f} OVER ({part} {order}{frame}) AS w FROM {r} {self.where('q', rc)}"
        return f"SELECT * FROM ({text}) o WHERE w::text < '3'" if f == "row_number()" and self.chance(0.4) else text

    def distinct(self):
        r, rc = self.relation("q")
        if self.chance(0.4):
            return self.distinct_on(r, rc)
        return f"SELECT DISTINCT {self.one('q.a', 'q.b', 'q.a, q.b', 'q.ts', 'q.c')} FROM {r} {self.where('q', rc)}"

    def distinct_on(self, r, rc):
        name = self.one("a", "b", "ts")
        return f"SELECT DISTINCT ON (q.{name}) q.{name}, q.id, q.c FROM {r} {self.where('q', rc)} ORDER BY q.{name}, q.id {self.one('', 'DESC')}", True

    def cte(self):
        r, rc = self.relation("q")
        m = self.one("", "MATERIALIZED", "NOT MATERIALIZED")
        return (f"WITH w AS {m} (SELECT q.id, q.a, q.b, q.c, q.ts FROM {r} {self.where('q', rc)}) "
                + self.one("SELECT x.id, y.id AS yid FROM w x JOIN w y ON x.a = y.a AND x.id <= y.id", "SELECT a, count(*) FROM w GROUP BY a",
                           "SELECT (SELECT count(*) FROM w), (SELECT sum(a) FROM w WHERE c > 3)",
                           "SELECT id FROM w WHERE a = (SELECT max(a) FROM w)"))

    def recursive(self):
        table = self.table()
        return (f"WITH RECURSIVE w(id, n) AS (SELECT min(q.id), 1 FROM @.{table.name} q WHERE q.a > {self.v.literal('int')} UNION ALL "
                f"SELECT (SELECT min(p.id) FROM @.{table.name} p WHERE p.id > w.id), n + 1 FROM w WHERE w.id IS NOT NULL AND n < 9) "
                "SELECT id, n FROM w")

    def scalar_subqueries(self):
        r, rc = self.relation("q")
        s, sc = self.relation("p")
        return (f"SELECT q.id, (SELECT count(*) FROM {s} WHERE p.a = q.a), (SELECT p.b FROM {s} WHERE p.id = q.id AND {self.v.where('p', sc)} "
                f"ORDER BY p.ts LIMIT 1) AS s FROM {r} {self.where('q', rc)}")

    def function(self):
        table = self.table()
        t, n = table.name, self.v.literal("int")
        kind = self.one("count", "volatile", "loop", "column")
        self.volatile = kind in ("volatile", "loop")
        if kind == "loop":
            return f"SELECT * FROM @.loop_{t}({n})"
        if kind == "column":
            return f"SELECT q.a, @.count_{t}(q.a) FROM (SELECT DISTINCT a FROM @.{t} WHERE a < {n}) q"
        return f"SELECT @.{kind}_{t}({n})"

    def row_security(self):
        table = self.table("secret")
        return self.one(
            f"SELECT q.id, q.a, q.b FROM @.secret q {self.where('q', table.readable())}", "SELECT count(*), sum(c) FROM @.secret",
            f"SELECT q.id FROM @.secret q WHERE public.leak(q.a, q.b) {self.one('AND q.b IS NOT NULL', '')}",
            "SELECT a, count(*) FROM @.secret GROUP BY a", "SELECT q.id, p.id AS pid FROM @.secret q JOIN @.secret p USING (a) WHERE q.id < p.id",
            f"SELECT id FROM @.v_secret WHERE a = {self.v.literal('int')}")

    def sample(self):
        table = self.table()
        return f"SELECT {self.measures('q')} FROM @.{table.name} q TABLESAMPLE {self.one('SYSTEM', 'BERNOULLI')} (100) {self.where('q', table.readable())}"

    def system_columns(self):
        table = self.table()
        return self.one(f"SELECT count(DISTINCT (q.tableoid, q.ctid)), count(*) FROM @.{table.name} q {self.where('q', table.readable())}",
                        f"SELECT q.tableoid::regclass::text LIKE '%{table.name}%', q.id FROM @.{table.name} q {self.where('q', table.readable())}",
                        f"SELECT count(*) FROM @.{table.name} q WHERE q.xmin IS NOT NULL AND q.a > {self.v.literal('int')}")

    def whole_row(self):
        """Rows as one value, whatever the columns' places in a partition or the columns dropped."""
        table = self.table()
        t, where = table.name, self.where("q", table.readable())
        plain = ", ".join(n for n in table.readable())
        return self.one(f"SELECT q FROM (SELECT {plain} FROM @.{t}) q {where}", f"SELECT count(q), count(q.*), bool_or(q IS NULL) FROM @.{t} q {where}",
                        f"SELECT q.id FROM @.{t} q WHERE q IS NOT NULL", f"SELECT to_jsonb(q) FROM @.{t} q {where}",
                        f"SELECT q::text FROM @.{t} q {where}", f"SELECT count(*) FROM @.{t} q JOIN @.{t} p ON q.* = p.*" if t not in ("wide", "family") else
                        f"SELECT q.id, (q).a FROM @.{t} q {where}")

    def list_join(self):
        """Look-ups by values from elsewhere."""
        r, rc = self.relation("q")
        name = self.one("id", "id", "a", "b", "ts")
        values = ", ".join(f"({self.v.literal(rc[name])}, {n})" for n in range(self.rng.randint(1, 12)))
        how = self.one("JOIN", "LEFT JOIN")
        return f"SELECT v.n, q.id, {self.some('q', rc)} FROM (VALUES {values}) v(k, n) {how} {r} ON q.{name} = v.k" + self.one("", " AND q.a > 5")

    def derived(self):
        r, rc = self.relation("q")
        s, sc = self.relation("p")
        how = self.one("JOIN", "LEFT JOIN", "FULL JOIN")
        return (f"SELECT x.a, x.n, y.n AS other FROM (SELECT q.a, count(*) AS n FROM {r} {self.where('q', rc)} GROUP BY q.a) x "
                f"{how} (SELECT p.a, max(p.ts) AS n FROM {s} {self.where('p', sc)} GROUP BY p.a) y ON x.a = y.a")

    def aggregate_view(self):
        table = self.table()
        return self.one(f"SELECT * FROM @.sum_{table.name} WHERE a = {self.v.literal('int')}", f"SELECT a, n, last FROM @.sum_{table.name}",
                        f"SELECT q.id, v.n FROM @.{table.name} q JOIN @.sum_{table.name} v USING (a) WHERE q.id > {self.v.literal('bigint')}")

    def immutable_function(self):
        table = self.table()
        return self.one(f"SELECT @.same_{table.name}({self.v.literal('int')})",
                        f"SELECT q.a, @.same_{table.name}(q.a) FROM (SELECT DISTINCT a FROM @.{table.name}) q WHERE q.a < 9")

    def only(self):
        table = self.table("family")
        return f"SELECT {self.some('q', table.readable())} FROM ONLY @.family q {self.where('q', table.readable())}"
