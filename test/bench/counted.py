"""Counting the instructions of a session: the server of a benchmark under Valgrind's callgrind.

The difference between a session of 2 N and one of N statements leaves connecting and warming up out. Counts vary by a
fraction of a percent (where the allocator and hash tables happen to put things).
"""
import glob
import os
import re
import shutil
import signal
import subprocess
import sys
import time

FOLDER = os.environ.get("PGDATA", "")  # the server's working folder, which it may write to


def account():
    """Returns the arguments that make a subprocess run as the server's owner."""
    owner = os.stat(FOLDER)
    return {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if os.getuid() == 0 else {}


class CountedServer:
    """The benchmark's server, which must be stopped, run under callgrind with these preloaded libraries."""

    def __init__(self, libraries):
        self.process = subprocess.Popen(
            ["valgrind", "-q", "--tool=callgrind", "--collect-atstart=no", "--toggle-collect=PostgresMain",
             f"--callgrind-out-file={FOLDER}/callgrind.%p", shutil.which("postgres"), "-D", FOLDER,
             "-c", f"shared_preload_libraries={libraries}"],
            cwd=FOLDER, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **account())
        for _ in range(600):
            if subprocess.run(["pg_isready", "-q"]).returncode == 0:
                break
            time.sleep(0.1)
        else:
            sys.exit("the server does not start under callgrind")
        time.sleep(3)  # pg_isready's session ends, the server's own processes start
        self.resting = self.children()

    def per_statement(self, statement, mode, count, rows, prepare=lambda: None):
        """Returns the instructions of one execution of a statement with :id, a random number up to `rows`."""
        few, many = (self.instructions(statement, mode, n, rows, prepare) for n in (count, 2 * count))
        return (many - few) / count

    def instructions(self, statement, mode, count, rows, prepare):
        """Returns the instructions of a session that runs the statement so often."""
        prepare()
        self.wait_for_sessions()
        before = self.outputs()
        subprocess.run(["pgbench", "-n", "-M", mode, "-t", str(count), "--random-seed=1", "-f", "-"],
                       input=f"\\set id random(1, {rows})\n{statement};\n", text=True, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.wait_for_sessions()
        # pgbench has a second session that only connects
        return max(self.total(path) for path in self.outputs() - before)

    def children(self):
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as file:
            return set(file.read().split())

    def wait_for_sessions(self):
        """Waits until the sessions, which write their counts when they end, have ended."""
        for _ in range(600):
            if self.children() <= self.resting:
                return
            time.sleep(0.1)
        sys.exit("a session does not end")

    @staticmethod
    def outputs():
        return set(glob.glob(f"{FOLDER}/callgrind.*"))

    @staticmethod
    def total(path):
        with open(path) as file:
            found = re.search(r"^totals: (\d+)", file.read(), re.M)
        return int(found[1]) if found else 0

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(120)


def stop_server():
    """Stops the benchmark's own server, so that counted ones can take its place."""
    if not shutil.which("valgrind"):
        sys.exit("this benchmark needs valgrind")
    subprocess.run(["pg_ctl", "-D", FOLDER, "-w", "-m", "fast", "stop"], check=True, stdout=subprocess.DEVNULL,
                   **account())
