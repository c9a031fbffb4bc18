"""The tables of an episode: each is made twice, write-back in schema wb and plain in schema tw. In SQL text `@.` and
`@@` stand for the schema."""

KINDS = {"id": "bigint", "a": "int", "b": "text", "c": "numeric", "ts": "timestamptz"}
DAYS = [f"2024-05-0{d}" for d in range(1, 6)]


def side(text, schema):
    return text.replace("@.", f"{schema}.").replace("@@", schema)


class Table:
    """`columns` (name -> kind) are those that can be inserted; all tables have id (unique), a, b, c and ts."""

    def __init__(self, name, ddl, extra=None, keyed=False, leaves=(), computed=None, attached=None, indexes=()):
        self.name, self.ddl, self.keyed, self.leaves = name, ddl, keyed, list(leaves)
        self.columns = {**KINDS, **(extra or {})}
        self.computed = computed or {}
        self.attached = attached or [name]
        self.indexes = list(indexes)
        self.referenced = False
        self.added = {}  # columns that came by ALTER TABLE

    def readable(self):
        return {**self.columns, **self.computed, **self.added}

    def writable(self):
        return {**self.columns, **self.added}

    def refresh(self, session):
        """Reads the columns that came and went from the catalogue; returns whether the twins agree."""
        twins = []
        for schema in ("wb", "tw"):
            twins.append(session.run(f"SELECT attname FROM pg_attribute WHERE attrelid = '{schema}.{self.name}'::regclass "
                                     "AND attnum > 0 AND NOT attisdropped ORDER BY attnum"))
        names = [row[0] for row in twins[0]]
        self.added = {name: "int" for name in names if name.startswith("x")}
        return twins[0] == twins[1]


CORE = "id bigint, a int, b text, c numeric, ts timestamptz"
INDEXES = ["(a)", "(b)", "(ts)", "(ts DESC)", "(a, id)", "(b, a DESC NULLS LAST)", "(lower(b))", "(c) WHERE a > 10", "(ts) INCLUDE (a)",
           "USING brin (ts)", "USING hash (b)", "(a NULLS FIRST, ts)"]


def make(rng):
    """The tables of one episode."""
    tables = [
        Table("pk", f"CREATE TABLE @.pk ({CORE}, PRIMARY KEY (id))", keyed=True),
        Table("nopk", "CREATE TABLE @.nopk (gone1 int, id bigint, a int, b text, gone2 text, c numeric, ts timestamptz, "
              "g int GENERATED ALWAYS AS (a * 2) STORED); ALTER TABLE @.nopk DROP gone1; ALTER TABLE @.nopk DROP gone2",
              computed={"g": "int"}),
        Table("part", f"CREATE TABLE @.part ({CORE}, PRIMARY KEY (id, ts)) PARTITION BY RANGE (ts); "
              f"CREATE TABLE @.part_1 PARTITION OF @.part FOR VALUES FROM (MINVALUE) TO ('{DAYS[1]}'); "
              f"CREATE TABLE @.part_2 (ts timestamptz NOT NULL, gone int, id bigint NOT NULL, c numeric, b text, a int); "
              f"ALTER TABLE @.part_2 DROP gone; "
              f"ALTER TABLE @.part ATTACH PARTITION @.part_2 FOR VALUES FROM ('{DAYS[1]}') TO ('{DAYS[2]}'); "
              f"CREATE TABLE @.part_3 PARTITION OF @.part FOR VALUES FROM ('{DAYS[2]}') TO ('{DAYS[4]}') PARTITION BY HASH (id); "
              f"CREATE TABLE @.part_3a PARTITION OF @.part_3 FOR VALUES WITH (MODULUS 2, REMAINDER 0); "
              f"CREATE TABLE @.part_3b PARTITION OF @.part_3 FOR VALUES WITH (MODULUS 2, REMAINDER 1); "
              f"CREATE TABLE @.part_4 PARTITION OF @.part DEFAULT",
              leaves=["part_1", "part_2", "part_3", "part_3a", "part_3b", "part_4"]),
        Table("wide", f"CREATE TABLE @.wide ({CORE}, j jsonb, big text, arr int[], ok boolean DEFAULT true, PRIMARY KEY (id)); "
              "ALTER TABLE @.wide ALTER big SET STORAGE EXTERNAL", extra={"j": "jsonb", "big": "big", "arr": "array", "ok": "bool"},
              keyed=True, indexes=["USING gin (j)", "USING gin (arr)"]),
        Table("secret", f"CREATE TABLE @.secret ({CORE}); ALTER TABLE @.secret ENABLE ROW LEVEL SECURITY; "
              "CREATE POLICY visible ON @.secret FOR SELECT TO reader USING (a % 3 <> 0 OR b IS NULL)"),
        Table("family", f"CREATE TABLE @.family ({CORE}); CREATE TABLE @.heir (more int DEFAULT 5) INHERITS (@.family)",
              leaves=["heir"], attached=rng.choice((["family"], ["heir"], ["family", "heir"]))),
    ]
    if rng.random() < 0.3:  # the leaves themselves are attached, not their parent
        tables[2].attached = ["part_1", "part_2", "part_3a", "part_3b", "part_4"]
    for table in tables:
        table.indexes += [i for i in INDEXES if rng.random() < 0.25]
        if table.name == "nopk" and rng.random() < 0.5:
            table.indexes.append("(id)")
    return tables


def setup(tables, rng, unlogged):
    """The statements that make an episode's tables anew."""
    yield "DROP SCHEMA IF EXISTS wb, tw CASCADE; CREATE SCHEMA wb; CREATE SCHEMA tw; GRANT USAGE ON SCHEMA wb, tw TO reader"
    for table in tables:
        twin = side(table.ddl, "tw")
        yield side(table.ddl, "wb")
        yield twin.replace("CREATE TABLE", "CREATE UNLOGGED TABLE") if unlogged else twin
        for index in table.indexes:
            how = index if index.startswith("USING") else f"USING btree {index}"
            for schema in ("wb", "tw"):
                yield f"CREATE INDEX ON {schema}.{table.name} {how}"
        for schema in ("wb", "tw"):
            yield side(views(table), schema)
        if table.name == "pk" and rng.random() < 0.4:
            table.referenced = True
            yield side(REFERENCES, "wb")
            yield side(REFERENCES, "tw").replace("CREATE TABLE", "CREATE UNLOGGED TABLE" if unlogged else "CREATE TABLE")
        for name in table.attached:
            interval = rng.choice(("1 day", "1 day", "1 day", "30 ms", "3 ms"))
            rows = rng.choice((20, 100000, 100000, 100000))
            yield f"SELECT writecache.attach('wb.{name}', 'write_back', flush_interval => '{interval}', flush_rows => {rows})"


# A table with a foreign key to pk, and a function that says whether it accepts a reference.
REFERENCES = """
CREATE TABLE @.referrer (id bigint, pk bigint REFERENCES @.pk ON DELETE CASCADE);
CREATE FUNCTION @.refer(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO @.referrer VALUES ($1, $2); RETURN true; EXCEPTION WHEN foreign_key_violation THEN RETURN false; END $$;
"""


def views(table):
    t = table.name
    return f"""
CREATE VIEW @.sum_{t} AS SELECT a, count(*) AS n, max(ts) AS last, sum(c) AS c FROM @.{t} GROUP BY a;
CREATE MATERIALIZED VIEW @.mat_{t} AS SELECT id, a, b, c, ts FROM @.{t} WHERE a > 5 OR a IS NULL;
CREATE FUNCTION @.same_{t}(int) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS
  'BEGIN RETURN (SELECT count(*) FROM @.{t} WHERE a <= $1); END';
CREATE VIEW @.v_{t} AS SELECT * FROM @.{t} WHERE a IS DISTINCT FROM 7;
CREATE VIEW @.sb_{t} WITH (security_barrier) AS SELECT id, a, b, c, ts FROM @.{t} WHERE a < 40;
CREATE FUNCTION @.sql_{t}(int) RETURNS SETOF @.{t} LANGUAGE sql STABLE AS 'SELECT * FROM @.{t} WHERE a > $1';
CREATE FUNCTION @.count_{t}(int) RETURNS bigint LANGUAGE plpgsql STABLE AS
  'BEGIN RETURN (SELECT count(*) FROM @.{t} WHERE a = $1); END';
CREATE FUNCTION @.volatile_{t}(int) RETURNS numeric LANGUAGE plpgsql VOLATILE AS
  'BEGIN RETURN (SELECT sum(c) FROM @.{t} WHERE a >= $1); END';
CREATE FUNCTION @.loop_{t}(int) RETURNS SETOF bigint LANGUAGE plpgsql VOLATILE AS
  'DECLARE r record; BEGIN FOR r IN SELECT id FROM @.{t} WHERE a < $1 ORDER BY id LOOP RETURN NEXT r.id; END LOOP; END';
GRANT SELECT ON ALL TABLES IN SCHEMA @@ TO reader;
"""
