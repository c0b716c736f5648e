"""An upper limit for the jobs: Flink reads the topic readings without Python, and discards it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from jobs.flink import flow, kafka_tables
from smartmeter.run import Run
from smartmeter.settings import Settings

if __name__ == "__main__":
    settings, of_run = Settings.load(), Run.load()
    tables = flow.environment("blackhole", settings, of_run)
    kafka_tables.readings(tables, settings, of_run)
    tables.execute_sql("CREATE TABLE blackhole (`value` BYTES, `partition` INT, `offset` BIGINT) WITH ('connector' = 'blackhole')")
    tables.execute_sql("INSERT INTO blackhole SELECT `value`, `partition`, `offset` FROM readings").wait()
