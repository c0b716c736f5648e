"""The rights that docker/clickhouse-users.xml gives: enough for what each user does, and for nothing else. On the real engine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from commands import older_days
from dashboard import queries
from smartmeter.run import LIVE, Run
from smartmeter.settings import ROOT, Settings
from stack import services
from store import client, engine, errors, schema
from store.sink import COLUMNS
from tests.ports import on_free_ports
from tests.waiting import STILL_S, until

WITH_CONFIG = (
    "import sys; from pathlib import Path; from store import endpoint, engine; engine.CONFIG = Path(sys.argv[1]); sys.exit(endpoint.main())"
)
LATE = [3, 9, 7, 0, 0, 1, 2, 0.5, 1, "closed"]


@contextmanager
def endpoint_with_rights_of(user: str, settings: Settings):
    """An endpoint whose every session has just the rights of a user in docker/clickhouse-users.xml."""
    users = ElementTree.parse(ROOT / "docker" / "clickhouse-users.xml")
    rights = [grant.text for grant in users.findall(f"users/{user}/grants/query")] + [
        "GRANT CREATE DATABASE ON endpoint.*"
    ]  # what it needs itself
    rights = "".join(f"<query>{right}</query>" for right in rights)
    own = Path(engine.CONFIG).parent
    for name in ("config.xml", "users.xml"):
        (settings.stack.home / name).write_text(
            re.sub("<grants>.*</grants>", f"<grants>{rights}</grants>", (own / name).read_text(), flags=re.DOTALL)
        )
    process = subprocess.Popen(
        [sys.executable, "-c", WITH_CONFIG, str(settings.stack.home / "config.xml")],
        env=os.environ | settings.but(clickhouse_database="endpoint").environ(),
    )
    try:
        until(lambda: services.endpoint_answers(settings))
        yield client.writer(settings)
    finally:
        process.terminate()
        process.wait(timeout=STILL_S)


def refused(client, statement: str) -> bool:
    with pytest.raises(DatabaseError) as error:
        client.command(statement)
    return error.value.code == errors.ACCESS_DENIED


def test_the_writer_does_its_work_and_the_reader_reads(tmp_path):
    settings = on_free_ports(tmp_path)
    with endpoint_with_rights_of("writer", settings) as writer:
        of_some_days = settings.but(retention_days=7, profile_days=3)
        for step, run in ((settings, LIVE), (of_some_days, LIVE), (settings, LIVE), (settings, Run(into="again"))):
            schema.create(writer, step, run)
            writer.insert("late", [LATE], column_names=COLUMNS["late"])
        writer.database = settings.clickhouse.database
        days = older_days.OlderDays()
        days.houses, days.first, days.last = {1: "Europe/Berlin"}, date(2026, 3, 1), date(2026, 3, 2)
        older_days.forget_minutes(days, settings)
        writer.command("DELETE FROM thresholds WHERE house_id = 1")
        for statement in (
            "DROP TABLE late",
            "TRUNCATE TABLE late",
            "ALTER TABLE late DELETE WHERE 1",
            "ALTER TABLE late DROP COLUMN reason",
            "RENAME TABLE late TO other",
            "DROP DATABASE smartmeter",
            "CREATE DATABASE other",
            "CREATE USER eve",
            "SELECT * FROM system.users",
            "GRANT SELECT ON *.* TO default",
            "CREATE TABLE t (a Int8) ENGINE = URL('http://127.0.0.1:1/', 'CSV')",
            "SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'a Int8')",
            "SELECT * FROM file('users.xml', 'LineAsString')",
        ):
            assert refused(writer, statement), statement
    with endpoint_with_rights_of("reader", settings) as reader:
        reader.database = settings.clickhouse.database
        assert queries.has_tables(reader)
        assert reader.query("SELECT offset, reason FROM late FINAL").result_rows == [(9, "closed")]
        views = [
            name for (name,) in reader.query("SELECT name FROM system.tables WHERE database = 'smartmeter' AND engine = 'View'").result_rows
        ]
        assert "alert_list" in views and [reader.query(f"SELECT * FROM {view}").result_rows for view in views] == [[]] * len(views)
        for statement in (
            "INSERT INTO late (offset) VALUES (1)",
            "DROP TABLE late",
            "DROP VIEW alert_list",
            "TRUNCATE TABLE late",
            "CREATE TABLE t (a Int8) ENGINE = ReplacingMergeTree ORDER BY a",
            "ALTER TABLE late REMOVE TTL",
            "ALTER TABLE late DELETE WHERE 1",
            "CREATE DATABASE smartmeter_other",
            "SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'a Int8')",
        ):
            assert refused(reader, statement), statement
