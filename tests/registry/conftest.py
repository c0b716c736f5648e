"""Fixtures: a real schema registry, and a door before it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient

from tests.registries import Door, Registry, start_registry


@pytest.fixture(scope="session")
def registry(processes, tmp_path_factory) -> Registry:
    return start_registry(processes, tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def door(registry) -> Iterator[Door]:
    with Door(registry.url) as door:
        yield door


@pytest.fixture(scope="session")
def client(registry) -> SchemaRegistryClient:
    """The registry's client of another party."""
    return SchemaRegistryClient({"url": registry.url})
