"""The tables of the checker: few keys, so that sessions meet, and one table that is larger than the cache.

Every table has the columns v (a number that changes), w (indexed, so that changing it is not HOT) and pad (long texts), and
now and then a column named extra.
"""
from dataclasses import dataclass

HOT = 14  # keys of the small tables


@dataclass
class Table:
    name: str
    keys: tuple  # names of the key columns
    types: tuple
    ddl: str
    collations: tuple = ("",)
    count: int = HOT
    kind: str = "heap"  # heap, partitioned, wide, view
    mode: str = "write_around"
    attach: str = ""

    def key(self, rng):
        """The values of a key, as SQL literals."""
        return tuple(literal(rng, t, rng.randint(1, self.count)) for t in self.types)

    def columns(self):
        return ", ".join(self.keys)


def literal(rng, kind, number):
    """A value of a type that stands for a number; equal values look different if the type lets them."""
    if kind == "numeric":
        return f"{number}" + rng.choice(("", ".0", ".000"))
    if kind == "text":
        return "'" + "".join(rng.choice((c, c.upper())) for c in f"key{number}") + "'"
    if kind == "uuid":
        return f"'00000000-0000-0000-0000-{number:012d}'"
    return str(number)


REST = "v int NOT NULL DEFAULT 0, w int DEFAULT 0, pad text"
TABLES = (
    Table("hot", ("id",), ("int",), f"CREATE TABLE hot (id int PRIMARY KEY, {REST}) WITH (fillfactor = 40)"),
    Table("logged", ("id",), ("uuid",), f"CREATE TABLE logged (id uuid NOT NULL, {REST}); CREATE UNIQUE INDEX ON logged (id)",
          mode="write_through", attach=", key => '{id}'"),
    Table("loose", ("id",), ("bigint",), f"CREATE UNLOGGED TABLE loose (id bigint PRIMARY KEY, {REST})", mode="write_through"),
    Table("pair", ("a", "b"), ("numeric", "text"), f"CREATE TABLE pair ({REST}, b text COLLATE any_case, a numeric, PRIMARY KEY (a, b))",
          count=4, mode="cache_aside"),
    Table("parts", ("id",), ("int",), f"CREATE TABLE parts (id int PRIMARY KEY, {REST}) PARTITION BY RANGE (id);"
          "CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (MINVALUE) TO (5) WITH (fillfactor = 50);"
          f"CREATE TABLE parts_2 (pad text, v int NOT NULL DEFAULT 0, gone int, id int NOT NULL, w int DEFAULT 0); ALTER TABLE parts_2 DROP gone;"
          "ALTER TABLE parts ATTACH PARTITION parts_2 FOR VALUES FROM (5) TO (10);"
          "CREATE TABLE parts_3 PARTITION OF parts FOR VALUES FROM (10) TO (MAXVALUE)", kind="partitioned", mode="write_through"),
    Table("wide", ("id",), ("int",), f"CREATE TABLE wide (id int PRIMARY KEY, {REST})", count=1500, kind="wide"),
    Table("copied", ("id",), ("int",), "CREATE MATERIALIZED VIEW copied AS SELECT * FROM hot; CREATE UNIQUE INDEX ON copied (id)", kind="view",
          attach=", key => '{id}'"),
)


def setup(rng):
    """Statements that make all tables and fill them."""
    yield "CREATE COLLATION any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
    for table in TABLES:
        yield table.ddl
        if table.kind != "view":
            values = ", ".join(f"({', '.join(literal(rng, t, n) for t in table.types)}, {n}, 'x')" for n in range(1, table.count + 1))
            if len(table.keys) == 2:
                values = ", ".join(f"({a}, 'key{b}', {a * b}, 'x')" for a in range(1, table.count + 1) for b in range(1, table.count + 1))
            yield f"INSERT INTO {table.name} ({table.columns()}, v, pad) VALUES {values}"
            yield f"CREATE INDEX ON {table.name} (w)"
        else:
            yield f"REFRESH MATERIALIZED VIEW {table.name}"
        yield f"SELECT writecache.attach('{table.name}', '{table.mode}'{table.attach})"
        yield f"ANALYZE {table.name}"
    yield "UPDATE wide SET pad = repeat('w', 600 + id)"
    # For reads that a writing statement does in its own middle.
    yield """CREATE FUNCTION look(k int) RETURNS int LANGUAGE plpgsql AS $$
        DECLARE difference text;
        BEGIN
          SELECT format('cached %s, stored %s', c, s) INTO difference
            FROM (SELECT (SELECT h::text FROM hot h WHERE id = k) AS c, (SELECT h::text FROM hot h TABLESAMPLE SYSTEM (100) WHERE id = k) AS s) r
            WHERE c IS DISTINCT FROM s;
          IF FOUND THEN RAISE EXCEPTION 'stale: key % %', k, difference USING ERRCODE = 'ZZ001'; END IF;
          RETURN 1;
        END $$"""
