#!/usr/bin/env python3
"""What statements on tables that are not attached pay: instructions per statement with and without the library.

The server runs under Valgrind's callgrind, which counts a session's instructions; the difference between a session of
2 N and one of N statements leaves connecting and warming up out. With the library another table is attached, and all
hooks are in place. Counts vary by a fraction of a percent (where the allocator and hash tables happen to put things).
"""
import glob
import os
import re
import shutil
import signal
import subprocess
import sys
import time

from benchlib import on_server, parameter, psql

COUNT = parameter("COUNT", 1000, 300)
ROWS = 1000
TARGET = 1.0
STATEMENTS = {
    "SELECT by key": "SELECT value FROM bystander WHERE id = :id",
    "INSERT": f"INSERT INTO bystander VALUES ({ROWS} + nextval('ids'), 17.25)",
    "UPDATE by key": "UPDATE bystander SET value = value + 1 WHERE id = :id",
}
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

    def instructions(self, statement, mode, count):
        """Returns the instructions of a session that runs the statement so often."""
        psql("TRUNCATE bystander", f"INSERT INTO bystander SELECT n, 0 FROM generate_series(1, {ROWS}) n",
             "SELECT setval('ids', 1)", "CHECKPOINT")
        self.wait_for_sessions()
        before = self.outputs()
        subprocess.run(["pgbench", "-n", "-M", mode, "-t", str(count), "--random-seed=1", "-f", "-"],
                       input=f"\\set id random(1, {ROWS})\n{statement};\n", text=True, check=True,
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


def count_all(libraries):
    server = CountedServer(libraries)
    counts = {}
    for mode in ("simple", "prepared"):
        for name, statement in STATEMENTS.items():
            few, many = (server.instructions(statement, mode, n) for n in (COUNT, 2 * COUNT))
            counts[mode, name] = (many - few) / COUNT
    server.stop()
    return counts


if not shutil.which("valgrind"):
    sys.exit("this benchmark needs valgrind")
on_server()
psql("CREATE TABLE bystander (id int PRIMARY KEY, value float8)", "CREATE SEQUENCE ids",
     "CREATE TABLE attached (id int)", "SELECT writecache.attach('attached', 'write_back')",
     "INSERT INTO attached VALUES (1)")
subprocess.run(["pg_ctl", "-D", FOLDER, "-w", "-m", "fast", "stop"], check=True, stdout=subprocess.DEVNULL, **account())
without = count_all("")
with_library = count_all("pg_writecache")
print(f"\ninstructions per statement on a table that is not attached, {COUNT} statements")
for (mode, name), plain in without.items():
    loaded = with_library[mode, name]
    percent = 100 * (loaded - plain) / plain
    print(f"  {mode:<9}{name:<14} without {plain:>9,.0f}   with {loaded:>9,.0f}   {percent:+.2f} %, "
          f"target under {TARGET:.0f} %: {'reached' if percent < TARGET else 'MISSED'}")
