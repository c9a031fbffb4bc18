#!/usr/bin/env python3
"""Single-row INSERT, 16 sessions, no pipeline: attached and plain; and LPUSH of as many bytes into Redis.

Redis is Debian's, with its append-only file synced every second as the write buffer is. Everybody is reached over TCP
on the loopback interface; pgbench and redis-benchmark have as many client threads.
"""
import os
import re
import socket
import subprocess
import sys
import tempfile
import time

from benchlib import SECONDS, insert_rate, interleave, make_tables, on_server, verdict

CLIENTS = 16
HOST = "127.0.0.1"
SCRIPT = "\\set station random(1, 1000)\nINSERT INTO {table} VALUES (:station, now(), 17.25);\n"
PAYLOAD = len("1000,2026-01-01T00:00:00.000000Z,17.25")


class Redis:
    """A private Redis, gone with the object's block."""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="pgwc-redis.")
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            self.port = str(probe.getsockname()[1])
        self.server = subprocess.Popen(
            ["redis-server", "--bind", HOST, "--port", self.port, "--dir", self.folder.name, "--save", "",
             "--appendonly", "yes", "--appendfsync", "everysec"], stdout=subprocess.DEVNULL)
        for _ in range(100):
            if subprocess.run(["redis-cli", "-p", self.port, "ping"], capture_output=True).returncode == 0:
                break
            time.sleep(0.1)
        self.requests = int(self.push(100_000) * SECONDS)
        return self

    def __exit__(self, *_):
        self.server.terminate()
        self.server.wait()
        self.folder.cleanup()

    def push(self, requests):
        """Returns the LPUSHes per second."""
        subprocess.run(["redis-cli", "-p", self.port, "flushall"], check=True, stdout=subprocess.DEVNULL)
        out = subprocess.run(
            ["redis-benchmark", "-p", self.port, "-t", "lpush", "-n", str(requests), "-d", str(PAYLOAD), "-P", "1",
             "-c", str(CLIENTS), "--threads", str(min(CLIENTS, os.cpu_count())), "-q"],
            check=True, capture_output=True, text=True).stdout
        rate = re.findall(r"LPUSH: ([\d.]+) requests per second", out)
        if not rate:
            sys.exit(f"redis-benchmark: {out}")
        return float(rate[-1])

    def rate(self):
        return self.push(self.requests)


on_server(listen_addresses=HOST)
os.environ["PGHOST"] = HOST
make_tables()
with Redis() as redis:
    print(f"{subprocess.run(['redis-server', '--version'], capture_output=True, text=True).stdout.split(' sha')[0]}, "
          f"appendonly yes, appendfsync everysec, {PAYLOAD} bytes")
    rates = interleave(f"single-row INSERT, {CLIENTS} sessions, no pipeline",
                       {"plain": lambda: insert_rate("plain", SCRIPT, 1, clients=CLIENTS),
                        "attached": lambda: insert_rate("buffered", SCRIPT, 1, clients=CLIENTS),
                        "Redis LPUSH": redis.rate})
verdict(rates, "attached", "plain", 3)
verdict(rates, "attached", "Redis LPUSH", 1)
