"""The tables and views of schema.sql, made in the database that the settings name."""

from __future__ import annotations

from pathlib import Path

from clickhouse_connect.driver.client import Client

from smartmeter.settings import Settings

STATEMENTS = [part for part in (Path(__file__).parent / "schema.sql").read_text().split(";\n") if part.strip()]


def create(client: Client, settings: Settings) -> None:
    """Create what is missing, replace the views, and set the client to that database. Data stay as they are."""
    client.command("CREATE DATABASE IF NOT EXISTS {name:Identifier}", parameters={"name": settings.clickhouse_database})
    client.database = settings.clickhouse_database
    for statement in STATEMENTS:
        client.command(statement)
