"""Creates the tables and views of schema.sql in the settings' database, and sets how long rows stay in them."""

from __future__ import annotations

from pathlib import Path

from clickhouse_connect.driver.client import Client

from smartmeter.run import LIVE, Run
from smartmeter.settings import Settings

STATEMENTS = [statement for statement in (Path(__file__).parent / "schema.sql").read_text().split(";\n") if statement.strip()]

AGE_OF = {
    "daily_energy": "date",
    "thresholds": "date",
    "alerts": "date",
    "power_profile": "minute",
    "late": "date",
    "dead_letter": "received",
    "refused": "received",
}
"""Tables whose rows leave after a time -> the column with the start of that time. Rows of other tables stay."""


def database(settings: Settings, run: Run) -> str:
    """The database of a run's results."""
    return f"{settings.clickhouse.database}_{run.into}" if run.into else settings.clickhouse.database


def create(client: Client, settings: Settings, run: Run = LIVE) -> None:
    """Create what is missing, replace the views, set how long rows stay, and make the database the client's default.

    Data stays unchanged, except for rows older than retention_days or profile_days.
    """
    client.command("CREATE DATABASE IF NOT EXISTS {name:Identifier}", parameters={"name": database(settings, run)})
    client.database = database(settings, run)
    for statement in STATEMENTS:
        client.command(statement)
    _retain(client, dict.fromkeys(AGE_OF, settings.clickhouse.retention_days) | {"power_profile": settings.clickhouse.profile_days})


def _retain(client: Client, days_of: dict[str, int]) -> None:
    """Set the days after which rows leave each table; 0: never. It alters only tables whose setting changes, as that rewrites them."""
    found = client.query(
        "SELECT name, extract(engine_full, ' TTL (.*?)(?: SETTINGS |$)') FROM system.tables WHERE database = currentDatabase()"
    )
    present = {name: ttl for [name, ttl] in found.result_rows}
    for table, column in AGE_OF.items():
        days = days_of[table]
        wanted = f"{column} + toIntervalDay({days})" if days else ""  # in ClickHouse's own spelling
        if present[table] != wanted:
            client.command(f"ALTER TABLE {table} " + (f"MODIFY TTL {wanted}" if days else "REMOVE TTL"))
