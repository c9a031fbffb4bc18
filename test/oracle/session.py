"""What a session does: transactions of writes and queries, of every isolation level, that end in every way."""
from ddl import Changes
from pq import Refused
from queries import Grammar
from questions import Questions
from scheduler import Do, Release
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
        self.grammar = Grammar(self.v, world.tables, world.counts)
        self.questions = Questions(self)
        self.counts = world.counts
        self.writes = Writes(self)
        self.changes = Changes(self)

    def connect(self, cluster):
        self.connection = cluster.connect(f"session-{self.number}")
        self.prepared, self.cursors, self.held, self.isolation, self.savepoints = {}, [], [], None, 0

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

    def spoil(self):
        raise Spoiled

    def judge(self, refused, allowed=()):
        since = self.snapshot_at if self.one_snapshot() else self.asked_at
        if refused.state == "72000" and (self.world.storing or self.world.stored_by_ddl >= since):
            return  # rows were stored by DDL that the snapshot does not see; some statements wait for a lock with an early one
        if refused.state == "23502" and (self.world.storing or self.world.stored_by_ddl >= self.asked_at):
            return  # a record was made without a column that came meanwhile: null, not the default
        if refused.state not in CONTENTION and refused.state not in self.world.allowed and refused.state not in allowed:
            self.world.complain(f"session {self.number}: {refused}", [self.last_text()])

    def last_text(self):
        return next((text for who, text in reversed(self.world.log) if who == self.number and not text.startswith("--")), "")

    def turn(self):
        roll = self.rng.random()
        if self.held:
            yield from self.fetch_held()
        if roll < 0.5:
            yield from self.transaction()
        elif roll < 0.62:
            yield from self.writes.at_once()
            self.counts.add("writes", "without BEGIN")
        elif roll < 0.85:
            yield from self.settings()
            yield from self.questions.ask()
        elif roll < 0.93:
            yield from self.flush()
        elif roll < 0.96 and self.world.gids:
            gid = self.world.gids.pop(self.rng.randrange(len(self.world.gids)))
            yield Do(f"{self.rng.choice(('COMMIT', 'COMMIT', 'ROLLBACK'))} PREPARED '{gid}'")
        elif self.chance(self.world.ddl):
            yield from self.changes.change()

    def fetch_held(self):
        """Cursors that have outlived their transaction."""
        held, self.held = self.held, []
        for cursor in held:
            while not cursor["ended"]:
                self.counts.add("cursors", "FETCH after COMMIT")
                yield from self.questions.fetch(cursor)
        yield Do("CLOSE ALL")

    def transaction(self):
        isolation = self.rng.choice(("READ COMMITTED",) * 5 + ("REPEATABLE READ",) * 4 + ("SERIALIZABLE",))
        yield Do(f"BEGIN ISOLATION LEVEL {isolation}")
        self.counts.add("transactions", isolation)
        self.isolation, self.savepoints, self.cursors, self.unpreparable = isolation, 0, [], False
        self.snapshot_at = self.world.clock()
        for _ in range(self.rng.randint(1, 9)):
            try:
                yield from self.step()
            except Refused as refused:
                self.judge(refused)
                if not self.savepoints or self.chance(0.2):
                    raise Spoiled from None
                yield Release()
                self.counts.add("transactions", "ROLLBACK TO after an error")
                yield Do(f"ROLLBACK TO s{self.savepoints}")
                self.cursors = []  # some are gone
        yield from self.end()
        self.isolation, self.savepoints = None, 0

    def end(self):
        roll = self.rng.random()
        if roll < 0.7:
            yield from self.world.troubles.before_commit()
            yield Do("COMMIT")
            self.counts.add("transactions", "COMMIT")
            self.held = [c for c in self.cursors if c["held"] and not c["ended"]]
        elif roll < 0.92 or self.isolation == "SERIALIZABLE" or len(self.world.gids) > 2 or self.unpreparable:
            yield Do("ROLLBACK")
            self.counts.add("transactions", "ROLLBACK")
        else:
            gid = f"g{self.number}-{self.world.clock()}"
            yield Do(f"PREPARE TRANSACTION '{gid}'")
            self.counts.add("transactions", "PREPARE TRANSACTION")
            self.world.gids.append(gid)
        self.cursors = []

    def step(self):
        roll = self.rng.random()
        if roll < 0.35:
            yield from self.writes.write()
        elif roll < 0.75:
            yield from self.settings(local=True)
            yield from self.questions.ask()
        elif roll < 0.82:
            self.savepoints += 1
            yield Do(f"SAVEPOINT s{self.savepoints}")
            self.counts.add("transactions", "SAVEPOINT")
        elif roll < 0.9 and self.savepoints:
            back = self.rng.randint(1, self.savepoints)
            if self.chance(0.6):
                yield Do(f"ROLLBACK TO s{back}")
                self.counts.add("transactions", "ROLLBACK TO")
                self.savepoints = back
                self.cursors = []  # some are gone
            else:
                yield Do(f"RELEASE s{back}")
                self.counts.add("transactions", "RELEASE")
                self.savepoints = back - 1
        elif roll < 0.93:
            yield from self.flush()
        else:
            yield from self.questions.cursor()

    def flush(self):
        if not self.chance(self.world.drains):
            return
        table = self.rng.choice(self.world.tables)
        target = "" if self.chance(0.5) else f"'wb.{self.rng.choice(table.attached)}'"
        self.counts.add("troubles", "flush()")
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

    def saw_the_same(self):
        """Whether the statements since Hold() had the same to see."""
        return self.one_snapshot() or self.world.scheduler.others_stood_still(self)

    def one_snapshot(self):
        return self.isolation in ("REPEATABLE READ", "SERIALIZABLE")

    def comparable(self, query, later):
        """Not after DDL that is not transactional for older snapshots."""
        since = self.snapshot_at if self.one_snapshot() or later else self.world.clock()
        return not any(t in self.world.rewriting.values() or self.world.rewritten.get(t, 0) >= since for t in query.tables)
