"""What the dashboard and ./smw read runs on a server, too, and on a cluster: on the real engine, with the reader's profile for servers.

The endpoint here adds no rules of its own for readers, and leaves all to the engine, as a server does. The engine takes itself for a cluster of
two shards. Both read the same tables, of which a row policy shows each shard its own rows.
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
from smartmeter.errors import UserError
from smartmeter.settings import ROOT
from stack import services
from store import client, engine, schema, spread
from store.sink import COLUMNS
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
    "house_parts": DAYS,
    "houses": (9,),
    "house": (1,),
    "days": (),
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
EMPTY = {"sparse_meters", "register_faults", "register_differences", "sum_check"}
"""Those of them, and of the views, that find nothing in results.py."""
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
OF_VIEWS = [f"SELECT * EXCEPT (stored) FROM {view}" for view in re.findall(r"VIEW (\w+)", " ".join(schema.VIEWS))]
PARAMETERS = {"houses": [1], "first": SUN, "begun": 2**62}


CLUSTER, DATABASE = "two", "smartmeter_on_cluster"
SHARD = "<shard><replica><host>127.0.0.1</host><port>9000</port></replica></shard>"
AS_A_CLUSTER = f"<tcp_port>9000</tcp_port><remote_servers><{CLUSTER}>{SHARD * 2}</{CLUSTER}></remote_servers></clickhouse>"
OWN_ROWS = "".join(
    f"<{table}_local><filter>{spread.shard(table)} % 2 = shardNum() - 1</filter></{table}_local>" for table in ("migrations", *COLUMNS)
)
ELSEWHERE = "smartmeter_elsewhere"


USERS = ElementTree.parse(ROOT / "docker" / "clickhouse-users.xml")


def rights_of_the_writer() -> str:
    """What it may do on a server, and what docs/clients.md adds for a cluster."""
    own = [grant.text for grant in USERS.findall("users/writer/grants/query")]
    of_cluster = re.findall(r"^    (GRANT .*) TO writer$", (ROOT / "docs" / "clients.md").read_text(), re.MULTILINE)
    return "".join(f"<query>{grant.replace('smartmeter.', f'{DATABASE}.')}</query>" for grant in own + of_cluster)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Settings whose .clickhouse_url is an endpoint that treats readers as a server does. Its tables hold the results of results.py."""
    settings = on_free_ports(tmp_path_factory.mktemp("server"))
    profile = USERS.find("profiles/reader")
    readonly = profile.find("readonly")  # the engine has one user, which also writes, so the endpoint sets this one for readers
    profile.remove(readonly)
    within = "".join(ElementTree.tostring(child, "unicode") for child in profile)
    users, config = ((Path(engine.CONFIG).parent / name).read_text() for name in ("users.xml", "config.xml"))
    users = users.replace("</default>\n    </profiles>", f"{within}</default></profiles>")
    rights = f"<grants>{rights_of_the_writer()}</grants><databases><{DATABASE}>{OWN_ROWS}</{DATABASE}></databases>"
    (settings.stack.home / "users.xml").write_text(re.sub("<grants>.*</grants>", rights, users, flags=re.DOTALL))
    (settings.stack.home / "config.xml").write_text(config.replace("</clickhouse>", AS_A_CLUSTER))
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


@pytest.fixture(scope="module")
def cluster(server):
    """Settings of the same with tables that are spread over the two shards."""
    return server.but(clickhouse_database=DATABASE, clickhouse_cluster=CLUSTER, retention_days=3650, profile_days=3650)


@pytest.fixture(scope="module")
def statements(cluster):
    """What the sink has sent to create these tables. They hold the results of results.py.

    Only a server runs a statement on a cluster and replicates tables: the engine parses it, and then runs what is left without that, with
    another default database, as a cluster's servers do.
    """
    writer, sent = client.writer(cluster), []
    run = writer.command
    run(f"CREATE DATABASE {ELSEWHERE}")

    def on_one_engine(statement: str, **rest) -> None:
        sent.append(statement)
        database, writer.database = writer.database, ELSEWHERE
        run(f"EXPLAIN AST {statement}", **rest)
        alone = re.sub(r"Replicated(ReplacingMergeTree)\('[^']*', '{replica}'(, )?", r"\1(", statement)
        run(alone.replace(spread.on_cluster(CLUSTER), "").replace(f"SETTINGS {spread.EVERY_INSERT}", ""), **rest)
        writer.database = database

    writer.command = on_one_engine
    schema.create(writer, cluster)
    schema.execute(writer, cluster, "DELETE FROM thresholds WHERE house_id = 9")
    results.insert_all(writer)
    return sent


@pytest.fixture(scope="module")
def reader_of_cluster(cluster, statements):
    """A reader whose time zone is not the tables'."""
    reader = client.reader(cluster)
    reader.set_client_setting("session_timezone", "Pacific/Auckland")
    return reader


def test_each_function_of_the_dashboard_is_here():
    functions = inspect.getmembers(queries, inspect.isfunction)
    assert OF_DASHBOARD.keys() == {
        name for name, function in functions if not name.startswith("_") and "db" in inspect.signature(function).parameters
    }


@pytest.mark.parametrize("name", OF_DASHBOARD)
def test_what_the_dashboard_reads(reader, reader_of_cluster, name):
    found, of_cluster = (getattr(queries, name)(one, *OF_DASHBOARD[name]) for one in (reader, reader_of_cluster))
    if isinstance(found, tuple) and isinstance(found[0], pd.DataFrame):
        found, of_cluster = found[0], of_cluster[0]
    if isinstance(found, pd.DataFrame):
        assert found.empty == (name in EMPTY)
        pd.testing.assert_frame_equal(*(one.drop(columns="stored", errors="ignore") for one in (found, of_cluster)))
    else:
        assert found and found == of_cluster


@pytest.mark.parametrize("statement", OF_SMW + OF_VIEWS)
def test_what_smw_reads_and_the_views_have(reader, reader_of_cluster, statement):
    parameters = PARAMETERS if "{houses:" in statement else None
    found, of_cluster = (sorted(one.query(statement, parameters=parameters).result_rows, key=str) for one in (reader, reader_of_cluster))
    pd.testing.assert_frame_equal(pd.DataFrame(found), pd.DataFrame(of_cluster))
    assert bool(found) == (statement.split()[-1] not in EMPTY)


def test_the_forms_of_smw_sql(reader):
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


def test_the_writers_batches_are_stored_at_once_and_on_all_shards(server, cluster):
    setting = "SELECT getSetting('async_insert'), getSetting('distributed_foreground_insert')"
    assert [client.writer(settings).query(setting).first_row for settings in (server, cluster)] == [(False, False), (False, True)]


def test_the_tables_are_made_on_all_servers(statements):
    assert all(spread.on_cluster(CLUSTER) in statement for statement in statements)
    aged = {
        found[1] for statement in statements if (found := re.match(rf"ALTER TABLE `{DATABASE}`\.(\w+)_local .* MODIFY TTL ", statement))
    }
    assert aged == schema.AGE_OF.keys()


def test_a_row_that_comes_again_meets_the_first_one_on_its_shard(cluster, reader_of_cluster):
    results.insert_all(client.writer(cluster, cluster.clickhouse.database))
    count = "SELECT count() FROM daily_energy"
    assert [reader_of_cluster.query(f"{count} SETTINGS final = {final}").first_row for final in (0, 1)] == [(62,), (31,)]
    by_shard = "SELECT _shard_num, arraySort(groupUniqArray(house_id)) FROM daily_energy GROUP BY 1 ORDER BY 1"
    assert reader_of_cluster.query(by_shard).result_rows == [(1, [1, 3, 4, 5, 6]), (2, [2])]


def test_tables_of_one_server_are_not_taken_for_those_of_a_cluster(server, cluster, statements):
    for settings, reason in (
        (server.but(clickhouse_cluster=CLUSTER), "smartmeter are not spread over a cluster: unset SMW_CLICKHOUSE_CLUSTER, or set"),
        (cluster.but(clickhouse_cluster=""), f"{DATABASE} are spread over a cluster: set SMW_CLICKHOUSE_CLUSTER, or set"),
    ):
        with pytest.raises(
            UserError, match=f"^the tables of the ClickHouse database {reason} SMW_CLICKHOUSE_DATABASE to another database$"
        ):
            schema.create(client.writer(settings), settings)
