#!/usr/bin/env python3
"""show.py CLIENT READINGS: the demo's course, on the server that PGHOST and PGDATA name; run.sh starts both.

Feeds a write-back table from several clients, kills the server with SIGKILL in the middle, starts it again, feeds on,
and compares what the clients' ledgers say was acknowledged with what is in the table. Then, while time allows, runs the
same clients at full speed against a plain table and an attached one. Works in the current folder. The exit status is 0
only if every acknowledged row is in the table once."""
import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from view import LOOK, View, acknowledged, psql

HERE = Path(__file__).resolve().parent
CLIENT, READINGS = sys.argv[1:3]
ENDS_AFTER = 56  # seconds, whatever happens
FEED_SECONDS = 8  # before the crash, and again after it
COMPARE_SECONDS = 2  # for each kind of client and each table
COMPARE_CLIENTS = 4

KINDS = {
    "single": "INSERT of 1 row, each its own COMMIT, 64 in flight",
    "multi": "INSERT of 50 rows, 4 in flight",
    "copy": "COPY of 1,000 rows",
}
CLIENTS = [("single", 15000), ("single", 15000), ("multi", 15000), ("multi", 15000), ("copy", 20000), ("copy", 20000)]

CREATE = """CREATE TABLE {0} (station int NOT NULL, at timestamptz NOT NULL, pressure real, temperature real, wind real);
            CREATE INDEX ON {0} (station, at)"""
ATTACH = "SELECT writecache.attach('{0}', 'write_back')"


class Clients:
    """Client processes that feed a table, each with a ledger and a log in the current folder."""

    running = []  # of all objects, for stop_all

    def __init__(self, table, kinds_and_rates):
        numbers = range(1, len(kinds_and_rates) + 1)
        self.ledgers = [f"{table}-{number}.ledger" for number in numbers]
        self.logs = [Path(f"{table}-{number}.log") for number in numbers]
        self.processes = []
        for number, (kind, rate), ledger, log in zip(numbers, kinds_and_rates, self.ledgers, self.logs):
            command = [CLIENT, str(number), kind, table, READINGS, ledger, str(rate)]
            with log.open("w") as out:
                self.processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out))
        Clients.running += self.processes

    def check(self):
        """Ends the demo if a client ended."""
        if any(process.poll() is not None for process in self.processes):
            self.stop()

    def stop(self):
        """Has them send nothing more and wait for their answers; ends the demo if one of them failed."""
        for process in self.processes:
            process.terminate()
        if any([process.wait() != 0 for process in self.processes]):
            sys.exit("a client failed:\n" + "".join(log.read_text() for log in self.logs))

    def settled(self):
        """Returns how many batches were in doubt, found stored and sent again, once every client has reconnected."""
        found = [re.findall(r"in doubt (\d+) stored (\d+) resent (\d+)", log.read_text()) for log in self.logs]
        if min(map(len, found)) < 2:  # they say it also when they connect first
            return None
        return [sum(int(line[i]) for lines in found for line in lines) for i in range(3)]

    def acknowledged(self):
        return sum(map(acknowledged, self.ledgers))

    @staticmethod
    def stop_all():
        for process in Clients.running:
            process.kill()
            process.wait()


def ask(*arguments, **options):
    """Returns the fields that psql prints; ends the demo if it fails."""
    try:
        return psql(*arguments, **options)
    except subprocess.SubprocessError as error:
        sys.exit(f"{error}\n{error.stderr or ''}")


class Server:
    """The private server, whose processes become our children when the postmaster, or who started it, is gone."""

    def __init__(self):
        # Else a killed postmaster may linger as a zombie (not every container's init reaps), and a lingering process
        # keeps its successor from starting.
        PR_SET_CHILD_SUBREAPER = 36
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self.data = Path(os.environ["PGDATA"]).resolve()
        self.postmaster, self._left = None, set()

    def start(self):
        """Starts the server and returns the seconds it took."""
        start = time.monotonic()
        if subprocess.run([HERE / "server.sh", "start"], stdin=subprocess.DEVNULL).returncode != 0:
            sys.exit(1)
        self.postmaster = int((self.data / "postmaster.pid").read_text().split()[0])
        return time.monotonic() - start

    def signal(self, signal_number):
        """Sends the postmaster a signal and returns the number of its other processes."""
        self._left = self._processes() - {self.postmaster}
        os.kill(self.postmaster, signal_number)
        return len(self._left)

    def gone(self):
        """Says whether the postmaster and all others are gone, after a signal."""
        self._left |= self._processes()
        self._left = {pid for pid in self._left | {self.postmaster} if not self._reap(pid)}
        return not self._left

    def last_words(self, pattern):
        """Returns what matches the pattern last in the server's log."""
        log = Path(os.environ["PGHOST"], "server.log").read_text(errors="replace")
        return ([""] + re.findall(pattern, log))[-1]

    def stop(self):
        """Stops the server at once, if it runs; run.sh looks after what is left."""
        pid_file = self.data / "postmaster.pid"
        if pid_file.exists():
            self.postmaster = int(pid_file.read_text().split()[0])
        if self.postmaster in self._processes():
            self.signal(signal.SIGQUIT)
            for _ in range(60):
                if self.gone():
                    return
                time.sleep(0.05)

    def _processes(self):
        """Returns the process ids of all that work in the data directory."""
        pids = set()
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if os.readlink(entry / "cwd") == str(self.data):
                    pids.add(int(entry.name))
            except OSError:
                pass
        return pids

    @staticmethod
    def _reap(pid):
        """Says whether a process is gone, and takes note of its end if it is our child."""
        try:
            return os.waitpid(pid, os.WNOHANG)[0] == pid
        except ChildProcessError:
            return not Path(f"/proc/{pid}").exists()


def wait_until(condition, what, clients, seconds=20):
    """Returns the first true answer of the condition."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > deadline:
            sys.exit(f"waited {seconds} seconds: {what}")
        clients.check()
        time.sleep(0.05)
    return answer


def feed(clients):
    for _ in range(FEED_SECONDS * 10):
        clients.check()
        time.sleep(0.1)


def crash(server, view, clients):
    """Kills the postmaster, waits until its children are gone too, starts the server, waits for the clients."""
    for _ in range(60):  # waits for a bad moment: much is pending, and the flush worker has not begun
        pending, lag = map(float, ask("-c", LOOK)[:2])
        if 0.25 < lag < 0.4:
            break
        time.sleep(0.05)
    postmaster = server.postmaster
    others = server.signal(signal.SIGKILL)
    view.note(f"kill -9 {postmaster}: the postmaster; its {others} other processes follow", "1;31")
    wait_until(server.gone, "processes of the killed server are still there", clients)
    rows = clients.acknowledged()
    view.note(f"all gone; {rows:,} rows were acknowledged, {pending:,.0f} of them pending just before")
    view.note(f"the server is back, start and recovery took {server.start():.1f} s", "1;32")
    view.note("it says: " + (server.last_words("write buffer: .* recovered") or "nothing of the write buffer"))
    doubt, stored, resent = wait_until(clients.settled, "the clients do not come back", clients)
    view.note(f"the clients are back; {doubt} batches had got no answer: {stored} were stored, {resent} sent again", "1;32")


def verdict(clients):
    """Prints whether the table holds what was acknowledged, and returns it."""
    ledger = ", ".join(f"({number}, {acknowledged(file)})" for number, file in enumerate(clients.ledgers, 1))
    with open(READINGS) as source:
        counts = ask("-v", f"ledger={ledger}", "-f", str(HERE / "verdict.sql"), stdin=source)
    rows, there, lost, twice, unknown, altered = map(int, counts)
    print(f"acknowledged {rows}, in the table {there}, lost {lost}, twice {twice}")
    if unknown or altered:
        print(f"nobody was told of {unknown} rows in the table; {altered} have other values than were sent")
    return rows == there and not (lost or twice or unknown or altered)


def measure(kind, attached):
    """Returns the rows per second that clients at full speed had acknowledged, and until all of it was in the table."""
    ask("-c", CREATE.format("compared"), *(["-c", ATTACH.format("compared")] if attached else []), "-c", "CHECKPOINT")
    start = time.monotonic()
    clients = Clients("compared", [(kind, 0)] * COMPARE_CLIENTS)
    time.sleep(COMPARE_SECONDS)
    clients.stop()
    accepted = time.monotonic() - start
    ask("-c", "SELECT writecache.flush()")
    stored = time.monotonic() - start
    rows = clients.acknowledged()
    if ask("-c", "SELECT count(*) FROM compared") != [str(rows)]:
        sys.exit(f"{rows} rows were acknowledged in the comparison, and the table has others")
    ask("-c", "DROP TABLE compared")
    return rows / accepted, rows / stored


def compare():
    """Runs the same clients at full speed against a plain table and an attached one, kind by kind."""
    print(f"\nAt full speed, {COMPARE_CLIENTS} clients for {COMPARE_SECONDS} s, rows per second (stored: until all of it is in the table):\n"
          f"{'':50}{'plain table':>13}  {'acknowledged':>15}  {'stored':>15}")
    for kind, text in KINDS.items():
        print(f"  {text:50}", end="", flush=True)
        plain, _ = measure(kind, False)
        print(f"{plain:11,.0f}  ", end="", flush=True)
        accepted, stored = measure(kind, True)
        print(f"{accepted:9,.0f} {accepted / plain:4.1f}x  {stored:9,.0f} {stored / plain:4.1f}x", flush=True)


def main(server):
    started = time.monotonic()
    server.start()
    ask("-c", "CREATE EXTENSION pg_writecache", "-c", CREATE.format("readings"), "-c", ATTACH.format("readings"))
    clients = Clients("readings", CLIENTS)
    view = View(f"{len(CLIENTS)} clients, {sum(rate for _, rate in CLIENTS):,} readings a second", clients.ledgers)
    try:
        view.begin()
        view.note(f"PostgreSQL {ask('-c', 'SHOW server_version')[0]}, {len(os.sched_getaffinity(0))} cores, fsync on, files on "
                  + subprocess.run(["stat", "-f", "-c", "%T", "."], capture_output=True, text=True).stdout.strip())
        for kind, text in KINDS.items():
            view.note(f"{sum(k == kind for k, _ in CLIENTS)} clients: {text}")
        feed(clients)
        crash(server, view, clients)
        feed(clients)
        clients.stop()
        flushing = time.monotonic()
        ask("-c", "SELECT writecache.flush()")
        view.note(f"the clients stopped; writecache.flush() took {time.monotonic() - flushing:.1f} s")
    finally:
        view.end()
    seconds = view.seconds()
    print("\ncounting ...\n", flush=True)
    kept = verdict(clients)
    print(f"{clients.acknowledged() / seconds:,.0f} rows a second over {seconds:.1f} s, the crash included", flush=True)
    try:
        compare()
    except TimeUp:
        print("no time left")
    signal.alarm(0)
    print(f"\ndone in {time.monotonic() - started:.0f} s")
    return 0 if kept else 1


class TimeUp(SystemExit):
    """The demo's time is over; its text is what Python prints if nobody catches it."""


def time_up(*_):
    raise TimeUp(f"not done after {ENDS_AFTER} seconds")


def terminated(*_):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(143)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # run.sh answers Ctrl-C, with a SIGTERM to us
    signal.signal(signal.SIGTERM, terminated)
    signal.signal(signal.SIGALRM, time_up)
    signal.alarm(ENDS_AFTER)
    server = Server()
    try:
        sys.exit(main(server))
    finally:
        Clients.stop_all()
        server.stop()
