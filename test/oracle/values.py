"""Values and conditions for the columns of the tables."""
import random

from tables import DAYS


class Values:
    def __init__(self, rng: random.Random, world):
        self.rng, self.world = rng, world

    def chance(self, p):
        return self.rng.random() < p

    def one(self, *choices):
        return self.rng.choice(choices)

    def fresh_ids(self, count):
        first = self.world.next_id
        self.world.next_id += count
        return first

    def known_id(self):
        return self.rng.randint(1, max(self.world.next_id, 2))

    def literal(self, kind, nulls=0.0):
        """A value of the kind, as SQL; from few enough that they meet."""
        if nulls and self.chance(nulls):
            return "NULL"
        if kind == "bigint":
            return str(self.known_id())
        if kind == "int":
            return str(self.rng.randint(0, 50))
        if kind == "text":
            return f"'{self.one('k', 'K', 'm')}{self.rng.randint(0, 12)}'"
        if kind == "numeric":
            return f"{self.rng.randint(0, 20)}{self.one('', '.5', '.125')}"
        if kind == "timestamptz":
            return f"'{self.rng.choice(DAYS)} {self.rng.randint(0, 23):02}:{self.one('00', '30')}+00'::timestamptz"
        if kind == "bool":
            return self.one("true", "false")
        if kind == "jsonb":
            return f"""'{{"k": {self.rng.randint(0, 5)}, "tags": ["{self.one('x', 'y', 'z')}"]}}'::jsonb"""
        if kind == "array":
            return f"'{{{self.rng.randint(0, 5)},{self.rng.randint(0, 5)}}}'::int[]"
        if kind == "big":
            return self.one("'small'", f"repeat('{self.one('p', 'q')}', {self.one(100, 3000, 9000)})")
        raise ValueError(kind)

    def condition(self, q, columns):
        """A condition on columns of the relation that is called q."""
        name = self.rng.choice(sorted(columns))
        kind, x = columns[name], f"{q}.{name}"
        v = lambda: self.literal(kind)  # noqa: E731
        if self.chance(0.08):
            return f"{x} IS {self.one('', 'NOT ')}NULL"
        if kind == "bool":
            return self.one(x, f"NOT {x}", f"{x} IS NOT TRUE")
        if kind == "jsonb":
            return self.one(f"{x} @> '{{\"k\": {self.rng.randint(0, 5)}}}'", f"({x}->>'k')::int < 3", f"{x} ? 'k'", f"{x}->'tags' ? 'x'")
        if kind == "array":
            return self.one(f"{x} @> '{{{self.rng.randint(0, 5)}}}'", f"{self.rng.randint(0, 5)} = ANY ({x})", f"{x}[1] > 2")
        if kind == "big":
            return self.one(f"length({x}) > 50", f"{x} LIKE 'p%'", f"{x} = {v()}", f"md5({x}) < '8'")
        choices = [
            f"{x} = {v()}", f"{x} = {v()}", f"{x} {self.one('<', '<=', '>', '>=', '<>')} {v()}", f"{x} BETWEEN {v()} AND {v()}",
            f"{x} IN ({v()}, {v()}, {v()})", f"{x} = ANY (ARRAY[{v()}, NULL, {v()}])", f"{x} NOT IN ({v()}, {v()})",
            f"{x} IS DISTINCT FROM {v()}", f"coalesce({x}, {v()}) = {v()}"]
        if kind == "bigint":
            choices += [f"{x} % 3 = 1", f"{x} > {max(self.world.next_id - 60, 0)}", f"{x} = ANY ('{{{v()},{v()},{v()}}}'::bigint[])"]
        if kind == "text":
            choices += [f"{x} LIKE '{self.one('k', 'm')}1%'", f"lower({x}) = {v()}", f"{x} COLLATE \"C\" > {v()}"]
        if kind == "timestamptz":
            choices += [f"{x} >= '{DAYS[1]}' AND {x} < '{DAYS[3]}'", f"{x}::date = '{self.rng.choice(DAYS)}'"]
        if kind == "int":
            choices += [f"{x} = {v()}::bigint", f"{x} < {v()}::numeric", f"{x} IN (SELECT generate_series(1, 50, 7))"]
        return self.rng.choice(choices)

    def row_comparison(self, q):
        return self.one(f"({q}.a, {q}.id) {self.one('<', '<=', '>', '>=')} ({self.literal('int')}, {self.literal('bigint')})",
                        f"({q}.ts, {q}.a) > ({self.literal('timestamptz')}, {self.literal('int')})",
                        f"({q}.a, {q}.b) IN (({self.literal('int')}, {self.literal('text')}), ({self.literal('int')}, {self.literal('text')}))")

    def where(self, q, columns, depth=0):
        """A condition, perhaps of several parts."""
        roll = self.rng.random()
        if depth < 2 and roll < 0.35:
            return f"({self.where(q, columns, depth + 1)} {self.one('AND', 'AND', 'OR')} {self.where(q, columns, depth + 1)})"
        if depth < 2 and roll < 0.4:
            return f"NOT ({self.where(q, columns, depth + 1)})"
        if roll < 0.46:
            return self.row_comparison(q)
        return f"({self.condition(q, columns)})"

    def row(self, table, names, id_):
        """Values for the columns named."""
        columns = table.writable()
        return [str(id_) if n == "id" else self.literal(columns[n], self.nulls(table, n)) for n in names]

    def nulls(self, table, name):
        return 0.0 if (name == "ts" and table.leaves) or name in table.added else 0.1

    def column_list(self, table):
        """The columns that an INSERT names: id always, others mostly, in some order."""
        names = [n for n in table.writable() if n in ("id", "ts") or self.chance(0.85)]
        self.rng.shuffle(names)
        return names
