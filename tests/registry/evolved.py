"""Schemas as somebody else might change them."""

from __future__ import annotations

import json

from confluent_kafka.schema_registry import Schema

from smartmeter.messages.schemas import SCHEMA_DIR

ADDED = {"name": "firmware", "type": "string", "default": "", "doc": "A field that we do not know."}


def avsc(name: str) -> dict:
    """A schema of ours as its file has it."""
    return json.loads((SCHEMA_DIR / f"{name}.avsc").read_text())


def with_field(name: str, item: dict = ADDED) -> Schema:
    """The schema with a field more."""
    schema = avsc(name)
    return Schema(json.dumps(schema | {"fields": [*schema["fields"], item]}), "AVRO")


def with_type(name: str, of_field: str, field_type) -> Schema:
    """The schema with a field of another type."""
    schema = avsc(name)
    fields = [item | {"type": field_type} if item["name"] == of_field else item for item in schema["fields"]]
    return Schema(json.dumps(schema | {"fields": fields}), "AVRO")


def without_field(name: str, *of_fields: str) -> Schema:
    """The schema without some of its fields."""
    schema = avsc(name)
    return Schema(json.dumps(schema | {"fields": [item for item in schema["fields"] if item["name"] not in of_fields]}), "AVRO")
