"""What statements of store/schema.sql and of its migrations become on a cluster. tests/store/test_server.py runs them."""

import re

import pytest

from store import schema
from store.spread import SHARDED_BY, spread

KEPT = "replicated_deduplication_window = 0"
PATHS = "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'"


def on_cluster(statement: str) -> list[str]:
    return spread(statement, "meters", "db")


@pytest.mark.parametrize("version, own", [("(updated)", ", updated"), ("(updated, gone)", ", updated, gone"), ("", "")])
def test_a_table_holds_the_rows_of_a_shard_and_another_reads_all_shards(version, own):
    table = f"-- Houses.\nCREATE TABLE IF NOT EXISTS houses\n(\n    house_id Int64 COMMENT 'its number'\n)\nENGINE = ReplacingMergeTree{version}\n"
    assert on_cluster(f"{table}ORDER BY house_id\nCOMMENT 'Houses'") == [
        "CREATE TABLE IF NOT EXISTS `db`.houses_local ON CLUSTER `meters`\n(\n    house_id Int64 COMMENT 'its number'\n)\n"
        f"ENGINE = ReplicatedReplacingMergeTree({PATHS}{own})\nORDER BY house_id\nSETTINGS {KEPT}\nCOMMENT 'Houses'",
        "CREATE TABLE IF NOT EXISTS `db`.houses ON CLUSTER `meters` AS `db`.houses_local "
        "ENGINE = Distributed(`meters`, `db`, houses_local, intHash64(house_id))",
    ]


def test_columns_are_added_to_both_tables_and_the_rest_changes_the_one_with_rows():
    change = "ALTER TABLE alerts\n    ADD COLUMN kind String COMMENT 'a, b' AFTER revision,\n    ADD COLUMN rule String,\n    MODIFY ORDER BY (a, b)"
    assert on_cluster(change) == [
        change.replace("alerts", "`db`.alerts_local ON CLUSTER `meters`"),
        "ALTER TABLE `db`.alerts ON CLUSTER `meters`\n    ADD COLUMN kind String COMMENT 'a, b' AFTER revision,\n    ADD COLUMN rule String",
    ]
    assert on_cluster("ALTER TABLE late REMOVE TTL") == ["ALTER TABLE `db`.late_local ON CLUSTER `meters` REMOVE TTL"]


def test_rows_are_deleted_where_they_are():
    assert on_cluster("DELETE FROM late WHERE house_id = {house:Int64}") == [
        "DELETE FROM `db`.late_local ON CLUSTER `meters` WHERE house_id = {house:Int64}"
    ]


def test_a_view_names_the_database_of_what_it_reads():
    view = "CREATE OR REPLACE VIEW x AS\nSELECT a FROM alerts AS a FINAL\nLEFT JOIN (SELECT b FROM\n(\n    SELECT b FROM meters\n)) ON c ARRAY JOIN d AS e"
    assert on_cluster(view) == [
        "CREATE OR REPLACE VIEW `db`.x ON CLUSTER `meters` AS\nSELECT a FROM `db`.alerts AS a FINAL\n"
        "LEFT JOIN (SELECT b FROM\n(\n    SELECT b FROM `db`.meters\n)) ON c ARRAY JOIN d AS e"
    ]


@pytest.mark.parametrize("statement", schema.TABLES, ids=lambda statement: re.search(r"EXISTS (\w+)", statement)[1])
def test_rows_that_replace_each_other_are_on_one_shard(statement):
    table = re.search(r"EXISTS (\w+)", statement)[1]
    key = re.search(r"^ORDER BY (.*)$", statement, re.MULTILINE)[1]
    assert (
        SHARDED_BY.get(table, "house_id") in re.findall(r"\w+", key) or table == "late"
    )  # whose message, by partition and offset, has a house


def test_names_are_quoted():
    assert spread("ALTER TABLE late REMOVE TTL", "a`b", "c-d") == ["ALTER TABLE `c-d`.late_local ON CLUSTER `a\\`b` REMOVE TTL"]
