"""What the dashboard and ./smw read runs on a server, too: with the profile of the reader in docker/clickhouse-users.xml, on the real engine.

The endpoint here adds no rules of its own for readers, and leaves all to the engine, as a server does.
"""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

import commands
from commands import sql
from dashboard import queries
from generator import scoring
from smartmeter.settings import ROOT
from stack import services
from store import client, engine, schema
from tests.dashboard import results
from tests.dashboard.results import MON, OVEN, SPRING, SUN
from tests.ports import on_free_ports
from tests.waiting import STILL_S, until

AS_A_SERVER = """
import sys
from pathlib import Path
from store import endpoint, engine

def with_the_profile(session, query, streamed):
    if not query.reader:
        return of_endpoint(session, query, streamed)
    session.query(f"SET readonly = {sys.argv[2]}")
    for name, value in query.settings.items():
        session.query(f"SET {name} = {engine._quote(value)}")

engine.CONFIG = Path(sys.argv[1])
of_endpoint, engine._set = engine._set, with_the_profile
sys.exit(endpoint.main())
"""
DAYS = (SPRING, MON)
TIMES = (datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 27, tzinfo=UTC))
SECONDS = tuple(int(time.timestamp()) for time in TIMES)
OF_DASHBOARD = {
    "has_tables": (),
    "houses": (),
    "timezones": (),
    "meters": (1,),
    "totals": (),
    "health": (),
    "dead_letters": (20,),
    "energy_of_all": DAYS,
    "doubtful_days": (*DAYS, 0, 9),
    "sparse_meters": (0, 9),
    "register_faults": (*DAYS, 0, 9),
    "register_differences": (*DAYS, 0, 9),
    "energy_of_house": (1, *DAYS),
    "zip_median": ("10001", *DAYS),
    "power": (1, [1, 3], *SECONDS, 60),
    "balance": (1, *DAYS),
    "energy_by_hour": (1, *DAYS),
    "appliance_energy": (1, *DAYS),
    "thresholds": (1, [1, 3], *TIMES),
    "energy_by_zip": DAYS,
    "alert_counts": (),
    "alerts": (9,),
    "alert": (OVEN,),
    "alerts_between": (1, [1, 3], *TIMES),
    "alert_labels": (),
    "rules": (1,),
    "newest": (1,),
    "replayed": (*DAYS, 0),
    "made_since": (*DAYS, 0, 0),
    "of_user": ("SELECT * FROM daily_energy_by_label ORDER BY ALL", 9),
}
"""Function of dashboard/queries.py -> arguments."""
EMPTY = {"sparse_meters", "register_faults", "register_differences"}
"""Those of them that find nothing in results.py."""
COMMANDS = [
    importlib.import_module(f"commands.{found.name}") for found in pkgutil.iter_modules(commands.__path__) if found.name != "__main__"
]
OF_SMW = sorted(
    value
    for module in [*COMMANDS, scoring]
    for value in vars(module).values()
    if isinstance(value, str) and re.match(r"\s*(SELECT|WITH|EXISTS)\s", value)
)
"""The statements of ./smw."""
CONSTRAINT_VIOLATION = 452
PARAMETERS = {"houses": [1], "first": SUN, "begun": 2**62}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Settings whose .clickhouse_url is an endpoint that treats readers as a server does. Its tables hold the results of results.py."""
    settings = on_free_ports(tmp_path_factory.mktemp("server"))
    profile = ElementTree.parse(ROOT / "docker" / "clickhouse-users.xml").find("profiles/reader")
    readonly = profile.find("readonly")  # the engine has one user, which also writes, so the endpoint sets this one for readers
    profile.remove(readonly)
    within = "".join(ElementTree.tostring(child, "unicode") for child in profile)
    users, config = ((Path(engine.CONFIG).parent / name).read_text() for name in ("users.xml", "config.xml"))
    (settings.stack.home / "users.xml").write_text(users.replace("</default>\n    </profiles>", f"{within}</default></profiles>"))
    (settings.stack.home / "config.xml").write_text(config)
    process = subprocess.Popen(
        [sys.executable, "-c", AS_A_SERVER, str(settings.stack.home / "config.xml"), readonly.text], env=os.environ | settings.environ()
    )
    try:
        until(lambda: services.endpoint_answers(settings))
        writer = client.writer(settings)
        schema.create(writer, settings)
        results.insert_all(writer)
        yield settings
    finally:
        process.terminate()
        process.wait(timeout=STILL_S)


@pytest.fixture(scope="module")
def reader(server):
    return client.reader(server)


def test_each_function_of_the_dashboard_is_here():
    functions = inspect.getmembers(queries, inspect.isfunction)
    assert OF_DASHBOARD.keys() == {
        name for name, function in functions if not name.startswith("_") and "db" in inspect.signature(function).parameters
    }


@pytest.mark.parametrize("name", OF_DASHBOARD)
def test_what_the_dashboard_reads(reader, name):
    found = getattr(queries, name)(reader, *OF_DASHBOARD[name])
    assert (len(found) == 0) == (name in EMPTY) if isinstance(found, pd.DataFrame | list) else found, name


def test_what_smw_reads(reader):
    assert len(OF_SMW) >= 10
    for statement in OF_SMW:
        assert reader.query(statement, parameters=PARAMETERS if "{houses:" in statement else None).result_rows, statement
    assert [len(reader.raw_query("SELECT 1 FROM alert_list", fmt=form).splitlines()) for form in sql.FORMATS.values()] == [5, 4]


def test_a_reader_may_change_settings_up_to_the_limits(reader):
    def code(settings: str) -> int:
        with pytest.raises(DatabaseError) as error:
            reader.query(f"SELECT 1 SETTINGS {settings}")
        return error.value.code

    of_drivers = "max_threads = 1, result_overflow_mode = 'break', max_execution_time = 30"
    assert reader.query(f"SELECT getSetting('final') SETTINGS {of_drivers}").result_rows == [(True,)]
    assert {code(beyond) for beyond in ("max_execution_time = 61", "max_execution_time = 0", "max_memory_usage = 0")} == {
        CONSTRAINT_VIOLATION
    }
    assert code("readonly = 0") == engine.READONLY


def test_the_writers_batches_are_stored_at_once(server):
    assert client.writer(server).query("SELECT getSetting('async_insert')").result_rows == [(False,)]
