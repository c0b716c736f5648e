"""Real clients of ClickHouse, in Java and Python, at the endpoint."""

from __future__ import annotations

import subprocess
from urllib.parse import urlsplit

import clickhouse_connect
import pytest
import sqlalchemy

from smartmeter.settings import ROOT
from tests.clients.conftest import SUM


@pytest.mark.parametrize("version", ["0.9.4", "0.10.0"])
def test_jdbc(late, columns, version):
    base = f"jdbc:clickhouse://{urlsplit(late.clickhouse.url).netloc}/{late.clickhouse.database}"
    urls = [f"{base}?{options}" for options in ("", "compress=false", "clickhouse.jdbc.v1=true", "clickhouse.jdbc.v1=true&compress=false")]
    run = subprocess.run(
        [
            "java",
            "-cp",
            f"{ROOT}/jars/jdbc/{version}/*",
            f"{ROOT}/tests/clients/T.java",
            late.clickhouse.database,
            late.clickhouse.reader_password,
            *urls,
        ],
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert (run.returncode, run.stdout.split("\n")) == (0, [f"1 9|{SUM}|1|{columns}|O'Brien|60"] * 4 + [""]), run.stderr


def test_sqlalchemy_with_reflection(late, columns):
    address = urlsplit(late.clickhouse.url)
    engine = sqlalchemy.create_engine(
        sqlalchemy.URL.create(
            "clickhousedb", "reader", late.clickhouse.reader_password, address.hostname, address.port, late.clickhouse.database
        )
    )
    with engine.connect() as connection:
        about = sqlalchemy.inspect(engine)
        assert "late" in about.get_table_names() and len(about.get_columns("late")) == columns
        table = sqlalchemy.Table("late", sqlalchemy.MetaData(), autoload_with=engine)
        assert connection.execute(sqlalchemy.select(table.c.offset)).all() == [(9,)]
        assert connection.execute(sqlalchemy.text("SELECT count() FROM late WHERE reason = :reason"), {"reason": "closed"}).scalar() == 1
        assert connection.execute(sqlalchemy.text("SELECT sum(number) FROM numbers(200000)")).scalar() == SUM


def test_clickhouse_connect(late, columns):
    address = urlsplit(late.clickhouse.url)
    client = clickhouse_connect.get_client(
        host=address.hostname,
        port=address.port,
        username="reader",
        password=late.clickhouse.reader_password,
        database=late.clickhouse.database,
    )
    result = client.query("SELECT offset FROM late")
    assert result.result_rows == [(9,)]
    assert (result.summary["result_rows"], result.summary["read_rows"]) == ("1", "1")
    assert len(client.query("DESCRIBE TABLE `late`").result_rows) == columns
