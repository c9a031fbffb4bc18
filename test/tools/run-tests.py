#!/usr/bin/env python3
"""Builds and runs test suites, counts every single test, and prints "N passed, N failed" as its last line.

    run-tests.py [test | unit | SUITE...]      SUITE: see SUITES at the end; `test` is all of them

Promises: a suite that does not build, crashes, hangs or yields no test counts as a failure; servers run as an
unprivileged user on Unix sockets below one folder in /tmp, and none is left running however this ends; the exit status
is 0 only when at least one test passed and none failed.

Environment: ONLY=pattern picks tests within the suites (a gtest filter for unit, else a glob on the test's name);
ACCEPT=1 copies new regress and isolation outputs over the expected ones; KEEP=1 keeps the folder in /tmp;
ROUNDS (crash), SECONDS (oracle, stale), FUZZ_SECONDS (each fuzzer), JOBS (suites at a time), PG_CONFIG.
"""

import fcntl
import fnmatch
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIB = ROOT / "test/tools/lib.sh"
ONLY = os.environ.get("ONLY", "")
CORES = len(os.sched_getaffinity(0))
os.umask(0o022)  # the server's account must be able to read what is built here
for name in ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "DEBUG", "INJECTION", "UBSAN"):
    os.environ.pop(name, None)


class Outcome:
    """What a suite came to: counts, and on failure the text that says why."""

    def __init__(self, passed=0, failed=0, detail=""):
        self.passed, self.failed, self.detail = passed, failed, detail

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.detail = "\n".join(filter(None, (self.detail, other.detail)))

    @staticmethod
    def failure(detail):
        return Outcome(0, 1, detail)


# ---------------------------------------------------------------------------------------------------------------------
# Running things

running = set()
running_lock = threading.Lock()
stopping = threading.Event()


def tail(path, lines=60):
    try:
        text = Path(path).read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(text[-lines:])


def run(command, log, timeout, env=None, cwd=None, as_server_user=False):
    """Runs a command in its own process group, its output in a file; returns its exit status, or None on a time-out."""
    if stopping.is_set():
        return None
    full = dict(os.environ, **(env or {}))
    extra = {}
    if as_server_user and SERVER_USER is not None:
        extra = {"user": SERVER_USER.pw_uid, "group": SERVER_USER.pw_gid,
                 "extra_groups": os.getgrouplist(SERVER_USER.pw_name, SERVER_USER.pw_gid)}
        full.update(HOME=str(SCRATCH), USER=SERVER_USER.pw_name, LOGNAME=SERVER_USER.pw_name)
    with open(log, "ab") as out:
        child = subprocess.Popen([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=full,
                                 cwd=cwd, start_new_session=True, umask=0o022, **extra)
    with running_lock:
        running.add(child)
    try:
        return child.wait(timeout)
    except subprocess.TimeoutExpired:
        with open(log, "a") as out:
            out.write(f"\n*** gave up after {timeout} seconds\n")
        return None
    finally:
        kill_group(child)
        with running_lock:
            running.discard(child)


def kill_group(child):
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    child.wait()


def shell(code, *args):
    """Runs bash code with lib.sh at hand and returns what it prints."""
    done = subprocess.run(["bash", "-c", f'set -euo pipefail; . "{LIB}"; {code}', "run-tests", *map(str, args)],
                          stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        sys.exit(1)
    return done.stdout.strip()


def make(*targets):
    """Builds targets of the Makefile with warnings as errors; returns the log of a failure, or None."""
    (ROOT / "build").mkdir(exist_ok=True)
    log = SCRATCH / f"make-{threading.get_ident()}.log"
    with open(ROOT / "build/.lock-core", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        status = run(["make", "-C", ROOT, "-k", f"-j{CORES}", "WERROR=1", *targets], log, 1800)
    if status == 0:
        return None
    errors = [line for line in tail(log, 100000).splitlines() if re.search(r": (fatal )?(error|warning):|undefined reference|\*\*\*", line)]
    return "the build failed:\n" + "\n".join(errors[:40])


def picked(names):
    """Keeps the names that ONLY asks for: a glob, or a part of the name."""
    return [n for n in names if not ONLY or fnmatch.fnmatch(n, ONLY) or ONLY in n]


# ---------------------------------------------------------------------------------------------------------------------
# Counting

def count_gtest(log, status):
    text = Path(log).read_text(errors="replace")
    passed = len(re.findall(r"^\[       OK \] ", text, re.M))
    failed = re.findall(r"^\[  FAILED  \] (\S+?),? .*\(\d+ ms\)$", text, re.M)
    outcome = Outcome(passed, len(failed))
    if status != 0:
        started = re.findall(r"^\[ RUN      \] (\S+)", text, re.M)
        if not failed:
            outcome.failed += 1
            outcome.detail = f"ended with status {status} in {started[-1] if started else 'no test'}\n"
        outcome.detail += "\n".join(f"failed: {name}" for name in failed) + "\n" + tail(log, 120)
    return outcome


def count_tap(log, status, name):
    """Counts one TAP stream; a wrong plan or exit status is one more failure."""
    passed = failed = 0
    plan = None
    complaints = []
    for line in Path(log).read_text(errors="replace").splitlines():
        if re.match(r"ok\b", line):
            passed += 1
        elif re.match(r"not ok\b", line):
            if re.search(r"# *TODO", line):
                passed += 1
            else:
                failed += 1
                complaints.append(line)
        elif match := re.match(r"1\.\.(\d+)", line):
            plan = int(match[1])
            if plan == 0:
                return Outcome(0, 0, "")
        elif line.startswith("Bail out!"):
            complaints.append(line)
    if plan != passed + failed:
        complaints.append(f"planned {plan if plan is not None else 'nothing'}, ran {passed + failed}")
        failed += 1
    elif status != 0 and failed == 0:
        complaints.append(f"ended with status {status}")
        failed += 1
    detail = f"{name}:\n" + "\n".join(complaints) + "\n" + tail(log, 60) if failed else ""
    return Outcome(passed, failed, detail)


def count_pg_regress(log, status, out):
    """Counts pg_regress output, in 15's own format or in TAP (16 and later)."""
    text = Path(log).read_text(errors="replace")
    passed = len(re.findall(r"^(?:test \S+ +\.\.\. ok\b|     \S+ +\.\.\. ok\b|ok \d+\b)", text, re.M))
    failed = len(re.findall(r"^(?:test \S+ +\.\.\. FAILED|     \S+ +\.\.\. FAILED|not ok \d+\b)", text, re.M))
    if status != 0 and failed == 0:
        failed = 1
    detail = ""
    if failed:
        detail = tail(log, 30)
        diffs = Path(out) / "regression.diffs"
        if diffs.exists():
            lines = diffs.read_text(errors="replace").splitlines()
            detail += "\n" + "\n".join(lines[:150])
        else:
            detail += "\n" + tail(Path(out) / "log/postmaster.log", 30) + tail(Path(out) / "log/initdb.log", 10)
    return Outcome(passed, failed, detail)


# ---------------------------------------------------------------------------------------------------------------------
# Suites. Each gets a folder of its own that the server's account may write to.

def no_aslr():
    """ThreadSanitizer of these compilers cannot run where the kernel randomises too many address bits."""
    probe = ["setarch", "-R", "true"]
    return probe[:2] if subprocess.run(probe, stderr=subprocess.DEVNULL).returncode == 0 else []


def unit(sanitizer):
    def suite(folder):
        target = f"build/bin/unit-{sanitizer}"
        if error := make(target):
            return Outcome.failure(error)
        supp = ROOT / "test/suppressions"
        env = {
            "TMPDIR": str(folder),
            "ASAN_OPTIONS": "detect_stack_use_after_return=1:strict_string_checks=1",
            "UBSAN_OPTIONS": "print_stacktrace=1",
            "TSAN_OPTIONS": f"halt_on_error=1:die_after_fork=0:suppressions='{supp}/tsan.supp'",
            "LSAN_OPTIONS": f"suppressions='{supp}/lsan.supp'",
        }
        log = folder / "log"
        arguments = [f"--gtest_filter={ONLY}"] if ONLY else []
        status = run([*no_aslr(), ROOT / target, *arguments], log, 900, env, folder)
        return count_gtest(log, status)
    return suite


def fuzz(folder):
    """Every fuzzer for a short time, from its corpus; a crash is kept in build/test-output."""
    names = picked(sorted(p.stem for p in (ROOT / "test/fuzz").glob("*.cpp")))
    if names and (error := make(*[f"build/bin/fuzz-{n}" for n in names])):
        return Outcome.failure(error)
    seconds = os.environ.get("FUZZ_SECONDS", "20")

    def one(name):
        work = folder / name
        work.mkdir()
        corpus = ROOT / "test/fuzz/corpus" / name
        folders = [work] + ([corpus] if corpus.is_dir() else [])
        log = folder / f"{name}.log"
        status = run([*no_aslr(), ROOT / f"build/bin/fuzz-{name}", f"-max_total_time={seconds}", "-timeout=10",
                      "-print_final_stats=1", f"-artifact_prefix={folder}/{name}-", *folders],
                     log, int(seconds) + 120, {"TMPDIR": str(folder)}, folder)
        return Outcome(1, 0) if status == 0 else Outcome.failure(f"{name} ended with status {status}\n" + tail(log, 60))

    return in_parallel(one, names, 2)


def in_parallel(one, items, workers):
    outcome = Outcome()
    with ThreadPoolExecutor(workers) as pool:
        for result in pool.map(one, items):
            outcome.add(result)
    return outcome


def pg_regress(program, inputs, names):
    def suite(folder):
        tests = picked(names())
        if not tests:
            return Outcome()
        log = folder / "log.txt"
        status = run([PGXS / program, f"--inputdir={TREE / inputs}", f"--outputdir={folder}", f"--temp-instance={folder}/tmp",
                      f"--temp-config={TREE}/test/regress.conf", f"--bindir={PREFIX}/bin", "--encoding=UTF8",
                      "--dbname=contrib_regression", "--load-extension=pg_writecache", *tests],
                     log, 900, server_env(folder), folder, as_server_user=True)
        if os.environ.get("ACCEPT"):
            for new in (folder / "results").glob("*.out"):
                shutil.copyfile(new, ROOT / inputs / "expected" / new.name)
        return count_pg_regress(log, status, folder)
    return suite


def server_env(folder):
    env = {"PATH": f"{PREFIX}/bin:{os.environ['PATH']}", "PG_CONFIG": f"{PREFIX}/bin/pg_config", "PGWC_PREFIX": str(PREFIX),
           "TMPDIR": str(folder), "LC_ALL": "C.UTF-8", "LANG": "C.UTF-8"}
    return env


def pgtap(folder):
    """Every file in a new database of one server, with psql as pg_prove calls it."""
    files = sorted(TREE.glob("test/pgtap/*.sql"))
    files = [f for f in files if f.stem in picked([f.stem])]
    log = folder / "server.log"
    setup = folder / "setup.log"
    env = dict(server_env(folder), PGHOST=str(folder), PGPORT="5432", PGUSER="postgres")

    def go(*command, log=setup):
        return run(command, log, 300, env, folder, as_server_user=True)

    if go("initdb", "-D", folder / "data", "-U", "postgres", "-A", "trust", "-N", "--encoding=UTF8") != 0:
        return Outcome.failure(tail(setup))
    with open(folder / "data/postgresql.conf", "a") as conf:
        conf.write((TREE / "test/regress.conf").read_text())
        conf.write(f"listen_addresses = ''\nunix_socket_directories = '{folder}'\n")
    if go("pg_ctl", "-D", folder / "data", "-l", log, "-w", "start") != 0:
        return Outcome.failure(tail(setup, 5) + tail(log))
    outcome = Outcome()
    for file in files:
        database = f"pgtap_{file.stem}"
        out = folder / f"{file.stem}.log"
        status = go("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", "postgres", "-c", f'CREATE DATABASE "{database}"')
        status = status or go("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", database, "-c",
                              "CREATE EXTENSION pgtap; CREATE EXTENSION pg_writecache")
        if status != 0:
            outcome.add(Outcome.failure(f"{file.stem}: cannot be set up\n" + tail(setup, 20)))
            continue
        status = go("psql", "-X", "-A", "-t", "-q", "-P", "pager=off", "-v", "ON_ERROR_STOP=1", "-d", database, "-f", file,
                    log=out)
        outcome.add(count_tap(out, status, file.stem))
    if go("pg_ctl", "-D", folder / "data", "-m", "fast", "-w", "stop") != 0:
        outcome.add(Outcome.failure("the server did not stop\n" + tail(log)))
    return outcome


def tap(folder):
    files = sorted(TREE.glob("test/t/*.pl"))
    files = [f for f in files if f.stem in picked([f.stem])]

    def one(file):
        work = folder / file.stem
        work.mkdir()
        own(work)
        log = work / "output.log"
        env = dict(server_env(work), TESTDIR=str(work), TESTDATADIR=f"{work}/data", TESTLOGDIR=f"{work}/log",
                   PG_REGRESS=str(PGXS / "test/regress/pg_regress"), PG_TEST_PORT_DIR=str(folder / "ports"),
                   PERL5LIB=f"{PGXS}/test/perl:{TREE}/test/t")
        status = run(["perl", file], log, 900, env, TREE, as_server_user=True)
        outcome = count_tap(log, status, file.stem)
        if outcome.failed:
            for server in sorted(work.glob("**/log/*.log")):
                outcome.detail += f"\n--- {server.name}\n" + tail(server, 20)
        return outcome

    return in_parallel(one, files, 2)


def runner(path):
    """A suite that is a program of its own and prints TAP."""
    def suite(folder):
        log = folder / "output.log"
        env = dict(server_env(folder))
        env.setdefault("ROUNDS", os.environ.get("ROUNDS", "30"))
        name = f"{Path(path).parent.name.upper()}_SECONDS"
        seconds = os.environ.get("SECONDS") or os.environ.get(name) or "60"
        env.setdefault(name, seconds)
        status = run([TREE / path], log, 1200 + int(seconds), env, TREE, as_server_user=True)
        return count_tap(log, status, path)
    return suite


def regress_names():
    return sorted(p.stem for p in (ROOT / "sql").glob("*.sql") if "--" not in p.stem)


def spec_names():
    return sorted(p.stem for p in (ROOT / "test/specs").glob("*.spec"))


# name -> (function, needs a server), the long ones first
SUITES = {
    "unit-tsan": (unit("tsan"), False),
    "tap": (tap, True),
    "crash": (runner("test/crash/run"), True),
    "oracle": (runner("test/oracle/run"), True),
    "stale": (runner("test/stale/run"), True),
    "unit-asan": (unit("asan"), False),
    "fuzz": (fuzz, False),
    "isolation": (pg_regress("test/isolation/pg_isolation_regress", "test", spec_names), True),
    "regress": (pg_regress("test/regress/pg_regress", ".", regress_names), True),
    "pgtap": (pgtap, True),
}
GROUPS = {"unit": ["unit-asan", "unit-tsan"], "test": list(SUITES)}


# ---------------------------------------------------------------------------------------------------------------------
# The whole

def own(path):
    if SERVER_USER is not None:
        os.chown(path, SERVER_USER.pw_uid, SERVER_USER.pw_gid)


def perform(name):
    function, _ = SUITES[name]
    folder = SCRATCH / name
    folder.mkdir()
    own(folder)
    shutil.rmtree(ROOT / "build/test-output" / name, ignore_errors=True)
    began = time.monotonic()
    try:
        outcome = function(folder)
    except Exception as problem:  # a fault in here must not look like a pass
        outcome = Outcome.failure(f"the driver failed: {problem!r}")
    if left := shell('pids_below "$1"', folder):
        if not stopping.is_set():
            outcome.add(Outcome.failure(f"left processes running: {' '.join(left.split())}"))
        shell('stop_below "$1"', folder)
    if outcome.passed + outcome.failed == 0:
        outcome = Outcome.failure("no test ran")
    return outcome, time.monotonic() - began


def clean_up():
    with running_lock:
        children = list(running)
    for child in children:
        kill_group(child)
    shell('stop_below "$1"', SCRATCH)
    if not os.environ.get("KEEP"):
        shutil.rmtree(SCRATCH, ignore_errors=True)
    shell('end_guard "$1"', GUARD)


def interrupted(number, _frame):
    stopping.set()
    clean_up()
    os._exit(128 + number)


def save_output(name):
    """Keeps a failed suite's files where a person or a CI finds them; data directories are left out."""
    shutil.copytree(SCRATCH / name, ROOT / "build/test-output" / name, ignore=lambda folder, names: [
        n for n in names if n in ("base", "pg_wal", "pgdata", "data", "tmp", "pg_dynshmem", "ports")
        or not (Path(folder, n).is_file() or Path(folder, n).is_dir())], ignore_dangling_symlinks=True)


def main():
    global SCRATCH, SERVER_USER, GUARD
    wanted = []
    for argument in sys.argv[1:] or ["test"]:
        if argument not in SUITES and argument not in GROUPS:
            sys.exit(f"run-tests.py: no suite {argument}; there are {', '.join([*SUITES, *GROUPS])}")
        wanted += [s for s in GROUPS.get(argument, [argument]) if s not in wanted]
    everything = "test" in (sys.argv[1:] or ["test"])
    for name in ("crash", "oracle", "stale"):  # suites that come later
        if everything and not os.access(ROOT / f"test/{name}/run", os.X_OK):
            wanted.remove(name)

    SERVER_USER = pwd.getpwnam(shell("server_user")) if os.getuid() == 0 else None
    SCRATCH = Path(shell("scratch_dir"))
    GUARD = shell('start_guard "$1" "$2"', SCRATCH, os.getpid())  # in case of SIGKILL
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    try:
        status = run_suites(wanted)
    finally:
        clean_up()
    sys.exit(status)


def run_suites(wanted):
    global PREFIX, PGXS, TREE
    began = time.monotonic()
    (ROOT / "build").mkdir(exist_ok=True)
    broken = None
    with ThreadPoolExecutor(2) as pool:  # the extension and the unit tests are built at the same time
        prefix = None
        if any(SUITES[s][1] for s in wanted):
            log = SCRATCH / "prefix.log"
            prefix = pool.submit(run, [ROOT / "test/tools/prefix.sh", "test"], log, 1800)
        core = [f"build/bin/{s}" for s in wanted if s.startswith("unit-")]
        if "fuzz" in wanted:
            core += [f"build/bin/fuzz-{p.stem}" for p in (ROOT / "test/fuzz").glob("*.cpp")]
        if core:
            make(*core)  # errors are reported by the suite that needs the program
        if prefix:
            if prefix.result() == 0:
                PREFIX = Path(tail(log, 1))
                PGXS = Path(shell('"$1" --pgxs', PREFIX / "bin/pg_config")).parents[1]
                # A copy of the tests: the checkout may be where the server's account cannot look.
                TREE = SCRATCH / "tree"
                shutil.copytree(ROOT, TREE, ignore=shutil.ignore_patterns("build", ".git", "results", "__pycache__"))
                for path in [TREE, *TREE.rglob("*")]:
                    path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o644))
            else:
                broken = tail(log)
    print(f"built in {time.monotonic() - began:.0f} s", flush=True)

    passed = failed = 0
    details = []
    jobs = int(os.environ.get("JOBS", max(2, min(4, CORES))))
    with ThreadPoolExecutor(jobs) as pool:
        futures = {}
        for name in wanted:
            if broken is not None and SUITES[name][1]:
                failed += 1
                print(f"FAIL  {name:<10} not built", flush=True)
                continue
            futures[pool.submit(perform, name)] = name
        for future in as_completed(futures):
            name = futures[future]
            outcome, seconds = future.result()
            passed += outcome.passed
            failed += outcome.failed
            word = "FAIL" if outcome.failed else "ok  "
            print(f"{word}  {name:<10} {outcome.passed:5} passed, {outcome.failed} failed   {seconds:5.0f} s", flush=True)
            if outcome.failed:
                details.append(f"\n===== {name} =====\n{outcome.detail}")
                save_output(name)
    if broken is not None:
        details.append(f"\n===== the extension =====\n{broken}")
    print("".join(details))
    if details:
        print(f"\nThe files of failed suites are in build/test-output. All of it took {time.monotonic() - began:.0f} s.")
    (ROOT / "build/test-summary").write_text(f"{passed} passed, {failed} failed\n")
    print(f"{passed} passed, {failed} failed", flush=True)
    return 0 if passed > 0 and failed == 0 else 1


if __name__ == "__main__":
    main()
