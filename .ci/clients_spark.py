"""PySpark reads the live files of tables as `deltalake` lists them, after compaction.

Usage: clients_spark.py PATH-OF-BUSBAR. Prints a line per check and ends with 'N passed, N failed'.

Spark reads Parquet here and no Delta log: its Delta reader is a download of jars that PyPI does not have.
"""

import shutil
import sys
import tempfile
import time
import urllib.parse

from influxdb import InfluxDBClient
from pyspark.sql import SparkSession, functions

from clients import TOKEN, TOKENS, Engine, compare, delta_table

DATABASE = "odd"
TABLES = ["°C", "µg/m³", "a b"]
# A day has settled as soon as the engine is started again.
CONFIG = TOKENS + '[compaction]\nsettle = "1s"\n'
DAY = 86_400
START = 1_767_225_600
PARTS = 3
ROWS = 200
# Rows of a part that are not in the one before.
FRESH = 150


def lines(part):
    """Rows of a part: each part overwrites a quarter of the one before, and the second brings floats where the first
    had whole numbers."""
    for table in TABLES:
        name = table.replace(" ", r"\ ")
        for number in range(part * FRESH, part * FRESH + ROWS):
            nanos = (START + number * DAY // 100) * 10**9 + number % 3
            widened = f"{number}i" if part == 0 else f"{number}.25"
            yield (f"{name},room\\ no={number % 5},µ=m³ Value={number},value={number + part}i,on={'tf'[number % 2]},"
                   f"unsigned={2**64 - 1 - number}u,big={2**53 + 1 + number}i,widened={widened},"
                   f'text="°C {number}, µg/m³",time\\ of={part}i {nanos}')


def write(engine):
    client = InfluxDBClient(host="127.0.0.1", port=engine.http, username="any", password=TOKEN, database=DATABASE)
    for part in range(PARTS):
        assert client.write(list(lines(part)), {"db": DATABASE}, 204, "line")
        # Ending in order flushes what is in memory.
        engine.stop()
        engine.start()


def merged(engine):
    """Waits until each day has one file: those of two parts are merged."""
    folder = "regexp_replace(path, '/[^/]*$', '')"
    sql = f"SELECT max(n) AS n FROM (SELECT count(*) AS n FROM system.files GROUP BY {folder})"
    time.sleep(1.5)
    engine.stop()
    engine.start()
    for _ in range(300):
        if engine.rows(DATABASE, sql) == [{"n": 1}]:
            return
        time.sleep(0.1)
    raise AssertionError(f"the files are not merged: {engine.rows(DATABASE, sql)}")


def session():
    settings = {
        "spark.sql.caseSensitive": "true",
        "spark.sql.session.timeZone": "UTC",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": "1g",
    }
    builder = SparkSession.builder.master("local[2]").appName("busbar")
    for name, value in settings.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def column(name):
    return functions.col("`" + name.replace("`", "``") + "`")


def folded(read):
    """A field that has been whole numbers and floats has two columns, of which one is null."""
    both = [name for name in read.columns if f"busbar_f64_{name}" in read.columns]
    for name in both:
        value = functions.coalesce(column(f"busbar_f64_{name}"), column(name).cast("double"))
        read = read.withColumn(name, value)
    return both, read


def spark_reads_the_same_rows(engine, spark, table):
    mine = engine.sql(DATABASE, f'SELECT * FROM "{table}"')
    assert mine.num_rows == PARTS * FRESH + ROWS - FRESH, (table, mine.num_rows)
    uris = delta_table(engine, DATABASE, table).file_uris()
    files = [urllib.parse.unquote(uri.removeprefix("file://")) for uri in uris]
    both, read = folded(spark.read.option("mergeSchema", "true").parquet(*files))
    assert both == ["widened"], (table, both)
    assert read.schema["unsigned"].dataType.simpleString() == "decimal(20,0)", read.schema
    assert read.count() == mine.num_rows, (table, read.count(), mine.num_rows)
    compare(mine, read.toArrow(), f"{DATABASE}.{table}")


def main():
    folder = tempfile.mkdtemp(prefix="busbar-spark-")
    engine, spark = Engine(sys.argv[1], folder, CONFIG), None
    passed = failed = 0
    try:
        engine.start()
        write(engine)
        merged(engine)
        spark = session()
        for table in TABLES:
            try:
                spark_reads_the_same_rows(engine, spark, table)
                passed += 1
                print(f"ok      Spark {spark.version} reads {table} as SQL does", flush=True)
            except Exception as error:  # every table is read and told
                failed += 1
                print(f"FAILED  {table}: {type(error).__name__}: {error}", flush=True)
        engine.stop()
    finally:
        if spark is not None:
            spark.stop()
        engine.kill()
        shutil.rmtree(folder)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
