"""Clients of ClickHouse themselves, at its container."""

from __future__ import annotations

import pytest

from tests.clients.conftest import columns, late
from tests.clients.go_and_node import go_client, test_clickhouse_client_for_node, test_clickhouse_go
from tests.clients.test_clients import test_clickhouse_connect, test_jdbc, test_sqlalchemy_with_reflection
from tests.containers.engine import Compose
from tests.containers.test_one_broker import from_outside

__all__ = [
    "columns",
    "go_client",
    "late",
    "test_clickhouse_client_for_node",
    "test_clickhouse_connect",
    "test_clickhouse_go",
    "test_jdbc",
    "test_sqlalchemy_with_reflection",
]


@pytest.fixture(scope="module")
def clickhouse(tmp_path_factory):
    """Settings whose ClickHouse is that of docker-compose.yml."""
    compose = Compose()
    compose.down()
    compose.up("clickhouse")
    yield from_outside(tmp_path_factory.mktemp("home"))
    compose.down()
