"""Fixtures of the store's tests: clients of a real endpoint on a database that belongs to one test alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from smartmeter.settings import Settings
from stack import services
from store import client, schema
from tests.ports import on_free_ports
from tests.waiting import STILL_S, until

SHARED = "shared"
"""The database of the tests that change no table."""


@pytest.fixture(autouse=True)
def databases_end_with_their_test(request):
    """Drop the databases that a test has made: the engine looks after the tables of all, all the time."""
    if "clickhouse" not in request.fixturenames:
        yield
        return
    writer = client.writer(request.getfixturevalue("clickhouse"))
    before = databases(writer)
    yield
    for name in databases(writer) - before - {SHARED}:
        writer.command(f"DROP DATABASE {name}")
    writer.close()


def databases(writer) -> set[str]:
    return set(writer.query("SHOW DATABASES").result_columns[0])


@pytest.fixture(scope="session")
def shared_database(clickhouse):
    """Settings with a database that has all tables and views: to make one takes half a second."""
    settings = clickhouse.but(clickhouse_database=SHARED)
    schema.create(client.writer(settings), settings)
    return settings


@pytest.fixture
def database(shared_database):
    """Settings with a database that has all tables and views, and no row. Its tables stay as they are."""
    yield shared_database
    writer = client.writer(shared_database, shared_database.clickhouse.database)
    filled = "SELECT name FROM system.tables WHERE database = currentDatabase() AND total_rows > 0 AND name != 'migrations'"
    for [table] in writer.query(filled).result_rows:
        writer.command(f"TRUNCATE TABLE {table}")
    writer.close()


@pytest.fixture
def own_database(clickhouse, request):
    """(settings, a client of the writer) of a database with all tables and views, which the test may change."""
    settings = clickhouse.but(clickhouse_database=request.node.originalname)
    writer = client.writer(settings)
    schema.create(writer, settings)
    return settings, writer


@pytest.fixture
def writer(database):
    return client.writer(database, database.clickhouse.database)


@pytest.fixture
def reader(database):
    return client.reader(database)


class OwnEndpoint:
    """An endpoint of one test, which may kill it and start it again on the same port and folder."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.process = None

    def start(self) -> None:
        self.process = run_endpoint(self.settings)
        until(lambda: services.endpoint_answers(self.settings))

    def end(self, number: int) -> int:
        """Send a signal and wait for the end. Returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=STILL_S)


@pytest.fixture
def own_endpoint(tmp_path):
    endpoint = OwnEndpoint(on_free_ports(tmp_path))
    try:
        endpoint.start()
        yield endpoint
    finally:
        endpoint.end(signal.SIGKILL)


def run_endpoint(settings: Settings) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "store.endpoint"],
        env=os.environ | settings.environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
