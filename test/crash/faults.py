"""What is done to the server. Every fault ends with a server that answers, or is reported as stuck."""
import signal
import time

import tables
from cluster import ENOUGH_TABLES, Stuck, send
from pq import Lost, Refused

BACKEND_POINTS = ("reserved", "frame-filled", "prepared", "committed", "published", "aborted")
WORKER_POINTS = ("flush-rows-stored", "flush-marked", "flush-committed", "flush-finished", "before-free", "after-free",
                 "worker-start")
DDL_POINTS = ("attach", "detach-drained")
START_POINTS = ("settle-begin",)


class Faults:
    def __init__(self, cluster, observer, rng, writers):
        self.cluster, self.observer, self.random, self.writers = cluster, observer, rng, writers
        self.cramped = False  # the server has had a buffer in between that may have been full
        self.choices = [
            (3, self.kill_process), (2, self.kill_postmaster), (2, self.stop_fast), (2, self.stop_immediate),
            (1, self.stop_smart), (2, self.terminate), (2, self.cancel), (4, self.inject_in_writer),
            (5, self.inject_everywhere), (1, self.inject_at_start), (2, self.freeze)]

    def plan(self, count):
        return self.random.choices([c for _, c in self.choices], [w for w, _ in self.choices], k=count)

    def victim(self, kinds):
        what = self.random.choice(kinds)
        place = self.random.random()
        pids = self.cluster.pids(what)
        return what, pids[int(place * len(pids))] if pids else None

    def kill_process(self):
        what, pid = self.victim(("backend", "backend", "worker", "worker", "launcher", "checkpointer", "walwriter"))
        if pid:
            send(pid, signal.SIGKILL)
            self.revive()
        return f"kill -9 {what}"

    def kill_postmaster(self):
        pid = self.cluster.postmaster()
        everything = self.random.random() < 0.5
        send(pid, signal.SIGKILL)
        if everything:
            self.cluster.kill_everything()
        else:
            self.cluster.bury()
        self.restart()
        return "kill -9 postmaster" + (" and all" if everything else "")

    def restart(self):
        self.cluster.configure("round", random_settings(self.random))
        self.cramped |= self.cluster.settings["writecache.buffer_size"] in ("1MB", "2MB")
        self.cramped |= not self.cluster.has_place_for_all()
        self.cluster.start()

    def stop_fast(self):
        has_workers = self.has_workers()
        self.cluster.stop("fast")
        self.start_after_drain(has_workers)
        return "fast shutdown"

    def has_workers(self):
        """Whether each database has a worker; there may be one of a visited database, too."""
        try:
            session = self.cluster.connect("look")
            numbers = [row[0] for row in session.run(f"SELECT oid FROM pg_database WHERE datname IN {tables.DATABASES}")]
            session.close()
        except (Lost, Refused):
            return False
        titles = self.cluster.processes().values()
        return all(any(title.endswith(f"flush worker {number}") for title in titles) for number in numbers)

    def start_after_drain(self, has_workers):
        """A shutdown that has time stores everything first, if the workers are there: it cannot start new ones."""
        drained = has_workers and self.cluster.settings.get("writecache.shutdown_timeout") == "60s"
        offset = self.cluster.log.stat().st_size
        self.restart()
        with open(self.cluster.log, errors="replace") as log:
            log.seek(offset)
            left = [line.strip() for line in log if "write buffer: found" in line]
        if drained and left:
            self.observer.complain(f"a shutdown with time left rows behind: {left[0]}")

    def stop_immediate(self):
        self.cluster.stop("immediate")
        self.restart()
        return "immediate shutdown"

    def stop_smart(self):
        """Smart waits for the clients: they are told to go a moment later."""
        has_workers = self.has_workers()
        send(self.cluster.postmaster(), signal.SIGTERM)
        time.sleep(self.random.random() * 0.3)
        impatient = self.random.random() < 0.5
        if impatient:
            self.cluster.stop("fast")
        else:
            for backend in self.cluster.pids("backend"):
                send(backend, signal.SIGTERM)
            self.cluster.bury("a smart shutdown does not end")
        self.start_after_drain(has_workers)
        return "smart, then fast shutdown" if impatient else "smart shutdown"

    def terminate(self):
        what, pid = self.victim(("backend", "worker", "launcher"))
        if pid:
            send(pid, signal.SIGTERM)
        return f"terminate {what}"

    def cancel(self):
        for _ in range(self.random.randint(1, 10)):
            what, pid = self.victim(("backend", "backend", "worker"))
            if pid:
                send(pid, signal.SIGINT)
            time.sleep(0.02)
        return "cancel"

    def inject_in_writer(self):
        point = self.random.choice(BACKEND_POINTS)
        action = self.random.choice(("kill", "kill", "kill_server", "stop"))
        writer = self.random.choice(self.writers)
        writer.injection = (point, action)
        deadline = time.monotonic() + 5
        while writer.injection and time.monotonic() < deadline and self.cluster.postmaster() and not self.cluster.stopped():
            time.sleep(0.01)
        self.wait_for_effect(0)
        self.cluster.wait_until(lambda: not writer.injection, f"{writer.name} hangs")
        self.wait_for_effect(0)
        return f"{action} at {point} in a writer"

    def inject_everywhere(self):
        point = self.random.choice(WORKER_POINTS + WORKER_POINTS + DDL_POINTS + BACKEND_POINTS[:3])
        actions = ("kill", "kill", "kill_server", "stop")
        if point in ("flush-rows-stored", "flush-marked", "detach-drained", "reserved", "prepared"):
            actions += ("error",)
        action = self.random.choice(actions)
        self.cluster.configure("inject", {"writecache.injection_point": point, "writecache.injection_action": action})
        self.cluster.reload()
        self.wait_for_effect(self.random.random() * 0.8)
        return f"{action} at {point}"

    def inject_at_start(self):
        """A crash during recovery, as often as it likes."""
        point = self.random.choice(START_POINTS)
        self.cluster.configure("inject", {"writecache.injection_point": point, "writecache.injection_action": "kill"})
        self.cluster.reload()
        time.sleep(0.1)
        _, pid = self.victim(("backend",))
        if pid:
            send(pid, signal.SIGKILL)
        self.wait_for_effect(self.random.random())
        return f"kill at {point}"

    def freeze(self):
        """A process that the kernel does not run for a while, as on a machine that swaps."""
        what, pid = self.victim(("backend", "backend", "worker", "launcher"))
        if pid:
            send(pid, signal.SIGSTOP)
            time.sleep(self.random.random() * 0.4)
            send(pid, signal.SIGCONT if self.random.random() < 0.5 else signal.SIGKILL)
        self.wait_for_effect(0)
        return f"freeze {what}"

    def wait_for_effect(self, seconds):
        """Lets an injection work for a while, then takes it back and brings the server up again."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.cluster.postmaster() is not None and not self.cluster.stopped():
            time.sleep(0.01)
        if self.cluster.stopped():
            time.sleep(self.random.random() * 0.3)
        self.cluster.configure("inject", {})
        self.cluster.reload()
        verdict = self.random.choice((signal.SIGCONT, signal.SIGKILL))
        deadline = time.monotonic() + 1
        while True:  # a session keeps the setting it was given: whoever it stops is dealt with until nobody is left
            for pid in self.cluster.stopped():
                send(pid, verdict)
            if time.monotonic() > deadline or not self.cluster.stopped():
                break
            time.sleep(0.01)
        self.revive()

    def revive(self):
        """Waits until the server answers. A session that was late to hear of it may still have killed the postmaster."""
        while True:
            if self.cluster.postmaster() is None:
                self.cluster.bury()
                self.restart()
            try:
                self.cluster.wait_ready()
                return
            except Stuck:
                if self.cluster.postmaster() is not None:
                    raise


def random_settings(rng):
    """Settings that make different paths run."""
    return {
        "writecache.buffer_size": rng.choice(("1MB", "1MB", "2MB", "8MB", "32MB")),
        "writecache.max_tables": rng.choice((ENOUGH_TABLES, ENOUGH_TABLES, ENOUGH_TABLES, 12)),
        "wal_level": rng.choice(("replica", "replica", "logical")),
        "writecache.flush_interval": rng.choice(("1ms", "20ms", "200ms", "5s")),
        "writecache.flush_rows": rng.choice((1, 50, 1000, 100000)),
        "writecache.flush_bytes": rng.choice(("1kB", "64kB", "32MB")),
        "writecache.sync_interval": rng.choice(("10ms", "1s")),
        "writecache.shutdown_timeout": rng.choice(("0", "1s", "60s")),
        "writecache.wait_timeout": rng.choice(("200ms", "5s")),
        "autovacuum": rng.choice(("on", "off")),
    }
