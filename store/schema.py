"""The tables and views of schema.sql, made in the database that the settings name, and how long rows stay in them."""

from __future__ import annotations

from pathlib import Path

from clickhouse_connect.driver.client import Client

from smartmeter.settings import Settings

STATEMENTS = [part for part in (Path(__file__).parent / "schema.sql").read_text().split(";\n") if part.strip()]

AGE_OF = {"daily_energy": "date", "thresholds": "date", "alerts": "date", "power_profile": "minute", "late": "date",
          "dead_letter": "received", "refused": "received"}
"""Tables whose rows leave after a time -> the column that it counts from. The others are kept."""


def create(client: Client, settings: Settings) -> None:
    """Create what is missing, replace the views, set how long rows stay, and set the client to that database.

    Data stay as they are, but for rows that are older than retention_days, or profile_days.
    """
    client.command("CREATE DATABASE IF NOT EXISTS {name:Identifier}", parameters={"name": settings.database})
    client.database = settings.database
    for statement in STATEMENTS:
        client.command(statement)
    _retain(client, dict.fromkeys(AGE_OF, settings.retention_days) | {"power_profile": settings.profile_days})


def _retain(client: Client, days_of: dict[str, int]) -> None:
    """Let the rows of each table leave after so many days, or never with 0. Only one where that changes is altered: that rewrites it."""
    found = client.query(
        "SELECT name, extract(engine_full, ' TTL (.*?)(?: SETTINGS |$)') FROM system.tables WHERE database = currentDatabase()")
    present = {name: ttl for [name, ttl] in found.result_rows}
    for table, column in AGE_OF.items():
        days = days_of[table]
        wanted = f"{column} + toIntervalDay({days})" if days else ""  # spelt as ClickHouse spells it
        if present[table] != wanted:
            client.command(f"ALTER TABLE {table} " + (f"MODIFY TTL {wanted}" if days else "REMOVE TTL"))
