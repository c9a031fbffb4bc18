"""What a session does: transactions of writes and queries, of every isolation level, that end in every way."""
import json

from ddl import Changes
from pq import Refused
from queries import Grammar
from scheduler import Do, Hold, Release
from tables import side
from values import Values
from writes import Spoiled, Writes

# Refusals that an ordinary table can meet, too, when sessions get in each other's way. 23505 is among them because ON CONFLICT
# and MERGE take ids that others are about to use, maybe between the two statements of a pair.
CONTENTION = {"40001", "40P01", "55P03", "23505"}
SETTINGS = ("enable_seqscan", "enable_indexscan", "enable_indexonlyscan", "enable_bitmapscan", "enable_hashjoin", "enable_mergejoin",
            "enable_nestloop", "enable_material", "enable_memoize", "enable_sort", "enable_hashagg", "enable_incremental_sort",
            "enable_gathermerge", "enable_parallel_append", "enable_partition_pruning")


class Session:
    def __init__(self, number, world, rng):
        self.number, self.world, self.rng = number, world, rng
        self.connection = None
        self.v = Values(rng, world)
        self.grammar = Grammar(self.v, world.tables)
        self.writes = Writes(self)
        self.changes = Changes(self)

    def connect(self, cluster):
        self.connection = cluster.connect(f"session-{self.number}")
        self.prepared, self.cursors, self.isolation, self.savepoints = {}, [], None, 0

    def close(self):
        if self.gen:
            self.gen.close()
        self.connection.close()

    def chance(self, p):
        return self.rng.random() < p

    # --- the script

    def script(self):
        yield Do("SET lock_timeout = '2s'; SET writecache.wait_timeout = '2s'; SET statement_timeout = '50s'")
        while not self.world.stopping:
            try:
                yield from self.turn()
            except Refused as refused:
                self.judge(refused)
                yield from self.abandon()
            except Spoiled:
                yield from self.abandon()
            finally:
                self.spoiled = False

    def abandon(self):
        yield Release()
        yield Do("ROLLBACK")
        self.isolation, self.savepoints, self.cursors = None, 0, []

    def judge(self, refused, allowed=()):
        if refused.state == "72000" and self.one_snapshot() and self.world.columns_changed >= self.snapshot_at:
            return  # rows were stored by the ALTER TABLE that the snapshot does not see
        if refused.state not in CONTENTION and refused.state not in self.world.allowed and refused.state not in allowed:
            self.world.complain(f"session {self.number}: {refused}", [self.last_text()])

    def last_text(self):
        return next((text for who, text in reversed(self.world.log) if who == self.number and not text.startswith("--")), "")

    def turn(self):
        roll = self.rng.random()
        if roll < 0.5:
            yield from self.transaction()
        elif roll < 0.62:
            yield from self.writes.at_once()
        elif roll < 0.85:
            yield from self.settings()
            yield from self.ask()
        elif roll < 0.93:
            yield from self.flush()
        elif roll < 0.96 and self.world.gids:
            gid = self.world.gids.pop(self.rng.randrange(len(self.world.gids)))
            yield Do(f"{self.rng.choice(('COMMIT', 'COMMIT', 'ROLLBACK'))} PREPARED '{gid}'")
        elif self.chance(self.world.ddl):
            yield from self.changes.change()

    def transaction(self):
        isolation = self.rng.choice(("READ COMMITTED",) * 5 + ("REPEATABLE READ",) * 4 + ("SERIALIZABLE",))
        yield Do(f"BEGIN ISOLATION LEVEL {isolation}")
        self.isolation, self.savepoints, self.cursors = isolation, 0, []
        self.snapshot_at = self.world.clock()
        for _ in range(self.rng.randint(1, 9)):
            try:
                yield from self.step()
            except Refused as refused:
                self.judge(refused)
                if not self.savepoints or self.chance(0.2):
                    raise Spoiled from None
                yield Release()
                yield Do(f"ROLLBACK TO s{self.savepoints}")
                self.cursors = []  # some are gone
        yield from self.end()
        self.isolation, self.savepoints = None, 0

    def end(self):
        roll = self.rng.random()
        if roll < 0.7:
            yield from self.world.troubles.before_commit()
            yield Do("COMMIT")
        elif roll < 0.92 or self.isolation == "SERIALIZABLE" or len(self.world.gids) > 2 or self.cursors:
            yield Do("ROLLBACK")
        else:
            gid = f"g{self.number}-{self.world.clock()}"
            yield Do(f"PREPARE TRANSACTION '{gid}'")
            self.world.gids.append(gid)
        self.cursors = []

    def step(self):
        roll = self.rng.random()
        if roll < 0.35:
            yield from self.writes.write()
        elif roll < 0.75:
            yield from self.settings(local=True)
            yield from self.ask()
        elif roll < 0.82:
            self.savepoints += 1
            yield Do(f"SAVEPOINT s{self.savepoints}")
        elif roll < 0.9 and self.savepoints:
            back = self.rng.randint(1, self.savepoints)
            if self.chance(0.6):
                yield Do(f"ROLLBACK TO s{back}")
                self.savepoints = back
                self.cursors = []  # some are gone
            else:
                yield Do(f"RELEASE s{back}")
                self.savepoints = back - 1
        elif roll < 0.93:
            yield from self.flush()
        else:
            yield from self.cursor()

    def flush(self):
        table = self.rng.choice(self.world.tables)
        target = "" if self.chance(0.5) else f"'wb.{self.rng.choice(table.attached)}'"
        try:
            yield Do(f"SELECT writecache.flush({target})")
        except Refused as refused:
            self.judge(refused, ("55000",))
            if self.isolation:
                raise

    def settings(self, local=False):
        """Plans of many shapes."""
        if self.chance(0.4):
            return
        off = [name for name in SETTINGS if self.chance(0.2)]
        text = [f"SET {'LOCAL ' if local else ''}{name} = {'off' if name in off else 'on'}" for name in SETTINGS]
        parallel = self.chance(0.25)
        force = "force_parallel_mode" if self.world.major < 16 else "debug_parallel_query"
        more = {force: "on" if parallel and self.chance(0.5) else "off", "parallel_setup_cost": 0 if parallel else 1000,
                "parallel_tuple_cost": 0 if parallel else 0.1, "min_parallel_table_scan_size": 0 if parallel else "8MB",
                "min_parallel_index_scan_size": 0 if parallel else "512kB", "plan_cache_mode": self.rng.choice(("auto", "force_generic_plan", "force_custom_plan")),
                "enable_partitionwise_join": self.rng.choice(("on", "off")), "enable_partitionwise_aggregate": self.rng.choice(("on", "off")),
                "random_page_cost": self.rng.choice((0.5, 4)), "work_mem": self.rng.choice(("64kB", "4MB")), "jit": "off",
                "cursor_tuple_fraction": self.rng.choice((0.01, 1))}
        text += [f"SET {'LOCAL ' if local else ''}{name} = '{value}'" for name, value in more.items()]
        yield Do("; ".join(text))

    # --- questions

    def one_snapshot(self):
        return self.isolation in ("REPEATABLE READ", "SERIALIZABLE")

    def comparable(self, query):
        """Not after DDL that is not transactional for older snapshots."""
        return not (self.one_snapshot() and any(self.world.rewritten.get(t, 0) >= self.snapshot_at for t in query.tables))

    def ask(self):
        query = self.grammar.query()
        roll = self.rng.random()
        if roll < 0.3 and not query.role and not query.volatile:
            yield from self.ask_in_one(query)
        elif roll < 0.45:
            yield from self.ask_prepared(query)
        else:
            yield from self.ask_twice(query)

    def ask_in_one(self, query):
        sides = ", ".join(f"to_json(ARRAY(SELECT x::text FROM ({side(query.text, s)}) x))" for s in ("wb", "tw"))
        answers = (yield Do(f"SELECT {sides}"))[-1][0]
        self.compare(query, *map(json.loads, answers), how="in one statement")

    def ask_twice(self, query, wrap="{}", how="in two statements"):
        """With the plans that the queries have for themselves."""
        if not self.one_snapshot():
            yield Hold()
        if query.role:
            yield Do(f"SET ROLE {query.role}")
        answers = []
        for schema in ("wb", "tw"):
            answers.append((yield Do(wrap.format(side(query.text, schema))))[-1])
        if query.role:
            yield Do("RESET ROLE")
        if self.one_snapshot() or not self.spoiled:
            yield from self.compare_later(query, answers, how)
        yield Release()

    def compare_later(self, query, answers, how):
        if not self.compare(query, *answers, how=how, report=False):
            plans = []
            for schema in ("wb", "tw"):
                plans.append((yield Do(f"EXPLAIN (ANALYZE, VERBOSE, COSTS OFF, TIMING OFF, SUMMARY OFF) {side(query.text, schema)}"))[-1])
            self.compare(query, *answers, how=how, plans=plans)

    def ask_prepared(self, query):
        """A prepared statement lives on, with its plan, through later transactions."""
        if query.role:
            yield from self.ask_twice(query)
            return
        if not self.prepared or (self.chance(0.4) and len(self.prepared) < 8):
            name = f"p{self.world.clock()}"
            # A parameter in place of a number: the plans are generic sooner or later.
            text, n = parametrised(query.text)
            for schema in ("wb", "tw"):
                yield Do(f"PREPARE {name}_{schema}{'(int)' if n is not None else ''} AS {side(text, schema)}")
            self.prepared[name] = (query, n)
        name = self.rng.choice(sorted(self.prepared))
        query, n = self.prepared[name]
        if not self.one_snapshot():
            yield Hold()
        for _ in range(self.rng.randint(1, 3)):
            argument = f"({self.v.literal('int')})" if n is not None else ""
            answers = []
            try:
                for schema in ("wb", "tw"):
                    answers.append((yield Do(f"EXECUTE {name}_{schema}{argument}"))[-1])
            except Refused as refused:
                if refused.state not in ("0A000", "42703"):  # the table has other columns now
                    raise
                self.world.note(self, "-- its columns are gone")
                self.prepared.pop(name)
                raise Spoiled from None
            if self.one_snapshot() or not self.spoiled:
                if not self.compare(query, *answers, how=f"prepared, with {argument}", report=False):
                    plans = []
                    for schema in ("wb", "tw"):
                        plans.append((yield Do(f"EXPLAIN (ANALYZE, VERBOSE, COSTS OFF, TIMING OFF, SUMMARY OFF) EXECUTE {name}_{schema}{argument}"))[-1])
                    self.compare(query, *answers, how=f"prepared, with {argument}", plans=plans)
        yield Release()

    def cursor(self):
        """Cursors on both twins, opened at the same time and read later."""
        if self.cursors and self.chance(0.7):
            cursor = self.rng.choice(self.cursors)
            if cursor["ended"]:
                return
            count = self.rng.choice(("1", "5", "ALL", "ALL"))
            for schema in ("wb", "tw"):
                rows = (yield Do(f"FETCH {count} FROM {cursor['name']}_{schema}"))[-1]
                cursor[schema] += rows
                cursor["ended"] = count == "ALL"
            if cursor["ended"] and not cursor["spoiled"]:
                self.compare(cursor["query"], cursor["wb"], cursor["tw"], how="through cursors")
            return
        query = self.grammar.query()
        if query.role or query.volatile:
            return
        if not self.one_snapshot():
            yield Hold()
        name = f"c{self.world.clock()}"
        for schema in ("wb", "tw"):
            yield Do(f"DECLARE {name}_{schema} {self.rng.choice(('', 'NO SCROLL ', 'INSENSITIVE '))}CURSOR FOR {side(query.text, schema)}")
        spoiled = self.spoiled and not self.one_snapshot()
        yield Release()
        self.cursors.append({"name": name, "query": query, "wb": [], "tw": [], "ended": False, "spoiled": spoiled})

    def compare(self, query, ours, theirs, how, plans=(), report=True):
        """Whether both answers are the same; complains if not."""
        self.world.compared += 1
        if not query.ordered:
            ours, theirs = sorted(ours, key=str), sorted(theirs, key=str)
        if ours == theirs or not self.comparable(query):
            return True
        if report:
            lines = [f"query: {query.text}", f"isolation: {self.isolation}, asked {how}", *difference(ours, theirs)]
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
