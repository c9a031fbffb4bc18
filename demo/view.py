"""The live view: what the clients' ledgers say and what the server says, drawn in place on a terminal, else a plain
ASCII line a second. Events (note) scroll by above. Runs in a thread of its own; looks at the server with psql."""
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import deque

LOOK = """
SELECT rows_pending, coalesce(extract(epoch FROM oldest_pending), 0), rows_flushed, free_bytes, buffer_bytes
  FROM writecache.stat_write_back, writecache.buffer_status() WHERE relation = 'readings'::regclass"""
SPARKS = {True: "▁▂▃▄▅▆▇█", False: "_.-=+*%#"}
PER_SECOND = 4
GRAPH = 44  # characters
RATE_SECONDS = 2  # that a rate is the average of


def psql(*arguments, stdin=subprocess.DEVNULL, timeout=30):
    """Runs psql and returns the fields it prints; raises subprocess.SubprocessError if it fails."""
    command = ["psql", "-X", "-q", "-A", "-t", "-F", " ", "-v", "ON_ERROR_STOP=1", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, stdin=stdin, timeout=timeout).stdout.split()


def acknowledged(ledger):
    """Returns the number of rows that a client's ledger says are acknowledged."""
    try:
        words = open(ledger).read().split()
        return int(words[0]) * int(words[3])
    except (OSError, IndexError):
        return 0


class View:
    """What was seen last: rows_in (acknowledged in all), pending, lag, free, size; up says whether the server answers,
    and when it does not the others keep their values."""

    def __init__(self, title, ledgers):
        self.title, self.ledgers = title, ledgers
        self.start = time.monotonic()
        self.rows_in = self.pending = 0
        self.free = self.size = 1
        self.lag, self.up = 0.0, False
        self._seen = {name: deque(maxlen=RATE_SECONDS * PER_SECOND + 1) for name in ("in", "flushed")}
        self._lines_up = 0  # lines of the picture on the screen
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._live = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._colour = self._live and "NO_COLOR" not in os.environ
        self._unicode = (self._live and os.environ.get("LC_ALL") not in ("C", "POSIX")
                         and (sys.stdout.encoding or "").lower().startswith("utf"))
        self._history = {name: deque(maxlen=GRAPH) for name in ("in", "flushed", "pending", "lag")}
        self._thread = threading.Thread(target=self._run, daemon=True)

    def seconds(self):
        return time.monotonic() - self.start

    def begin(self):
        if self._live:
            self._write("\033[?25l")  # hides the cursor
        self._thread.start()

    def end(self):
        """Leaves the last picture on the screen and stops."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._live:
            self._write("\033[?25h")
        self._lines_up = 0

    def note(self, text, colour="1"):
        """Prints a line that stays, above the picture."""
        with self._lock:
            line = self._paint(f"{self.seconds():5.1f} s  {text}", colour)
            self._write(self._clear() + line + "\n" + (self._picture() if self._lines_up else ""))

    # ------------------------------------------------------------------------------------------------------------------

    def _run(self):
        next_line = 1
        while not self._stop.wait(1 / PER_SECOND):
            try:
                look = psql("-c", LOOK, timeout=2)
            except subprocess.SubprocessError:
                look = None
            with self._lock:
                self._take(look)
                if self._live:
                    self._write(self._clear() + self._picture())
                elif self.seconds() >= next_line:
                    self._write(self._plain_line() + "\n")
                    next_line = int(self.seconds()) + 1

    def _take(self, look):
        now = time.monotonic()
        self.rows_in = sum(map(acknowledged, self.ledgers))
        if bool(look) != self.up:  # the server counts from its start
            self.up = bool(look)
            for seen in self._seen.values():
                seen.clear()
        self._seen["in"].append((now, self.rows_in))
        if look:
            self.pending, self.lag = int(look[0]), float(look[1])
            self.free, self.size = int(look[3]), int(look[4])
            self._seen["flushed"].append((now, int(look[2])))
        for name in self._seen:
            self._history[name].append(self._rate(name))
        self._history["pending"].append(self.pending if self.up else 0)
        self._history["lag"].append(self.lag if self.up else 0)

    def _rate(self, name):
        seen = self._seen[name]
        if len(seen) < 2:
            return 0
        return (seen[-1][1] - seen[0][1]) / (seen[-1][0] - seen[0][0])

    def _plain_line(self):
        line = f"{self.seconds():5.1f} s  in {self._rate('in'):9,.0f} rows/s"
        if not self.up:
            return line + "  (the server is down)"
        return (line + f"  flushed {self._rate('flushed'):9,.0f} rows/s  pending {self.pending:9,}"
                f"  lag {self.lag:4.2f} s  buffer free {self.free >> 20} of {self.size >> 20} MB")

    def _picture(self):
        """Returns the picture; it is drawn at the cursor, which stays below it."""
        down = not self.up
        rows = [
            ("in", f"{self._rate('in'):11,.0f} rows/s", self._spark("in"), "32"),
            ("flushed", "-" if down else f"{self._rate('flushed'):11,.0f} rows/s", self._spark("flushed"), "36"),
            ("pending", "-" if down else f"{self.pending:11,} rows  ", self._spark("pending"), "33"),
            ("lag", "-" if down else f"{self.lag:11.2f} s     ", self._spark("lag"), "33"),
            ("buffer", "-" if down else f"{(self.size - self.free) / 2**20:5.0f} of {self.size >> 20:3} MB  ",
             self._bar((self.size - self.free) / self.size), "35"),
        ]
        width = max(40, shutil.get_terminal_size().columns) - 1
        clock = "server is DOWN" if down else f"{self.rows_in:,} rows acknowledged"
        lines = ["", self._paint(f"  {self.title}   {clock}"[:width], "1;31" if down else "1"), ""]
        for name, value, graph, colour in rows:
            head = f"  {name:8} {value:>18}  "
            lines.append(head + self._paint(graph[:max(0, width - len(head))], colour))
        self._lines_up = len(lines)
        return "\n".join(lines) + "\n"

    def _clear(self):
        """Returns what takes the picture away again."""
        return f"\033[{self._lines_up}A\033[J" if self._lines_up else ""

    def _spark(self, name):
        """Draws the last seconds of a value, the highest of them as a full block."""
        marks, values = SPARKS[self._unicode], self._history[name]
        top = max(values, default=0) or 1
        return "".join(marks[min(7, int(v / top * 7.999))] if v > 0 else " " for v in values)

    def _bar(self, share):
        full, empty = "█░" if self._unicode else "#."
        filled = round(share * GRAPH)
        return full * filled + empty * (GRAPH - filled)

    def _paint(self, text, colour):
        return f"\033[{colour}m{text}\033[0m" if self._colour and text else text

    def _write(self, text):
        sys.stdout.write(text)
        sys.stdout.flush()
