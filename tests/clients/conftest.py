"""A database with one late record, for clients of ClickHouse to read."""

from __future__ import annotations

import pytest

from store import client, schema
from store.sink import COLUMNS

LATE = [3, 9, 7, 0, 0, 1, 2, 0.5, 1, "closed"]
SUM = 200_000 * 199_999 // 2


@pytest.fixture(scope="module")
def late(clickhouse, request):
    """Settings with a database of the module's own, whose table late has one row of offset 9."""
    settings = clickhouse.but(clickhouse_database=f"smartmeter_{request.module.__name__.rpartition('.')[2]}")
    writer = client.writer(settings)
    schema.create(writer, settings)
    writer.insert(f"{settings.clickhouse.database}.late", [LATE], column_names=COLUMNS["late"])
    return settings


@pytest.fixture(scope="module")
def columns(late):
    """How many columns the table late has."""
    return len(client.reader(late).query("DESCRIBE TABLE late").result_rows)
