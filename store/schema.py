"""Creates the tables and views of schema.sql in the settings' database, migrates tables of earlier releases, and sets how long rows stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clickhouse_connect.driver.client import Client

from smartmeter.errors import UserError
from smartmeter.run import LIVE, Run
from smartmeter.settings import Settings
from store.spread import on_cluster, spread

STORE = Path(__file__).parent


def statements(file: Path) -> list[str]:
    """The statements of a file of SQL; each ends in a semicolon at its line's end."""
    return [statement for statement in file.read_text().split(";\n") if statement.strip()]


STATEMENTS = statements(STORE / "schema.sql")
VIEWS = [statement for statement in STATEMENTS if "CREATE OR REPLACE VIEW" in statement]
TABLES = [statement for statement in STATEMENTS if statement not in VIEWS]
MIGRATIONS = {int(file.stem.split("_")[0]): file for file in (STORE / "migrations").glob("*.sql")}
"""Number -> what it changes in tables of earlier releases. A migration does no harm to a table that has its change already, so it may be
repeated after a crash."""

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
    """Create what is missing, migrate what was there, replace the views, set how long rows stay, and make the database the client's default.

    Data stays unchanged, except for rows older than retention_days or profile_days. Raises UserError if a later release has migrated it, or if
    its tables are those of one server and the settings name a cluster, or the other way round.
    """
    name, cluster = database(settings, run), settings.clickhouse.cluster
    _require_likewise(client, name, cluster)
    on_all = on_cluster(cluster) if cluster else ""
    client.command(f"CREATE DATABASE IF NOT EXISTS {{name:Identifier}}{on_all}", parameters={"name": name})
    client.database = name
    is_new = not client.query("SHOW TABLES").result_rows
    for statement in TABLES:
        execute(client, settings, statement)
    if is_new:
        _record(client, MIGRATIONS)
    else:
        migrate(client, settings, MIGRATIONS)
    for statement in VIEWS:
        execute(client, settings, statement)
    _retain(client, settings)


def execute(client: Client, settings: Settings, statement: str, parameters: dict[str, Any] | None = None) -> None:
    """Run a statement that makes or changes a table or view of the client's database, on the server or on all of the settings' cluster."""
    cluster = settings.clickhouse.cluster
    for own in spread(statement, cluster, str(client.database)) if cluster else [statement]:
        client.command(own, parameters=parameters)


def migrate(client: Client, settings: Settings, migrations: dict[int, Path]) -> None:
    """Make those changes that the client's database lacks, by their numbers. Each is recorded once all of its statements have run."""
    done = {number for [number] in client.query("SELECT DISTINCT number FROM migrations").result_rows}
    if later := done - migrations.keys():
        raise UserError(
            f"the ClickHouse database {client.database} was migrated by a later release (to number {max(later)}, this one knows "
            f"{max(migrations)}): run that release, or set SMW_CLICKHOUSE_DATABASE to another database"
        )
    for number in sorted(migrations.keys() - done):
        for statement in statements(migrations[number]):
            execute(client, settings, statement)
        _record(client, {number: migrations[number]})


def _record(client: Client, migrations: dict[int, Path]) -> None:
    """Note that the tables have the changes of these migrations."""
    client.insert("migrations", [(number, file.stem) for number, file in migrations.items()], column_names=("number", "name"))


def _require_likewise(client: Client, name: str, cluster: str) -> None:
    """Raise UserError if the tables of a database are spread over a cluster, and shall not be, or the other way round."""
    found = client.query(
        "SELECT engine = 'Distributed' FROM system.tables WHERE database = {name:String} AND name = 'daily_energy'",
        parameters={"name": name},
    )
    for [is_spread] in found.result_rows:
        if is_spread != bool(cluster):
            raise UserError(
                f"the tables of the ClickHouse database {name} are {'' if is_spread else 'not '}spread over a cluster: "
                f"{'set' if is_spread else 'unset'} SMW_CLICKHOUSE_CLUSTER, or set SMW_CLICKHOUSE_DATABASE to another database"
            )


def _retain(client: Client, settings: Settings) -> None:
    """Set the days after which rows leave each table; 0: never. It alters only tables whose setting changes, as that rewrites them."""
    found = client.query(
        "SELECT replaceRegexpOne(name, '_local$', ''), extract(engine_full, ' TTL (.*?)(?: SETTINGS |$)') FROM system.tables "
        "WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
    )
    present = {name: ttl for [name, ttl] in found.result_rows}
    for table, column in AGE_OF.items():
        days = settings.clickhouse.profile_days if table == "power_profile" else settings.clickhouse.retention_days
        wanted = f"{column} + toIntervalDay({days})" if days else ""  # in ClickHouse's own spelling
        if present[table] != wanted:
            execute(client, settings, f"ALTER TABLE {table} " + (f"MODIFY TTL {wanted}" if days else "REMOVE TTL"))
