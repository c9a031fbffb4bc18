"""The tables that are written to, and putting them back into order after a round."""

COLUMNS = "writer, tx, n, length, payload, bad, key, parent"
DEFINITION = """writer int NOT NULL, tx bigint NOT NULL, n int NOT NULL, length int, payload text,
  bad boolean NOT NULL DEFAULT false, key text, parent int, at timestamptz DEFAULT clock_timestamp()"""

PLAIN, INDEXED, PARTITIONED = "plain", "indexed", "partitioned"
ORDERED = "ordered"      # a trigger numbers the rows as they are stored
UNIQUE = "keyed"         # bad rows have a key that is taken
FOREIGN = "child"        # bad rows have no parent
EMPTIED = "emptied"      # truncated while it is written to
TABLES = [PLAIN, INDEXED, PARTITIONED, ORDERED, UNIQUE, FOREIGN, EMPTIED]
WITH_BAD_ROWS = (UNIQUE, FOREIGN)
PARTITIONS = {"part_a": "MINVALUE) TO (3", "part_b": "3) TO (5", "part_c": "5) TO (MAXVALUE"}
TAKEN, NO_PARENT = "taken", -1

DATABASES = ("postgres", "other")  # in the other one there are only writers
SETUP = f"""
CREATE EXTENSION pg_writecache;
CREATE SCHEMA elsewhere;
CREATE TABLE plain ({DEFINITION});
CREATE TABLE indexed ({DEFINITION});
CREATE INDEX ON indexed (payload);
CREATE INDEX ON indexed (writer, tx, n);
CREATE TABLE partitioned ({DEFINITION}) PARTITION BY RANGE (writer);
{"".join(f"CREATE TABLE {p} ({DEFINITION}); ALTER TABLE partitioned ATTACH PARTITION {p} FOR VALUES FROM ({b});"
         for p, b in PARTITIONS.items())}
CREATE SEQUENCE order_of_storage;
CREATE TABLE ordered ({DEFINITION}, stored bigint);
CREATE FUNCTION number_row() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN new.stored := nextval('public.order_of_storage'); RETURN new; END $$;
CREATE TRIGGER number_row BEFORE INSERT ON ordered FOR EACH ROW EXECUTE FUNCTION number_row();
CREATE TABLE keyed ({DEFINITION}, UNIQUE (key));
INSERT INTO keyed (writer, tx, n, key) VALUES (0, 0, 0, '{TAKEN}');
CREATE TABLE parents (id int PRIMARY KEY);
INSERT INTO parents VALUES (1);
CREATE TABLE child ({DEFINITION}, FOREIGN KEY (parent) REFERENCES parents);
CREATE TABLE emptied ({DEFINITION});
CREATE TABLE bystander (writer int, tx bigint);
CREATE TABLE deferred (id int UNIQUE DEFERRABLE INITIALLY DEFERRED);
INSERT INTO deferred VALUES (1);
CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS
  $$ BEGIN PERFORM count(*) FROM public.bystander; PERFORM count(*) FROM writecache.tables; END $$;
GRANT ALL ON SCHEMA public, elsewhere TO somebody;
"""


def attach(table, options=""):
    if table == ORDERED:
        options += ", allow_triggers => true"
    return f"SELECT writecache.attach('{table}', 'write_back'{options})"


def restore(session):
    """Undoes what DDL has left half done: names, places, partitions, attachments, prepared transactions excepted."""
    for table in TABLES:
        if session.run(f"SELECT to_regclass('elsewhere.{table}') IS NOT NULL")[0][0] == "t":
            session.run(f"ALTER TABLE elsewhere.{table} SET SCHEMA public")
        if session.run(f"SELECT to_regclass('public.{table}_renamed') IS NOT NULL")[0][0] == "t":
            session.run(f"ALTER TABLE {table}_renamed RENAME TO {table}")
    session.run("DROP EVENT TRIGGER IF EXISTS watching")
    session.run("DROP TABLE IF EXISTS passing; DROP SCHEMA IF EXISTS leaving CASCADE")
    for part, bounds in PARTITIONS.items():
        if session.run(f"SELECT relispartition FROM pg_class WHERE oid = '{part}'::regclass")[0][0] == "f":
            session.run(f"ALTER TABLE partitioned ATTACH PARTITION {part} FOR VALUES FROM ({bounds})")
    attached = {row[0] for row in session.run("SELECT relation::text FROM writecache.attached")}
    for table in TABLES:
        if table not in attached:
            session.run(attach(table))


def empty(session):
    """Forgets the round. TRUNCATE is under test as well: no row may come back later."""
    for table in TABLES:
        session.run(f"TRUNCATE {table}")
        session.run(f"SELECT writecache.discard_rejected('{table}')")
    session.run(f"INSERT INTO keyed (writer, tx, n, key) VALUES (0, 0, 0, '{TAKEN}')")
    session.run("TRUNCATE bystander")
    session.run("SELECT writecache.flush()")
