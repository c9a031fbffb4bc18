"""The ways to ask a question of both twins, and the comparison of the answers."""
import json
import re

from pq import Refused
from scheduler import Do, Hold, Release
from tables import side

WAYS = {"in one statement": 5, "in two statements": 8, "prepared": 4, "COPY (query) TO": 1, "COPY table TO": 1, "CREATE TABLE AS": 1,
        "REFRESH MATERIALIZED VIEW": 0.5, "EXPLAIN ANALYZE": 1, "table and pending() apart": 1}
METHODS = {"in one statement": "in_one", "in two statements": "in_two", "prepared": "in_prepared", "COPY (query) TO": "by_copy",
           "COPY table TO": "by_copy_of_table", "CREATE TABLE AS": "by_new_table", "REFRESH MATERIALIZED VIEW": "by_materialized_view",
           "EXPLAIN ANALYZE": "by_explain", "table and pending() apart": "in_parts"}
CURSORS = ("", "NO SCROLL ", "INSENSITIVE ", "SCROLL ")
# Of the plans for write-back tables.
NODES = ("Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Heap Scan", "Sample Scan", "Nested Loop", "Hash Join", "Merge Join", "Append",
         "Merge Append", "Gather", "Gather Merge", "Memoize", "Incremental Sort", "WindowAgg", "CTE Scan", "SetOp", "HashSetOp", "PendingScan",
         "PendingAppend", "Parallel Append", "Parallel Seq Scan", "Parallel Index Scan", "Parallel Bitmap Heap Scan")
NODE = re.compile(r"^(?:\s*->\s+)?(?:Custom Scan \((\w+)\)|([A-Z]\w+(?: [A-Z]\w+)*))(?!.*:)")
KIND = re.compile(r" (Left|Right|Full)( Anti| Semi)?(?= Join)| (Anti|Semi)(?= Join)| (Except|Intersect)( All)?$")
EXPLAIN = "EXPLAIN (ANALYZE, VERBOSE, COSTS OFF, TIMING OFF, SUMMARY OFF)"


class Questions:
    def __init__(self, session):
        self.s, self.rng, self.world = session, session.rng, session.world
        self.counts = self.world.counts

    def ask(self):
        query = self.s.grammar.query()
        way = self.rng.choices(list(WAYS), list(WAYS.values()))[0]
        if (query.role or query.volatile or query.folded) and way in ("in one statement", "prepared"):
            way = "in two statements"
        self.counts.add("ways to ask", way)
        if self.s.chance(0.15) and not query.role:
            yield from self.count_nodes(query)
        yield from getattr(self, METHODS[way])(query)

    def count_nodes(self, query):
        for (line,) in (yield Do(f"EXPLAIN (COSTS OFF) {side(query.text, 'wb')}"))[-1]:
            if found := NODE.match(line):
                name = KIND.sub("", found[1] or found[2])
                self.counts.add("plan nodes", "Nested Loop" if name.startswith("Nested Loop") else name)

    # --- the ways

    def in_one(self, query):
        sides = ", ".join(f"to_json(ARRAY(SELECT x::text FROM ({side(query.text, s)}) x))" for s in ("wb", "tw"))
        answers = (yield Do(f"SELECT {sides}"))[-1][0]
        self.compare(query, *map(json.loads, answers), how="in one statement")

    def hold(self):
        """In READ COMMITTED nobody may commit between two statements that are to see the same."""
        if not self.s.one_snapshot():
            yield Hold()

    def both(self, text):
        answers = []
        for schema in ("wb", "tw"):
            answers.append((yield Do(side(text, schema)))[-1])
        return answers

    def in_two(self, query):
        """With the plans that the queries have for themselves."""
        yield from self.hold()
        if query.role:
            yield Do(f"SET ROLE {query.role}")
        answers = yield from self.both(query.text)
        if query.role:
            yield Do("RESET ROLE")
        if self.s.saw_the_same():
            yield from self.compare_with_plans(query, answers, "in two statements", query.text)
        yield Release()

    def in_prepared(self, query):
        """A prepared statement lives on, with its plan, through later transactions."""
        prepared = self.s.prepared
        if not prepared or (self.s.chance(0.4) and len(prepared) < 8):
            name = f"p{self.world.clock()}"
            # A parameter in place of a number: the plans are generic sooner or later.
            text, n = parametrised(query.text)
            for schema in ("wb", "tw"):
                yield Do(f"PREPARE {name}_{schema}{'(int)' if n is not None else ''} AS {side(text, schema)}")
            prepared[name] = (query, n)
        name = self.rng.choice(sorted(prepared))
        query, n = prepared[name]
        yield from self.hold()
        for _ in range(self.rng.randint(1, 3)):
            argument = f"({self.s.v.literal('int')})" if n is not None else ""
            try:
                answers = yield from self.both(f"EXECUTE {name}_@@{argument}")
            except Refused as refused:
                if refused.state not in ("0A000", "42703"):  # the table has other columns now
                    raise
                self.world.note(self.s, "-- its columns are gone")
                prepared.pop(name)
                self.s.spoil()
            if self.s.saw_the_same():
                yield from self.compare_with_plans(query, answers, f"prepared, with {argument}", f"EXECUTE {name}_@@{argument}")
        yield Release()

    def by_copy(self, query):
        if query.role:
            return
        yield from self.hold()
        answers = yield from self.both(f"COPY ({query.text}) TO STDOUT")
        if self.s.saw_the_same():
            self.compare(query, *answers, how="by COPY")
        yield Release()

    def by_copy_of_table(self, query):
        name = self.rng.choice([t.name for t in self.world.tables if t.name != "part"] + ["part_2", "part_3a", "heir"])
        query.text, query.ordered = f"COPY @.{name} (id, a, b, c, ts) TO STDOUT", False
        query.tables = {next(t.name for t in self.world.tables if name == t.name or name in t.leaves)}
        yield from self.hold()
        answers = yield from self.both(query.text)
        if self.s.saw_the_same():
            self.compare(query, *answers, how="by COPY of the table")
        yield Release()

    def by_new_table(self, query):
        if query.role:
            return
        name = f"made_{self.world.clock()}"
        yield from self.hold()
        # Not unlogged where there are crashes: PostgreSQL does not start after one that lost the record of a failed CREATE.
        kind = "UNLOGGED TABLE" if self.world.unlogged else "TABLE"
        yield from self.both(f"CREATE {kind} @.{name} AS SELECT x::text AS r FROM ({query.text}) x")
        same = self.s.saw_the_same()
        answers = yield from self.both(f"SELECT r FROM @.{name}")
        query.ordered = False
        if same:
            self.compare(query, *answers, how="by CREATE TABLE AS")
        yield Release()
        yield Do(f"DROP TABLE wb.{name}, tw.{name}")

    def by_materialized_view(self, query):
        name = self.rng.choice(self.world.tables).name
        query.text, query.ordered, query.tables = f"SELECT id, a, b, c, ts FROM @.mat_{name}", False, {name}
        yield from self.hold()
        # In one transaction: others refresh it, too.
        text = f"REFRESH MATERIALIZED VIEW wb.mat_{name}; REFRESH MATERIALIZED VIEW tw.mat_{name}; "
        ours, theirs = (side(query.text, schema) for schema in ("wb", "tw"))
        answers = (yield Do(f"{text}{ours}; {theirs}"))[-2:]
        if self.s.saw_the_same():
            self.compare(query, *answers, how="by a materialized view")
        yield Release()

    def by_explain(self, query):
        """Whether the plan returns as many rows when it is watched."""
        if query.role:
            return
        yield from self.hold()
        plans = yield from self.both(f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF, SUMMARY OFF) {query.text}")
        rows = [re.search(r"rows=(\d+)", plan[0][0]) for plan in plans]
        read = sum(int(found[1]) for (line,) in plans[0] if (found := re.search(r"Pending Rows Read: (\d+)", line)))
        self.counts.add("ways to ask", "EXPLAIN ANALYZE of pending rows", read > 0)
        if self.s.saw_the_same():
            self.compare(query, *([[found and found[1]]] for found in rows), how="by EXPLAIN ANALYZE", plans=plans)
        yield Release()

    def in_parts(self, query):
        """The table alone and what is pending are together all rows, each once."""
        if not self.s.one_snapshot():
            return
        table = self.rng.choice(self.world.tables)
        query.text, query.ordered, query.tables = f"SELECT id, a, b, c, ts FROM @.{table.name}", False, {table.name}
        yield Do("SET LOCAL writecache.read_pending = off")
        ours = (yield Do(side(query.text, "wb")))[-1]
        for name in table.attached:
            rows = (yield Do(f"SELECT id, a, b, c, ts FROM writecache.pending(NULL::wb.{name})"))[-1]
            self.counts.add("ways to ask", "pending() with rows", bool(rows))
            ours += rows
        yield Do("SET LOCAL writecache.read_pending = on")
        theirs = (yield Do(side(query.text, "tw")))[-1]
        self.compare(query, ours, theirs, how="the table and pending() apart")

    # --- cursors

    def cursor(self):
        """Cursors on both twins, opened at the same time and read later."""
        if self.s.cursors and self.s.chance(0.7):
            yield from self.fetch(self.rng.choice(self.s.cursors))
            return
        query = self.s.grammar.query()
        if query.role or query.volatile or query.folded:
            return
        yield from self.hold()
        name = f"c{self.world.clock()}"
        how, held = self.rng.choice(CURSORS), self.s.chance(0.2)
        self.s.unpreparable = self.s.unpreparable or held
        for schema in ("wb", "tw"):
            yield Do(f"DECLARE {name}_{schema} {how}CURSOR {'WITH HOLD ' if held else ''}FOR {side(query.text, schema)}")
        self.counts.add("cursors", f"{how}CURSOR")
        self.counts.add("cursors", "WITH HOLD", held)
        spoiled = not self.s.saw_the_same()
        yield Release()
        self.s.cursors.append({"name": name, "query": query, "wb": [], "tw": [], "ended": False, "spoiled": spoiled, "held": held,
                               "again": how == "SCROLL ", "comparable": None})

    def fetch(self, cursor):
        if cursor["ended"]:
            return
        self.counts.add("cursors", "FETCH")
        count = self.rng.choice(("1", "5", "ALL", "ALL"))
        for schema in ("wb", "tw"):
            cursor[schema] += (yield Do(f"FETCH {count} FROM {cursor['name']}_{schema}"))[-1]
        cursor["ended"] = count == "ALL"
        if not cursor["ended"] or cursor["spoiled"]:
            return
        self.compare(cursor["query"], cursor["wb"], cursor["tw"], how="through cursors", later=True)
        if cursor["again"]:
            self.counts.add("cursors", "back and again")
            for schema in ("wb", "tw"):
                rows = (yield Do(f"MOVE ABSOLUTE 0 FROM {cursor['name']}_{schema}; FETCH ALL FROM {cursor['name']}_{schema}"))[-1]
                self.compare(cursor["query"], rows, cursor[schema], how="through a cursor, again", later=True)

    # --- answers

    def compare_with_plans(self, query, answers, how, text):
        if not self.compare(query, *answers, how=how, report=False):
            plans = yield from self.both(f"{EXPLAIN} {text}")
            self.compare(query, *answers, how=how, plans=plans)

    def compare(self, query, ours, theirs, how, plans=(), report=True, later=False):
        """Whether both answers are the same; complains if not. `later`: the snapshot was taken before this moment."""
        self.world.compared += 1
        if not query.ordered:
            ours, theirs = sorted(ours, key=str), sorted(theirs, key=str)
        if ours == theirs or not self.s.comparable(query, later):
            return True
        if report:
            lines = [f"query: {query.text}", f"isolation: {self.s.isolation}, asked {how}", *difference(ours, theirs)]
            for name, plan in zip(("write-back", "plain"), plans):
                lines += [f"plan of the {name} table:", *(row[0] for row in plan)]
            self.world.complain("two answers to one question", lines)
        return False


def parametrised(text):
    """The query with one integer literal replaced by $1, if it has one that may be."""
    for mark in (" = ", " > ", " < ", " <= ", " >= "):
        start = text.find(mark)
        while start >= 0:
            begin = start + len(mark)
            end = begin
            while end < len(text) and text[end].isdigit():
                end += 1
            if end > begin and text[end:end + 1] in (")", " ", "") and text[:start].endswith((".a", ".id")):
                return f"{text[:begin]}$1{text[end:]}", text[begin:end]
            start = text.find(mark, begin)
    return text, None


def difference(ours, theirs):
    left, both = list(theirs), []
    extra = []
    for row in ours:
        if row in left:
            left.remove(row)
            both.append(row)
        else:
            extra.append(row)
    lines = [f"write-back: {len(ours)} rows, plain: {len(theirs)} rows"]
    lines += [f"only in write-back: {row}" for row in extra[:8]] + [f"only in plain: {row}" for row in left[:8]]
    return lines if extra or left else lines + ["the same rows in another order", f"write-back: {ours[:12]}", f"plain: {theirs[:12]}"]
