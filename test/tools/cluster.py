"""The server under test: made, started, stopped, killed, and looked at from outside."""
import ctypes
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

from pq import Connection, Lost

# Small and quick. fsync is off because every crash here is one of processes: what was written is in the kernel's hands.
FIXED = """
shared_preload_libraries = 'pg_writecache'
listen_addresses = ''
fsync = off
shared_buffers = 16MB
max_connections = 60
max_prepared_transactions = 30
max_worker_processes = 16
autovacuum_naptime = 1s
log_min_messages = log
log_line_prefix = '%m [%p] %b '
deadlock_timeout = 100ms
include_if_exists = 'round.conf'
include_if_exists = 'inject.conf'
"""
# In the server's log each of these is a fault: nothing here damages files, and no crash loses power.
BAD_LOG = re.compile(r"PANIC|TRAP|terminated by signal (?!9\b)|is damaged|cannot be used|corrupt|could not (read|write|sync|open|find)|"
                     r"operating system has restarted|invalid (page|memory)|unexpected exception", re.I)
ENOUGH_TABLES = 64
PATIENCE = 90  # seconds after which something hangs


class Stuck(Exception):
    """The server does not do what it must: start, stop, answer."""


class Cluster:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.data = self.folder / "data"
        self.child = None
        self.log = self.folder / "server.log"
        prefix = os.environ.get("PGWC_PREFIX")
        self.bin = Path(prefix) / "bin" if prefix else Path(shutil.which("postgres")).parent
        self.conninfo = f"host={self.folder} port=5432 user=postgres connect_timeout=30"

    # --- files

    def create(self):
        shutil.rmtree(self.data, ignore_errors=True)
        self.log.unlink(missing_ok=True)
        with open(self.folder / "initdb.log", "wb") as out:
            done = subprocess.run([str(self.bin / "initdb"), "-D", str(self.data), "-U", "postgres", "-A", "trust", "-N",
                                   "--encoding=UTF8", "--locale=C.UTF-8"], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        if done.returncode != 0:
            raise Stuck("initdb failed: " + (self.folder / "initdb.log").read_text())
        with open(self.data / "postgresql.conf", "a") as conf:
            conf.write(FIXED + f"unix_socket_directories = '{self.folder}'\n")

    def configure(self, name, settings):
        """Writes one of the two files that postgresql.conf includes."""
        if name == "round":
            self.settings = settings
        new = self.data / f"{name}.new"
        new.write_text("".join(f"{key} = '{value}'\n" for key, value in settings.items()))
        new.rename(self.data / f"{name}.conf")

    def has_place_for_all(self):
        """A table that finds no place in the buffer is written directly, and those rows overtake buffered ones."""
        return self.settings["writecache.max_tables"] == ENOUGH_TABLES

    # --- life and death

    def start(self):
        """Starts the postmaster as a child of ours, so that a killed one does not stay in the process table."""
        self.reap()
        with open(self.log, "ab") as out:
            self.child = subprocess.Popen([str(self.bin / "postgres"), "-D", str(self.data)], stdin=subprocess.DEVNULL,
                                          stdout=out, stderr=out, start_new_session=True)
        self.wait_ready()

    def reap(self):
        if self.child:
            self.child.wait(PATIENCE)
            self.child = None

    def stop(self, mode):
        """Stops it as pg_ctl does."""
        how = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode]
        if (pid := self.postmaster()) is not None:
            send(pid, how)
        self.bury(f"a {mode} shutdown does not end")

    def postmaster(self):
        return self.child.pid if self.child and self.child.poll() is None else None

    def processes(self):
        """Every process of the server: pid -> what it calls itself. A server's processes sit in its data directory."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if os.readlink(entry / "cwd").split(" (deleted)")[0] == str(self.data):
                        found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                except OSError:
                    pass
        return found

    def pids(self, what):
        """The processes of a kind: backend, worker, launcher, or a word of the title."""
        words = {"backend": "[local]", "worker": "flush worker", "launcher": "pg_writecache launcher"}
        return sorted(p for p, title in self.processes().items() if words.get(what, what) in title and "idle]" != title)

    def stopped(self):
        """The processes that an injection point has stopped."""
        found = []
        for pid in self.processes():
            try:
                if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T":
                    found.append(pid)
            except OSError:
                pass
        return found

    def reload(self):
        if (pid := self.postmaster()) is not None:
            send(pid, signal.SIGHUP)

    def bury(self, complaint="processes outlive their postmaster"):
        """Waits until the postmaster and its children are gone."""
        self.wait_until(lambda: self.postmaster() is None and not self.processes(), complaint)

    def kill_everything(self):
        for pid in self.processes():
            send(pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.01)

    def destroy(self):
        """Leaves nothing running and no shared memory behind."""
        if (pid := self.postmaster()) is not None:
            for stopped in self.stopped():
                send(stopped, signal.SIGCONT)
            send(pid, signal.SIGQUIT)
            deadline = time.monotonic() + 5
            while (self.postmaster() is not None or self.processes()) and time.monotonic() < deadline:
                time.sleep(0.02)
        self.kill_everything()
        self.reap()
        try:  # a postmaster that was killed has left its shared memory
            key = (self.data / "postmaster.pid").read_text().split("\n")[6].split()
            ctypes.CDLL(None).shmctl(int(key[1]), 0, None)  # IPC_RMID
        except (OSError, ValueError, IndexError):
            pass

    # --- talk

    def connect(self, name, settings="", database="postgres"):
        return Connection(f"{self.conninfo} dbname={database} application_name={name} options='{settings}'")

    def wait_ready(self):
        """Waits until the server answers (it restarts by itself after the death of a child)."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.connect("look").close()
                return
            except Lost as lost:
                if time.monotonic() > deadline:
                    raise Stuck(f"the server does not answer: {lost}") from None
                if self.postmaster() is None:
                    raise Stuck("the postmaster is gone") from None
            time.sleep(0.02)

    def wait_until(self, condition, complaint):
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                raise Stuck(complaint)
            time.sleep(0.01)


def send(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def read_log(path, offset):
    """Faults that the server's log tells of, from an offset on."""
    with open(path, errors="replace") as log:
        log.seek(offset)
        return [line.strip() for line in log if BAD_LOG.search(line)][:20]
