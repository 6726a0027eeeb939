"""Engines with their tables on a real S3 server (moto), behind a proxy that fails, stalls and goes away.

Usage: object_store.py PATH-OF-BUSBAR [--minutes N] [--away-minutes N] [--seed N] [--conformance].
Prints a line per check and ends with 'N passed, N failed'. Everything listens on loopback.
"""

import argparse
import http.client
import http.server
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import deltalake

KEY, SECRET, BUCKET, PREFIX = "test", "test-secret-0815", "tables", "site a"
CONFIG = """
[log]
segment_bytes = "1MiB"

[flush]
age = "1s"

[store]
url = "s3://{bucket}/{prefix}"
endpoint = "http://127.0.0.1:{port}"
region = "us-east-1"
allow_http = true
access_key_id = "{key}"
secret_file = "{secret}"

[store.cache]
bytes = "32MiB"

[disk]
max_bytes = "{disk}"

[cluster]
shared = true
refresh = "1s"
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def until(what, seconds, done):
    """Waits until `done` holds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if done():
            return
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s: {what}")


class S3:
    """The server."""

    def __init__(self, folder):
        self.port = free_port()
        self.log = open(os.path.join(folder, "moto.log"), "w")
        command = [os.path.join(os.path.dirname(sys.executable), "moto_server"), "-H", "127.0.0.1", "-p", str(self.port)]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        until("moto answers", 60, lambda: self.request("GET", "/")[0] == 200)
        for bucket in [BUCKET, "conformance"]:
            assert self.request("PUT", f"/{bucket}")[0] == 200

    def request(self, method, path):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (ConnectionError, OSError):
            return 0, b""

    def uploads(self):
        """Multipart uploads that were neither completed nor aborted."""
        return self.request("GET", f"/{BUCKET}?uploads")[1].count(b"<UploadId>")

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
        self.log.close()


class Proxy:
    """Passes requests on; of a hundred, `percent` fail: before or after they are done, by silence or in the body."""

    def __init__(self, target, seed):
        self.percent, self.away, self.counts = 0, False, {}
        die, proxy = random.Random(seed), self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self):
                fault = None
                if die.randrange(100) < proxy.percent:
                    fault = die.choice(["500", "503", "lost", "broken", "late"])
                    proxy.counts[fault] = proxy.counts.get(fault, 0) + 1
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if proxy.away:
                    self.close_connection = True
                    return
                if fault in ("500", "503"):
                    return self.answer(int(fault), [], b"<Error><Code>SlowDown</Code></Error>")
                upstream = http.client.HTTPConnection("127.0.0.1", target, timeout=60)
                upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    upstream.putheader(name, value)
                upstream.endheaders(body)
                got = upstream.getresponse()
                content = got.read()
                upstream.close()
                if fault == "late":
                    time.sleep(2)
                if fault in ("lost", "broken") or proxy.away:
                    # Done, and the answer is lost, all of it or its second half.
                    self.close_connection = True
                    if fault == "broken":
                        self.answer(got.status, got.getheaders(), content, len(content) // 2)
                    return
                self.answer(got.status, got.getheaders(), content)

            def answer(self, status, headers, content, cut=None):
                self.send_response_only(status)
                length = str(len(content))
                for name, value in headers:
                    if name.lower() == "content-length":
                        # Of an object that was only asked about, the length is not that of the body.
                        length = value if self.command == "HEAD" else length
                    elif name.lower() not in ("connection", "transfer-encoding"):
                        self.send_header(name, value)
                self.send_header("Content-Length", length)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content[:cut])

            def handle_safely(self):
                try:
                    self.handle_one()
                except (ConnectionError, OSError, http.client.HTTPException):
                    self.close_connection = True

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_safely

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads, request_queue_size = True, 128

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Engine:
    def __init__(self, binary, folder, proxy, disk="64MiB"):
        os.makedirs(folder)
        self.binary, self.data, self.process = binary, os.path.join(folder, "data"), None
        self.config, secret = os.path.join(folder, "busbar.toml"), os.path.join(folder, "secret")
        self.log = open(os.path.join(folder, "engine.log"), "a")
        with open(secret, "w") as file:
            file.write(SECRET + "\n")
        values = {"bucket": BUCKET, "prefix": PREFIX, "port": proxy.port, "key": KEY, "secret": secret, "disk": disk}
        with open(self.config, "w") as file:
            file.write(CONFIG.format(**values))
        self.http, self.mqtt = free_port(), free_port()

    def start(self, wait=True):
        addresses = ["--http-addr", f"127.0.0.1:{self.http}", "--mqtt-addr", f"127.0.0.1:{self.mqtt}"]
        command = [self.binary, "serve", "--config", self.config, "--data-dir", self.data, *addresses]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        if wait:
            until("the engine is ready", 90, lambda: self.get("/ready")[0] == 200)

    def get(self, path):
        assert self.process.poll() is None, "the engine has ended"
        return self.ask(urllib.request.Request(f"http://127.0.0.1:{self.http}{path}"))

    def ask(self, request):
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except (urllib.error.URLError, ConnectionError):
            return 0, ""

    def write(self, lines):
        url = f"http://127.0.0.1:{self.http}/api/v2/write?bucket=db&precision=s"
        return self.ask(urllib.request.Request(url, data=lines.encode(), method="POST"))

    def delete(self, predicate):
        url = f"http://127.0.0.1:{self.http}/api/v2/delete?bucket=db"
        body = {"start": "1970-01-01T00:00:00Z", "stop": "2100-01-01T00:00:00Z", "predicate": predicate}
        data, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
        return self.ask(urllib.request.Request(url, data=data, headers=headers, method="POST"))

    def columns(self, table):
        status, text = self.query(f"select column_name from information_schema.columns where table_name = '{table}'")
        assert status == 200, f"{status} {text}"
        return {row["column_name"] for row in json.loads(text)}

    def query(self, q):
        return self.get("/api/v3/query_sql?" + urllib.parse.urlencode({"db": "db", "q": q, "format": "json"}))

    def totals(self, table, writer=None):
        """Rows, distinct points and the sum of their values."""
        where = f"where writer = '{writer}'" if writer else ""
        q = f"select count(*) as n, count(distinct writer || '/' || i) as d, sum(i) as s from {table} {where}"
        status, text = self.query(q)
        assert status == 200, f"{status} {text}"
        row = json.loads(text)[0]
        # JSON leaves out what is null.
        return row["n"], row["d"], row.get("s") or 0

    def staged(self):
        return [name for name in os.listdir(os.path.join(self.data, "staged")) if name.endswith(".json")]

    def metric(self, name):
        lines = self.get("/metrics")[1].splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.split(" ")[0] in (name, f"{name}_total"))

    def flushed(self, seconds=120):
        memory = lambda: self.metric("busbar_memtable_bytes") == 0
        until("all rows are in tables", seconds, lambda: memory() and not self.staged())

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(120)
        assert code == 0, f"SIGTERM must end with 0, not {code}"

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Writer:
    """Writes numbered points to two tables, each until it is acknowledged."""

    def __init__(self, engine, name):
        self.engine, self.name, self.next, self.refused, self.columns = engine, name, 0, 0, 0

    def column(self, i):
        """A field that is new now and then: the same name with another type on each node."""
        value = f"{i}i" if self.name == "one" else f"{i}.5"
        return f",new{self.columns}={value}" if self.columns else ""

    def batch(self, rows=200):
        numbers = range(self.next, self.next + rows)
        lines = "\n".join(
            f"{table},writer={self.name},n={i % 50} i={i}i,text=\"row {i}\"{self.column(i)} {1_760_000_000 + i}"
            for table in ("t", "u")
            for i in numbers
        )
        status, text = self.engine.write(lines)
        if status == 204:
            self.next += rows
        else:
            self.refused += 1
            assert status in (429, 503), f"{status} {text}"
        return status, text

    def write_for(self, seconds, pause=0.02, columns=0):
        """With `columns`, a new one every so many seconds."""
        end, next_column = time.monotonic() + seconds, time.monotonic()
        while time.monotonic() < end:
            if columns and time.monotonic() > next_column:
                self.columns, next_column = self.columns + 1, time.monotonic() + columns
            self.batch()
            time.sleep(pause)

    def expected(self):
        return self.next, self.next, self.next * (self.next - 1) // 2


class Rig:
    def __init__(self, arguments):
        self.arguments = arguments
        self.folder = tempfile.mkdtemp(prefix="busbar-object-store-")
        self.s3 = S3(self.folder)
        self.proxy = Proxy(self.s3.port, arguments.seed)
        self.one = Engine(arguments.busbar, os.path.join(self.folder, "one"), self.proxy)
        self.two = Engine(arguments.busbar, os.path.join(self.folder, "two"), self.proxy)
        self.writers = [Writer(self.one, "one"), Writer(self.two, "two")]

    def exact(self, engine, writer):
        for table in ("t", "u"):
            found = engine.totals(table, writer.name)
            assert found == writer.expected(), f"{table}: {found}, not {writer.expected()}"

    def is_exact(self, engine, writer):
        return all(engine.totals(table, writer.name) == writer.expected() for table in ("t", "u"))

    def s3_objects(self, part):
        text = self.s3.request("GET", f"/{BUCKET}?list-type=2&prefix={urllib.parse.quote(PREFIX + '/db/')}")[1].decode()
        keys = [urllib.parse.unquote(key.split("</Key>")[0]) for key in text.split("<Key>")[1:]]
        return [key for key in keys if part in key]

    def s3_files(self, table):
        return [key for key in self.s3_objects(".parquet") if f"/db/{table}." in key]

    def stop(self):
        self.one.kill()
        self.two.kill()
        self.s3.stop()


def every_store_conforms_to_the_same_suite(rig):
    if not rig.arguments.conformance:
        raise Skipped("say --conformance to build and run it")
    environment = {**os.environ, "BUSBAR_TEST_S3": f"http://127.0.0.1:{rig.s3.port}"}
    command = ["cargo", "test", "--quiet", "-p", "storage", "--lib", "conformance"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    # What failed stands before long traces.
    assert done.returncode == 0, done.stdout[:3000]


def rows_are_flushed_read_and_there_after_a_restart(rig):
    engine, writer = rig.one, rig.writers[0]
    engine.start()
    writer.write_for(2)
    engine.flushed()
    rig.exact(engine, writer)
    assert engine.metric("busbar_store_sent_bytes") > 0
    rig.exact(engine, writer)
    assert engine.metric("busbar_store_cache_hits") > 0
    assert not os.path.exists(os.path.join(engine.data, "tables"))
    engine.kill()
    engine.start()
    rig.exact(engine, writer)


def no_secret_is_printed(rig):
    command = [rig.one.binary, "config", "print", "--config", rig.one.config]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f'url = "s3://{BUCKET}/{PREFIX}"' in printed and SECRET not in printed, printed
    assert SECRET not in open(rig.one.log.name).read()


def errors_lost_answers_and_broken_bodies_lose_and_double_nothing(rig):
    engine, writer = rig.one, rig.writers[0]
    rig.proxy.percent = 20
    for _ in range(2):
        writer.write_for(max(3, rig.arguments.minutes * 15))
        engine.kill()
        engine.start()
    writer.write_for(1)
    engine.flushed()
    rig.proxy.percent = 0
    rig.exact(engine, writer)
    assert sum(rig.proxy.counts.values()) > 10, rig.proxy.counts
    print(f"        faults: {rig.proxy.counts}, retries since the last start: {engine.metric('busbar_store_retries'):.0f}")


def while_the_store_is_away_rows_are_taken_and_it_is_caught_up_with(rig):
    engine, writer = rig.one, rig.writers[0]
    engine.flushed()
    engine.stop()
    engine.start()
    before = writer.next
    rig.proxy.away = True
    writer.write_for(max(6, rig.arguments.away_minutes * 60), pause=0.1 if rig.arguments.away_minutes else 0.02)
    assert writer.next > before and engine.get("/health")[0] == 200
    # What is in memory and staged can be read; what is only there cannot, and the answer says why.
    status, text = engine.query("select sum(i) from t")
    assert status == 503 and "object store" in text, f"{status} {text}"
    rig.proxy.away = False
    engine.flushed()
    rig.exact(engine, writer)


def a_full_disk_budget_refuses_and_takes_again(rig):
    engine = Engine(rig.arguments.busbar, os.path.join(rig.folder, "small"), rig.proxy, disk="4MiB")
    writer = Writer(engine, "small")
    try:
        engine.start()
        writer.batch()
        rig.proxy.away = True
        until("the budget is full", 60, lambda: writer.batch()[0] == 503)
        status, text = writer.batch()
        assert status == 503 and "object store" in text, f"{status} {text}"
        status, text = engine.get("/ready")
        assert status == 503 and "disk" in text, f"{status} {text}"
        rig.proxy.away = False
        # The log is kept until the rules have written down their state, which they do once a minute.
        until("rows are taken again", 120, lambda: writer.batch()[0] == 204)
        engine.flushed()
        rig.exact(engine, writer)
        engine.stop()
    finally:
        rig.proxy.away = False
        engine.kill()


def a_start_without_the_store_waits_and_goes_on(rig):
    engine, writer = rig.one, rig.writers[0]
    writer.batch()
    engine.kill()
    rig.proxy.away = True
    engine.start(wait=False)
    until("the reason is told", 60, lambda: "the object store does not answer" in engine.get("/ready")[1])
    assert engine.get("/health")[0] == 200
    assert engine.write("t i=1i 1")[0] == 503
    rig.proxy.away = False
    until("the engine is ready", 90, lambda: engine.get("/ready")[0] == 200)
    rig.exact(engine, writer)
    engine.kill()
    rig.proxy.away = True
    engine.start(wait=False)
    until("the reason is told", 60, lambda: "the object store does not answer" in engine.get("/ready")[1])
    engine.stop()
    rig.proxy.away = False
    engine.start()


def two_engines_write_the_same_tables(rig):
    rig.two.start()
    rig.proxy.percent = 5
    seconds = max(8, rig.arguments.minutes * 60)
    threads = [threading.Thread(target=w.write_for, args=(seconds, 0.02, max(2, seconds / 30))) for w in rig.writers]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    for engine, writer in zip((rig.one, rig.two), rig.writers):
        engine.flushed(300)
        rig.exact(engine, writer)
    rig.proxy.percent = 0
    for engine in (rig.one, rig.two):
        for writer in rig.writers:
            until("each sees what the other has flushed", 60, lambda: rig.is_exact(engine, writer))
    assert rig.one.columns("t") == rig.two.columns("t")
    newest = {f"new{max(writer.columns for writer in rig.writers)}"}
    assert newest <= rig.one.columns("t"), f"{newest} is missing"
    for engine in (rig.one, rig.two):
        engine.stop()
        engine.start()
        for writer in rig.writers:
            rig.exact(engine, writer)


def both_engines_merge_files_and_none_is_lost(rig):
    files = lambda: len(rig.s3_files("t"))
    rig.one.flushed()
    rig.two.flushed()
    for round in range(12):
        for writer in rig.writers:
            writer.batch(20)
            writer.engine.flushed()
    for engine in (rig.one, rig.two):
        for writer in rig.writers:
            until("all rows are seen", 60, lambda: rig.is_exact(engine, writer))
    assert files() > 0 and rig.s3_objects("_busbar/lease/"), "no lease was asked for"


def without_the_store_known_columns_are_taken_and_new_ones_refused(rig):
    rig.proxy.away = True
    until("the store is missed", 60, lambda: rig.one.write("t,writer=x brand_new=1i 1")[0] == 503)
    status, text = rig.one.write("t,writer=x brand_new=1i 1")
    assert status == 503 and "column" in text, f"{status} {text}"
    status, text = rig.writers[0].batch()
    assert status == 204, f"{status} {text}"
    rig.proxy.away = False
    until("the column is born", 60, lambda: rig.one.write("t,writer=x brand_new=1i 1")[0] == 204)
    until("the other engine has it", 60, lambda: "brand_new" in rig.two.columns("t"))


def a_delete_on_one_engine_is_final_on_the_other(rig):
    gone = Writer(rig.two, "gone")
    gone.batch()
    rig.two.flushed()
    gone.batch()
    status, text = rig.one.delete('writer="gone"')
    assert status == 204, f"{status} {text}"
    none = (0, 0, 0)
    until("the other has heard of it", 60, lambda: all(rig.two.totals(t, "gone") == none for t in ("t", "u")))
    rig.two.flushed()
    rig.two.kill()
    rig.two.start()
    for engine in (rig.one, rig.two):
        for table in ("t", "u"):
            until("nothing is back", 30, lambda: engine.totals(table, "gone") == none)
        for writer in rig.writers:
            until("the others stay", 60, lambda: rig.is_exact(engine, writer))


def another_engine_reads_the_union_from_s3(rig):
    options = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{rig.s3.port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
    }
    for engine in (rig.one, rig.two):
        engine.stop()
    folders = {line.split("/")[-1] for line in rig_tables(rig)}
    assert len(folders) == 2, f"each table is one folder for both nodes: {folders}"
    for folder in sorted(folders):
        table = deltalake.DeltaTable(f"s3://{BUCKET}/{PREFIX}/db/{folder}", storage_options=options)
        found = table.to_pyarrow_table(columns=["writer", "i"]).to_pydict()
        points = list(zip(found["writer"], found["i"]))
        expected = {(w.name, i) for w in rig.writers for i in range(w.next)}
        mine = [point for point in points if point[0] in {w.name for w in rig.writers}]
        assert len(mine) == len(set(mine)), "a row is there twice"
        assert set(mine) == expected, f"{len(expected - set(mine))} rows are missing"


def rig_tables(rig):
    path = f"/{BUCKET}?list-type=2&prefix={urllib.parse.quote(PREFIX + '/db/')}&delimiter=/"
    text = rig.s3.request("GET", path)[1].decode()
    parts = text.split("<CommonPrefixes>")[1:]
    return [urllib.parse.unquote(part.split("<Prefix>")[1].split("</Prefix>")[0]).rstrip("/") for part in parts]


def no_upload_is_left(rig):
    assert rig.s3.uploads() == 0


class Skipped(Exception):
    """A check that was not asked for."""


CHECKS = [
    every_store_conforms_to_the_same_suite,
    rows_are_flushed_read_and_there_after_a_restart,
    no_secret_is_printed,
    errors_lost_answers_and_broken_bodies_lose_and_double_nothing,
    while_the_store_is_away_rows_are_taken_and_it_is_caught_up_with,
    a_full_disk_budget_refuses_and_takes_again,
    a_start_without_the_store_waits_and_goes_on,
    two_engines_write_the_same_tables,
    both_engines_merge_files_and_none_is_lost,
    without_the_store_known_columns_are_taken_and_new_ones_refused,
    a_delete_on_one_engine_is_final_on_the_other,
    another_engine_reads_the_union_from_s3,
    no_upload_is_left,
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("busbar")
    parser.add_argument("--minutes", type=float, default=0, help="how long two engines write")
    parser.add_argument("--away-minutes", type=float, default=0, help="how long the store is away")
    parser.add_argument("--seed", type=int, default=1, help="of the faults")
    parser.add_argument("--conformance", action="store_true", help="run the suite of storage against the server")
    arguments = parser.parse_args()
    passed = failed = 0
    rig = Rig(arguments)
    try:
        for check in CHECKS:
            name, since = check.__name__.replace("_", " "), time.monotonic()
            try:
                check(rig)
                passed += 1
                print(f"ok      {name} ({time.monotonic() - since:.0f} s)", flush=True)
            except Skipped as reason:
                print(f"skipped {name}: {reason}", flush=True)
            except Exception as error:  # every check is run and told
                failed += 1
                rig.proxy.percent, rig.proxy.away = 0, False
                print(f"FAILED  {name}: {type(error).__name__}: {error}", flush=True)
    finally:
        rig.stop()
        if failed:
            print(f"logs are in {rig.folder}")
        else:
            shutil.rmtree(rig.folder)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
