"""What happens to the server while the sessions are at work: crashes, shutdowns, and flushes that stop half-way for a while."""
import signal
import time

from cluster import send
from pq import Lost, Refused
from scheduler import Do

FLUSH_POINTS = ("flush-rows-stored", "flush-marked", "flush-committed", "flush-finished", "before-free", "after-free")
WAYS = {"kill_backend": 2, "kill_worker": 1, "kill_postmaster": 1, "immediate": 1, "fast": 1, "kill_at_commit": 1}
COMMIT_POINTS = ("reserved", "frame-filled", "prepared", "committed", "published")


class Troubles:
    def __init__(self, world, rng):
        self.world, self.rng, self.cluster = world, rng, world.cluster
        self.frozen = 0      # steps for which a flush stays where it is
        self.expected = False  # a session is about to kill itself
        self.crashes = 0

    def between_steps(self, scheduler):
        if self.frozen:
            self.frozen -= 1
            if not self.frozen or self.world.stopping:
                self.thaw()
            elif self.world.crashes and not self.expected and self.rng.random() < 0.15:
                self.kill_in_flush(scheduler)
        elif self.world.freezes and not self.world.stopping and not self.expected and self.rng.random() < 0.02:
            self.freeze()
        if self.world.crashes and not self.world.stopping and not self.frozen and not self.expected and self.rng.random() < 0.006:
            self.crash(scheduler)

    # --- a flush that takes its time

    def freeze(self):
        point = self.rng.choice(FLUSH_POINTS)
        self.world.note(None, f"-- flushes stop at {point}")
        self.cluster.configure("inject", {"writecache.injection_point": point, "writecache.injection_action": "stop"})
        self.cluster.reload()
        self.frozen = self.rng.choice((10, 30, 60))
        self.at_point = point
        self.flusher = self.cluster.connect("flusher")
        self.flusher.send("SELECT writecache.flush()")  # its answer does not matter

    def nobody_can_go_on(self):
        """All wait, maybe for the flush that stands still: then no step would ever end that."""
        if self.frozen and all(s.busy_since is None or s.blocked for s in self.world.sessions):
            self.thaw()

    def kill_in_flush(self, scheduler):
        """Whoever has stopped half-way through a flush dies there."""
        stopped = self.cluster.stopped()
        if not stopped:
            return
        self.frozen = 0
        if self.rng.random() < 0.7:  # what has been committed without waiting for the disk is there, too
            self.world.control.run("SELECT pg_logical_emit_message(true, 'oracle', '')")
        self.world.note(None, f"-- kill_in_flush at {self.at_point}")
        self.world.counts.add("troubles", f"death at {self.at_point}")
        self.cluster.configure("inject", {})
        self.cluster.reload()
        for pid in stopped:
            send(pid, signal.SIGKILL)
        self.flusher.close()
        self.wait_down()
        self.recover(scheduler)

    def thaw(self):
        self.frozen = 0
        self.flusher.close()
        stopped = len(self.cluster.stopped())
        self.world.note(None, f"-- flushes go on: {stopped} had stopped")
        self.world.counts.add("troubles", f"flush stops at {self.at_point}", stopped)
        self.cluster.configure("inject", {})
        self.cluster.reload()
        quiet = 0
        while quiet < 3:  # a process may reach the point before it hears of the change
            stopped = self.cluster.stopped()
            for pid in stopped:
                send(pid, signal.SIGCONT)
            quiet = 0 if stopped else quiet + 1
            time.sleep(0.01)

    # --- crashes

    def crash(self, scheduler):
        way = self.rng.choices(list(WAYS), list(WAYS.values()))[0]
        self.world.note(None, f"-- {way}")
        self.world.counts.add("troubles", way)
        getattr(self, way)(scheduler)
        if not self.expected:
            self.recover(scheduler)

    def kill_at_commit(self, _scheduler):
        """The next session that commits dies in it."""
        self.expected = True

    def before_commit(self):
        """What a session does before COMMIT: perhaps it is to die in it."""
        if self.expected:
            yield Do(f"SET writecache.injection_point = '{self.rng.choice(COMMIT_POINTS)}'; SET writecache.injection_action = 'kill'")

    def kill_backend(self, scheduler):
        self.kill(self.rng.choice(scheduler.sessions).connection.pid)

    def kill_worker(self, scheduler):
        pids = self.cluster.pids(self.rng.choice(("worker", "launcher")))
        self.kill(pids[0] if pids else scheduler.sessions[0].connection.pid)

    def kill(self, pid):
        send(pid, signal.SIGKILL)
        self.wait_down()

    def wait_down(self):
        """The postmaster takes a moment to notice."""
        deadline = time.monotonic() + 30
        try:
            while time.monotonic() < deadline:
                self.world.control.run("SELECT 1")
                time.sleep(0.005)
        except Lost:
            pass

    def kill_postmaster(self, _scheduler):
        send(self.cluster.postmaster(), signal.SIGKILL)
        self.cluster.reap()
        self.cluster.kill_everything()
        self.cluster.start()

    def immediate(self, _scheduler):
        self.cluster.stop("immediate")
        self.cluster.start()

    def fast(self, _scheduler):
        self.cluster.stop("fast")
        self.cluster.start()

    def lost(self, scheduler, session, lost):
        """A session has lost its connection by what we did, or by a fault."""
        if not self.expected:
            return False
        self.wait_down()
        self.recover(scheduler)
        return True

    def recover(self, scheduler):
        """The server is up again: everybody starts anew, and what was committed is there on both sides."""
        self.expected = False
        self.crashes += 1
        self.cluster.wait_ready()
        scheduler.restart_all()
        world = self.world
        world.control.close()
        world.connect_control()
        world.gids[:] = [row[0] for row in world.control.run("SELECT gid FROM pg_prepared_xacts")]
        for table in world.tables:
            world.refresh(table)
        world.storing.clear()
        world.rewriting.clear()
        world.check_twins("after a crash")
