"""The engine as a process, and writers that remember what they were told is durable.

Everything stays on loopback, and ends with the rig: only processes started here are stopped, by their id.
"""

import http.client
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATABASE = "rig"
MIB = 1 << 20
START_NS = 1_700_000_000_000_000_000

# A rig that is told to stop clears away what it has started, frozen and mounted.
signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))


def program(name="busbar", package="api"):
    """The program under test, or one that helps: BUSBAR and the like, or the debug build of this tree."""
    path = pathlib.Path(os.environ.get(name.upper(), ROOT / "target" / "debug" / name))
    if not path.exists():
        sys.exit(f"{path} is missing: run `cargo build -p {package}`, or name a program with {name.upper()}")
    return str(path)


class Checks:
    """Counts what holds and what does not; a line for each."""

    def __init__(self):
        self.passed = self.failed = 0

    def check(self, holds, what, quiet=False):
        if holds:
            self.passed += 1
        else:
            self.failed += 1
        if not holds or not quiet:
            print(f"{'ok  ' if holds else 'FAIL'} {what}", flush=True)
        return holds

    def started(self, engine, what):
        """Without an engine the rest of a rig says nothing."""
        if not self.check(engine.ready, what):
            print(engine.log(), flush=True)
            self.end()

    def end(self):
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        sys.exit(1 if self.failed else 0)


class Engine:
    """`busbar serve` on free ports. `ready` says whether it came up; else it has ended."""

    # Small, so that flushes, commits and trims happen within a run.
    SMALL = {"flush-bytes": "256KiB", "flush-age": "1s", "log-segment-bytes": "64KiB"}

    def __init__(self, data, *flags, before=(), patience=60, variables=(), settings=SMALL):
        self.data = pathlib.Path(data)
        self.folder = tempfile.TemporaryDirectory(prefix="busbar-rig-")
        self.errors = pathlib.Path(self.folder.name) / "stderr"
        settings = {**settings, **dict(flag.removeprefix("--").split("=", 1) for flag in flags)}
        command = [*before, program(), "serve", f"--data-dir={data}", "--http-addr=127.0.0.1:0",
                   "--mqtt-addr=127.0.0.1:0", "--logging-format=json"]
        command += [f"--{name}={value}" for name, value in settings.items()]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("BUSBAR")}
        with open(self.errors, "wb") as errors:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                            stderr=errors, env={**inherited, **dict(variables)})
        self.port = None
        try:
            self.ready = self._wait(patience)
        except BaseException:
            # Whoever is told to stop meanwhile does not have it yet, and could not end it.
            self.kill()
            raise

    def log(self):
        return self.errors.read_text(errors="replace")

    def _wait(self, patience):
        end = time.monotonic() + patience
        while time.monotonic() < end:
            ended = self.process.poll() is not None
            for line in self.log().splitlines():
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue
                if entry.get("message") == "HTTP listens":
                    self.port = int(entry["addr"].rsplit(":", 1)[1])
                if entry.get("message") == "ready":
                    return True
            if ended:
                return False
            time.sleep(0.02)
        self.kill()
        return False

    def panicked(self):
        return "panicked at" in self.log()

    def request(self, method, path, body=None, timeout=30):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            is_json = path.startswith(("/api/v3/query", "/api/v1/"))
            headers = {"content-type": "application/json"} if is_json else {}
            connection.request(method, path, body and body.encode(), headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        finally:
            connection.close()

    def write(self, lines, timeout=30):
        return self.request("POST", f"/write?db={DATABASE}", lines, timeout)[0]

    def query(self, sql):
        """Status, and the rows as lines of CSV; what an answer cut by an error had is not rows."""
        body = json.dumps({"db": DATABASE, "q": sql, "format": "csv"})
        try:
            status, text = self.request("POST", "/api/v3/query_sql", body)
        except (http.client.HTTPException, OSError) as error:
            return 599, [str(error)]
        return status, text.splitlines()[1:] if status == 200 else [text]

    def count(self, sql):
        """The one number that a query answers; None when it fails."""
        status, rows = self.query(sql)
        return int(rows[0]) if status == 200 else None

    def metrics(self):
        """Names, with labels if there are any, and values."""
        lines = self.request("GET", "/metrics")[1].splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    def memory(self, key="VmRSS"):
        """Bytes of the process, by a key of /proc."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(f"{key}:"))
        return int(line.split()[1]) << 10

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
            return None


def verify(data):
    """Exit code and report of `busbar verify`; the report is None when it could not be made."""
    command = [program(), "verify", "--json", f"--data-dir={data}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    report = json.loads(done.stdout) if done.returncode in (0, 1) and done.stdout else None
    return done.returncode, report, done.stderr


class Journal(threading.Thread):
    """A client that writes until it is told to stop, and keeps what was acknowledged."""

    def __init__(self, number, seed):
        super().__init__(daemon=True)
        self.number = number
        self.random = random.Random(seed * 1_000 + number)
        self.acknowledged = {}
        self.in_flight = {}
        self.next = 0
        self.engine = None
        self.halt = threading.Event()
        self.lock = threading.Lock()

    def body(self):
        points = {}
        for _ in range(10):
            self.next += 1
            # Some points are written again, so that the last write has to win across files.
            time_at = self.random.randrange(max(1, self.next // 2), self.next + 1)
            points[time_at] = self.next
        lines = [f"journal,writer={self.number} v={v}i {START_NS + t * 1_000_000}" for t, v in points.items()]
        return points, "\n".join(lines)

    def once(self, engine):
        """One body: True when it was acknowledged."""
        points, lines = self.body()
        with self.lock:
            self.in_flight = points
        try:
            status = engine.write(lines)
        except (http.client.HTTPException, OSError):
            return False
        if status == 204:
            with self.lock:
                self.acknowledged.update(points)
                self.in_flight = {}
            return True
        return False

    def run(self):
        while not self.halt.is_set():
            if not self.once(self.engine):
                return

    def faults(self, engine):
        """What is lost, stale or was never sent, as text; empty when all is well."""
        sql = f"SELECT CAST(time AS BIGINT) AS t, v FROM journal WHERE writer = '{self.number}'"
        if not self.acknowledged and not self.in_flight:
            return ""
        status, rows = engine.query(sql)
        if status != 200:
            return f"the query answers {status}: {rows[0][:200]}" if self.acknowledged else ""
        found = {}
        for row in rows:
            at, value = row.split(",")
            at = (int(at) - START_NS) // 1_000_000
            if at in found:
                return f"the point {at} is there twice"
            found[at] = int(value)
        for at, value in self.acknowledged.items():
            allowed = {value, self.in_flight.get(at, value)}
            if found.get(at) not in allowed:
                return f"point {at} is {found.get(at)}, acknowledged was {value}"
        unknown = set(found) - set(self.acknowledged) - set(self.in_flight)
        if unknown:
            return f"points that were never sent: {sorted(unknown)[:5]}"
        # What was in doubt is decided now.
        for at, value in self.in_flight.items():
            if found.get(at) == value:
                self.acknowledged[at] = value
        self.in_flight = {}
        return ""

    def heir(self, seed):
        """A thread that goes on where this one has stopped."""
        heir = Journal(self.number, seed)
        heir.acknowledged, heir.in_flight, heir.next = self.acknowledged, self.in_flight, self.next
        return heir


def write_for(journals, engine, seconds):
    """Lets the journals write for a while; they go on until the engine is gone or they are halted."""
    for journal in journals:
        journal.engine = engine
        journal.start()
    time.sleep(seconds)


def bytes_below(folder):
    """Bytes that the files of a folder take on the disk; what goes meanwhile does not count."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_blocks * 512 if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total


def percentile(times, part):
    ordered = sorted(times)
    return ordered[min(len(ordered) * part // 100, len(ordered) - 1)] if ordered else 0.0


def as_root(what):
    if os.geteuid() != 0:
        print(f"skipped: {what} needs root", flush=True)
        sys.exit(0)


def run(*command, check=True):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done
