"""SQL for tables that are spread over a ClickHouse cluster, from that for the tables of one server.

The rows of a shard are in its tables NAME_local, which its replicas share. The tables NAME are Distributed: they have no rows, and read and
write those of all shards. Rows that replace each other have the same shard, as it follows from a part of their key. So FINAL, which each shard
applies to its own rows, finds them all.
"""

from __future__ import annotations

import re

from clickhouse_connect.driver.binding import quote_identifier

SHARDED_BY = {"migrations": "number", "dead_letter": "offset", "refused": "offset"}
"""Table -> column whose value decides a row's shard; house_id for all others."""
ENGINE = "ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}'"
"""The servers' macros shard and replica, and the names of the table, make these paths in Keeper."""
EVERY_INSERT = "replicated_deduplication_window = 0"
"""A replicated table would drop an insert that repeats an earlier one, also where the rows have been deleted in between."""


def on_cluster(cluster: str) -> str:
    """The clause by which a statement runs on all servers of a cluster."""
    return f" ON CLUSTER {quote_identifier(cluster)}"


def shard(table: str) -> str:
    """The expression that decides a row's shard: modulo the sum of the shards' weights."""
    return f"intHash64({SHARDED_BY.get(table, 'house_id')})"


def spread(statement: str, cluster: str, database: str) -> list[str]:
    """What a statement about a table or view of a database becomes on a cluster.

    Tables are named with their database: a server that runs a statement for another one has the default database.
    """
    found = re.search(r"^(CREATE TABLE IF NOT EXISTS|ALTER TABLE|DELETE FROM|CREATE OR REPLACE VIEW) (\w+)", statement, re.MULTILINE)
    assert found, statement
    verb, name = found.groups()
    database = quote_identifier(database)
    on_all, rest = f"{verb} {database}.{name}{on_cluster(cluster)}", statement[found.end() :]
    on_shards = f"{verb} {database}.{name}_local{on_cluster(cluster)}"
    match verb:
        case "CREATE OR REPLACE VIEW":
            return [on_all + re.sub(r"\b(FROM|(?<!ARRAY )JOIN) (?=\w)", rf"\1 {database}.", rest)]
        case "CREATE TABLE IF NOT EXISTS":
            rest = re.sub(r"\bReplacingMergeTree(\((.*)\))?", lambda engine: f"{ENGINE}{', ' + engine[2] if engine[1] else ''})", rest)
            rest = rest.replace("\nCOMMENT", f"\nSETTINGS {EVERY_INSERT}\nCOMMENT")
            of_all = f"Distributed({quote_identifier(cluster)}, {database}, {name}_local, {shard(name)})"
            return [on_shards + rest, f"{on_all} AS {database}.{name}_local ENGINE = {of_all}"]
        case "ALTER TABLE":
            columns = ",\n".join(line.rstrip(",") for line in rest.splitlines() if line.startswith("    ADD COLUMN "))
            return [on_shards + rest, *([f"{on_all}\n{columns}"] if columns else [])]  # all else does not concern what has no rows
        case _:
            return [on_shards + rest]
