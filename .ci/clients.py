"""Published clients write to a real engine, unmodified; other engines read its tables.

Usage: clients.py PATH-OF-BUSBAR. Prints a line per check and ends with 'N passed, N failed'.
"""

import decimal
import glob
import hashlib
import io
import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

import deltalake
import duckdb
import pyarrow as pa
import pyarrow.ipc
from influxdb import InfluxDBClient as V1
from influxdb.exceptions import InfluxDBClientError
from influxdb_client import InfluxDBClient as V2
from influxdb_client import WriteOptions, WritePrecision
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException
from influxdb_client_3 import InfluxDBClient3, InfluxDBError, Point
from influxdb_client_3 import SYNCHRONOUS as SYNCHRONOUS3
from influxdb_client_3 import write_client_options, WriteOptions as WriteOptions3
from influxdb_client_3.exceptions import InfluxDBPartialWriteError

TOKEN = "bbt_check_0123456789abcdef0123456789abcdef"
TOKEN_SHA256 = hashlib.sha256(TOKEN.encode()).hexdigest()
TOKENS = f"""
[[tokens]]
name = "check"
sha256 = "{TOKEN_SHA256}"
"""
MAPPINGS = """
[[mqtt.mappings]]
topic = "sensors/{building}/{device}/state"
database = "mqtt"
table = "climate"
tags = { building = "{building}", device = "{device}" }
fields = "*"
time = "$.ts"
deny = ["ts"]
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Engine:
    def __init__(self, binary, folder, config=TOKENS + MAPPINGS):
        os.makedirs(folder, exist_ok=True)
        self.process = None
        self.binary, self.folder, self.data = binary, folder, os.path.join(folder, "data")
        self.config = os.path.join(folder, "busbar.toml")
        with open(self.config, "w") as file:
            file.write(config)
        self.http, self.mqtt = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.http}"

    def start(self):
        addresses = ["--http-addr", f"127.0.0.1:{self.http}", "--mqtt-addr", f"127.0.0.1:{self.mqtt}"]
        command = [self.binary, "serve", "--config", self.config, "--data-dir", self.data, *addresses]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{self.url}/ready", timeout=5)
                return
            except (urllib.error.URLError, ConnectionError):
                assert self.process.poll() is None, "the engine ended at its start"
                time.sleep(0.1)
        raise AssertionError("the engine did not become ready")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0, "SIGTERM must end with 0"

    def kill(self):
        """Nothing of the engine stays, whatever a check did."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def sql(self, db, q):
        query = urllib.parse.urlencode({"db": db, "q": q, "format": "arrow"})
        request = urllib.request.Request(f"{self.url}/api/v3/query_sql?{query}")
        request.add_header("Authorization", f"Bearer {TOKEN}")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return pa.ipc.open_stream(io.BytesIO(answer.read())).read_all()

    def put(self, path, body):
        request = urllib.request.Request(f"{self.url}/api/v1/{path}", json.dumps(body).encode(), method="PUT")
        request.add_header("Authorization", f"Bearer {TOKEN}")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def rows(self, db, q):
        return self.sql(db, q).to_pylist()

    def publish(self, topic, message, *more, password=TOKEN):
        command = ["mosquitto_pub", "-h", "127.0.0.1", "-p", str(self.mqtt), "-t", topic, "-m", message, *more]
        if password is not None:
            command += ["-u", "device", "-P", password]
        return subprocess.run(command, capture_output=True, text=True, timeout=30)


def v1_writes_and_understands_errors(engine):
    client = V1(host="127.0.0.1", port=engine.http, username="any", password=TOKEN, gzip=True)
    assert client.ping()
    client.create_database("v1")
    assert {"name": "v1"} in client.get_list_database()
    client.switch_database("v1")
    points = [
        {"measurement": "cpu", "tags": {"host": f"h{i % 3}"}, "time": 1767225600 + i, "fields": {"usage": i / 4, "n": i}}
        for i in range(1000)
    ]
    assert client.write_points(points, time_precision="s", batch_size=300)
    assert engine.rows("v1", "SELECT count(*) AS n, sum(usage) AS s FROM cpu") == [{"n": 1000, "s": 124875.0}]
    try:
        client.write_points([{"measurement": "cpu", "tags": {"host": "h0"}, "fields": {"usage": "text"}}])
        raise AssertionError("a wrong type must be refused")
    except InfluxDBClientError as error:
        assert error.code == 400 and "field type conflict" in str(error) and "in quarantine as" in str(error), error
    client = V1(host="127.0.0.1", port=engine.http, username="any", password="wrong", database="v1")
    try:
        client.write_points(points[:1])
        raise AssertionError("a wrong password must be refused")
    except InfluxDBClientError as error:
        assert error.code == 401, error


def v2_writes_and_understands_errors(engine):
    with V2(url=engine.url, token=TOKEN, org="any", enable_gzip=True) as client:
        assert client.ping() and client.health().status == "pass" and client.version()
        write = client.write_api(write_options=SYNCHRONOUS)
        units = {WritePrecision.S: 1, WritePrecision.MS: 10**3, WritePrecision.US: 10**6, WritePrecision.NS: 10**9}
        for unit, second in units.items():
            write.write(bucket="v2", record=f"unit,name={unit} v=1 {5 * second}", write_precision=unit)
        times = engine.sql("v2", "SELECT time FROM unit").column("time").cast(pa.timestamp("ns")).cast(pa.int64())
        assert times.to_pylist() == [5 * 10**9] * len(units), times
        lines = [f"room,id={i % 5} t={20 + i / 10} {1767225600000 + i}" for i in range(500)]
        write.write(bucket="v2", record=lines, write_precision=WritePrecision.MS)
        for line, status, part, code in [("room,id=1 t=", 400, "unable to parse", "invalid"), ("room,id=1 t=true", 422, "field type conflict", "unprocessable entity")]:
            try:
                write.write(bucket="v2", record=line)
                raise AssertionError(f"{line} must be refused")
            except ApiException as error:
                body = json.loads(error.body)
                assert error.status == status and part in body["message"] and body["code"] == code, error
                assert [kept["line"] for kept in body.get("quarantined", [])] == ([1] if status == 422 else []), error
        with client.write_api(write_options=WriteOptions(batch_size=100, flush_interval=200)) as batching:
            batching.write(bucket="v2", record=[f"batch v={i}i {i + 1}" for i in range(950)])
        assert engine.rows("v2", "SELECT count(*) AS n FROM room") == [{"n": 500}]
        assert engine.rows("v2", "SELECT count(*) AS n, sum(v) AS s FROM batch") == [{"n": 950, "s": 450775}]
        write.write(bucket="v2", record=["gone,k=a v=1 1", "gone,k=b v=1 1", "gone,k=a v=1 2000000000"])
        predicate = '_measurement="gone" AND k="a"'
        client.delete_api().delete("1970-01-01T00:00:00Z", "1970-01-01T00:00:02Z", predicate, bucket="v2", org="any")
        try:
            client.delete_api().delete("1970-01-01T00:00:00Z", "1970-01-01T00:00:02Z", "k!=a", bucket="v2", org="any")
            raise AssertionError("a predicate with != must be refused")
        except ApiException as error:
            assert error.status == 400 and "with = only" in json.loads(error.body)["message"], error
    assert engine.rows("v2", "SELECT k, v FROM gone ORDER BY time") == [{"k": "b", "v": 1.0}, {"k": "a", "v": 1.0}]


def v3_writes_and_understands_errors(engine):
    for use_v2 in (True, False):
        options = write_client_options(write_options=WriteOptions3(write_type=SYNCHRONOUS3.write_type, use_v2_api=use_v2))
        with InfluxDBClient3(host=engine.url, token=TOKEN, database="v3", write_client_options=options) as client:
            table = f"air_{use_v2}".lower()
            client.write([Point(table).tag("room", "a").field("co2", 400.5 + i).time(1_767_225_600_000_000_000 + i) for i in range(50)])
            assert engine.rows("v3", f"SELECT count(*) AS n FROM {table}") == [{"n": 50}]
            try:
                client.write(f"{table},room=a co2=1 1\n{table},room=a co2=\n{table},room=a co2=2 2")
                raise AssertionError("a bad line must be told")
            except InfluxDBError as error:
                text = str(error)
            # v3 keeps the good lines and names the bad one; v2 refuses the body.
            count = 50 if use_v2 else 52
            assert engine.rows("v3", f"SELECT count(*) AS n FROM {table}") == [{"n": count}], text
            assert use_v2 or "partial write of line protocol occurred" in text, text


def v3_tells_the_client_which_lines_failed(engine):
    good, bad, wrong = "leak,room=a l=1 {}", "leak,room=a l=", "leak,room=a l=true 9"
    body = [good.format(1), bad, good.format(2), wrong]
    # (options, lines that the client is told, rows after it)
    cases = [({}, [2, 4], 2), ({"no_sync": True}, [2, 4], 2), ({"accept_partial": False}, [2], 0)]
    for number, (more, lines, rows) in enumerate(cases):
        write_options = WriteOptions3(write_type=SYNCHRONOUS3.write_type, use_v2_api=False, **more)
        options = write_client_options(write_options=write_options)
        database = f"v3lines{number}"
        with InfluxDBClient3(host=engine.url, token=TOKEN, database=database, write_client_options=options) as client:
            client.write("sound level=1 1")
            try:
                client.write("\n".join(body))
                raise AssertionError("bad lines must be told")
            except InfluxDBPartialWriteError as error:
                told = [(e.line_number, e.original_line) for e in error.line_errors]
                kept = ["in quarantine as" in e.error_message for e in error.line_errors]
            assert told == [(n, body[n - 1]) for n in lines], (more, told)
            # What does not parse is only told; with nothing written, nothing is kept.
            assert kept == [n == 4 for n in lines], (more, kept)
        tables = engine.rows(database, "SELECT table_name AS t FROM information_schema.tables WHERE table_name = 'leak'")
        found = engine.rows(database, "SELECT count(*) AS n FROM leak")[0]["n"] if tables else 0
        assert found == rows, (more, found)


def mosquitto_publishes_line_protocol_and_json(engine):
    for qos in ("0", "1"):
        sent = engine.publish("busbar/mqtt/lp", f"pump,qos={qos} rpm={qos}5i 1767225600000000000", "-q", qos)
        assert sent.returncode == 0, sent.stderr
    message = json.dumps({"ts": 1767225600, "temperature": 21.5, "on": True, "power": {"now": 40}})
    assert engine.publish("sensors/hq/d1/state", message, "-q", "1").returncode == 0
    assert engine.rows("mqtt", "SELECT building, device, temperature, \"on\", \"power.now\" AS p FROM climate") == [
        {"building": "hq", "device": "d1", "temperature": 21.5, "on": True, "p": 40.0}
    ]
    for _ in range(100):
        if engine.rows("mqtt", "SELECT count(*) AS n FROM pump") == [{"n": 2}]:
            break
        time.sleep(0.05)  # nothing tells of QoS 0
    else:
        raise AssertionError("QoS 0 was not stored")
    refused = engine.publish("busbar/mqtt/lp", "pump rpm=1i", "-q", "1", password="wrong")
    assert refused.returncode != 0 and "bad user name or password" in refused.stderr, refused
    assert engine.publish("busbar/mqtt/lp", "pump rpm=1i", "-q", "1", password=None).returncode != 0


def without_tokens_mosquitto_needs_no_password(engine):
    open_engine = Engine(engine.binary, os.path.join(engine.folder, "open"), MAPPINGS)
    try:
        open_engine.start()
        sent = open_engine.publish("busbar/mqtt/lp", "pump rpm=1i 1", "-q", "1", password=None)
        assert sent.returncode == 0, sent.stderr
        assert open_engine.rows("mqtt", "SELECT rpm FROM pump") == [{"rpm": 1}]
        open_engine.stop()
    finally:
        open_engine.kill()


def two_versions_are_flushed(engine):
    client = V1(host="127.0.0.1", port=engine.http, username="any", password=TOKEN, database="twice")
    for line in ["m,k=a v=1,w=1 1000", "m,k=a v=2 1000"]:
        assert client.write([line], {"db": "twice"}, 204, "line")
        restart(engine)
    assert client.write(["m,k=b v=9 2000"], {"db": "twice"}, 204, "line")


def restart(engine):
    """Ending in order flushes what is in memory."""
    engine.stop()
    engine.start()


SCALED = [21.5, -0.1, 1000000.25, 0.1 + 0.2, -0.0, 1e300]


def a_table_by_month_with_a_scale_is_written(engine):
    declared = engine.put("databases/declared/tables/room", {"partition": "month", "scales": {"t": 2}})
    assert (declared["partition"], declared["scales"]) == ("month", {"t": 2}), declared
    client = V1(host="127.0.0.1", port=engine.http, username="any", password=TOKEN, database="declared")
    days = [f"room,k=a t={value!r} {1769904000 + 86400 * i}" for i, value in enumerate(SCALED, -3)]
    assert client.write(days, {"db": "declared", "precision": "s"}, 204, "line")


def it_stops_in_order_and_starts_again(engine):
    restart(engine)


TABLES = {
    "v1": ["cpu"],
    "v2": ["room", "batch"],
    "v3": ["air_true", "air_false"],
    "mqtt": ["pump", "climate"],
    "odd": ["°C", "a b", "µg/m³"],
}


def special_names_are_written(engine):
    client = V1(host="127.0.0.1", port=engine.http, username="any", password=TOKEN, database="odd")
    names = [r"°C", r"a\ b", "µg/m³"]
    lines = [f'{name},room\\ no=1 Value={i},value={i + 1},u={2**64 - 1 - i}u,big={2**53 + 1 + i}i,s="t{i}",time\\ of={i}i {1 + i * 500}' for name in names for i in range(20)]
    assert client.write(lines, {"db": "odd"}, 204, "line")
    # Overwritten within one flush: no reader sees the first value.
    assert client.write(["°C,room\\ no=1 Value=99 1"], {"db": "odd"}, 204, "line")


def other_engines_read_the_same_rows(engine):
    for database, tables in TABLES.items():
        for name in tables:
            rows = engine.sql(database, f'SELECT * FROM "{name}" ORDER BY time')
            found = glob.glob(os.path.join(engine.data, "tables", database, "*", "_delta_log"))
            paths = [os.path.dirname(path) for path in found]
            delta = delta_table(engine, database, name)
            read = delta.to_pyarrow_table()
            assert read.num_rows == rows.num_rows, (database, name, read.num_rows, rows.num_rows)
            compare(rows, read, f"{database}.{name}")
            compare_in_duckdb(rows, delta, f"{database}.{name}")


def other_engines_read_decimals_and_what_is_none_beside_them(engine):
    mine = engine.sql("declared", "SELECT t FROM room ORDER BY time").column("t").to_pylist()
    assert [v.hex() for v in mine] == [v.hex() for v in SCALED], mine
    delta = delta_table(engine, "declared", "room")
    assert sorted(p["busbar_date"] for p in delta.partitions()) == ["2026-01-01", "2026-02-01"]
    read = delta.to_pyarrow_table().sort_by("time")
    assert read.schema.field("t").type == pa.decimal128(18, 2), read.schema
    exact, other = read.column("t").to_pylist(), read.column("busbar_f64_t").to_pylist()
    assert exact[:3] == [decimal.Decimal(text) for text in ["21.50", "-0.10", "1000000.25"]], exact
    assert exact[3:] == [None] * 3 and [v.hex() for v in other[3:]] == [v.hex() for v in SCALED[3:]], other
    files = [urllib.parse.unquote(uri.removeprefix("file://")) for uri in delta.file_uris()]
    theirs = duckdb.read_parquet(files, union_by_name=True).order("time")
    theirs = theirs.project("coalesce(busbar_f64_t, CAST(t AS DOUBLE)) AS t").fetchall()
    assert [v.hex() for (v,) in theirs] == [v.hex() for v in SCALED], theirs


def other_engines_see_both_versions_until_compaction(engine):
    """Not a promise, but what the README says: only SQL hides what was overwritten in an earlier file."""
    assert engine.rows("twice", "SELECT k, v, w FROM m ORDER BY time") == [
        {"k": "a", "v": 2.0, "w": 1.0},
        {"k": "b", "v": 9.0, "w": None},
    ]
    read = delta_table(engine, "twice", "m").to_pyarrow_table().select(["k", "v", "w"]).to_pylist()
    found = sorted((row["k"], row["v"], row["w"]) for row in read)
    assert found == [("a", 1.0, 1.0), ("a", 2.0, None), ("b", 9.0, None)], found


def delta_table(engine, database, name):
    """The folder's name is encoded; the table's own name is in its metadata."""
    found = glob.glob(os.path.join(engine.data, "tables", database, "*", "_delta_log"))
    tables = [deltalake.DeltaTable(os.path.dirname(path)) for path in found]
    return next(t for t in tables if t.metadata().name == f"{database}.{name}")


def compare_in_duckdb(sql, delta, what):
    """DuckDB finds as many rows, and the same sum of each column of numbers that has one stored column."""
    files = [urllib.parse.unquote(uri.removeprefix("file://")) for uri in delta.file_uris()]
    read = duckdb.read_parquet(files, union_by_name=True)
    assert read.shape[0] == sql.num_rows, (what, read.shape)
    stored = set(read.columns)
    for name in sql.column_names:
        kind = sql.schema.field(name).type
        if name not in stored or f"busbar_f64_{name}" in stored or not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            continue
        quoted = name.replace('"', '""')
        exact = pa.types.is_integer(kind)
        as_kind = "HUGEINT" if exact else "DOUBLE"
        theirs = read.aggregate(f'sum(CAST("{quoted}" AS {as_kind}))').fetchall()[0][0]
        mine = sum(v for v in sql.column(name).to_pylist() if v is not None)
        same = theirs == mine if exact else math.isclose(theirs, mine, rel_tol=1e-9)
        assert same, (what, name, theirs, mine)


def exact(v):
    """A value that equals another one only if they are the same: no integer passes for its neighbour."""
    v = v.as_py() if hasattr(v, "as_py") else v
    return decimal.Decimal(v) if isinstance(v, (bool, int, float, decimal.Decimal)) else v


def stored_names(columns, name, what):
    """The columns that may hold what SQL calls so: more than one where names differ only in their case."""
    candidates = [urllib.parse.quote(name, safe="°µ³./-_"), name]
    names = [c for c in columns if urllib.parse.unquote(c).split("%~")[0] == name or c in candidates]
    assert names, (what, name, columns)
    return names


def compare(sql, delta, what):
    """Every column of SQL is in the Delta table with the same values; stored names differ only in escapes."""
    def nanos(table):
        micros = table.column("time").cast(pa.timestamp("us")).cast(pa.int64()).to_pylist()
        rest = table.column("busbar_time_ns").to_pylist() if "busbar_time_ns" in table.column_names else [None] * len(micros)
        return [m * 1000 + (r or 0) for m, r in zip(micros, rest)]

    times = sql.column("time").cast(pa.timestamp("ns")).cast(pa.int64()).to_pylist()
    delta_times = nanos(delta)
    assert sorted(times) == sorted(delta_times), (what, "times")
    for name in sql.column_names:
        if name == "time":
            continue
        mine = sorted(str((t, exact(v))) for t, v in zip(times, sql.column(name)))
        names = stored_names(delta.column_names, name, what)
        theirs = [sorted(str((t, exact(v))) for t, v in zip(delta_times, delta.column(c))) for c in names]
        assert mine in theirs, (what, name, mine[:3], [t[:3] for t in theirs])


CHECKS = [
    v1_writes_and_understands_errors,
    v2_writes_and_understands_errors,
    v3_writes_and_understands_errors,
    v3_tells_the_client_which_lines_failed,
    mosquitto_publishes_line_protocol_and_json,
    without_tokens_mosquitto_needs_no_password,
    special_names_are_written,
    two_versions_are_flushed,
    a_table_by_month_with_a_scale_is_written,
    it_stops_in_order_and_starts_again,
    other_engines_read_the_same_rows,
    other_engines_read_decimals_and_what_is_none_beside_them,
    other_engines_see_both_versions_until_compaction,
]


def main():
    folder = tempfile.mkdtemp(prefix="busbar-clients-")
    engine = Engine(sys.argv[1], folder)
    passed = failed = 0
    try:
        engine.start()
        for check in CHECKS:
            name = check.__name__.replace("_", " ")
            try:
                check(engine)
                passed += 1
                print(f"ok      {name}", flush=True)
            except Exception as error:  # every check is run and told
                failed += 1
                print(f"FAILED  {name}: {type(error).__name__}: {error}", flush=True)
        engine.stop()
    finally:
        engine.kill()
        shutil.rmtree(folder)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
