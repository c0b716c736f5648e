"""The classes of records and the schemas in avro/ have the same fields, of the same types."""

import json
from typing import Any, Literal, get_type_hints, is_typeddict

import pytest

from smartmeter.arrays import Float32s, Int32s, Ints
from smartmeter.messages import records
from smartmeter.messages.schemas import SCHEMA_DIR

PRIMITIVES = {"int": int, "long": int, "float": float, "double": float, "boolean": bool, "string": str, "bytes": bytes, "null": type(None)}
COLUMNS = {"int": list[int] | Int32s, "long": list[int] | Ints, "float": list[float] | Float32s}
SCHEMAS = {path.stem: json.loads(path.read_text()) for path in SCHEMA_DIR.glob("*.avsc")}


def record_of(schema: dict) -> Any:
    return getattr(records, f"{schema['name']}Record")


def type_of(schema: Any) -> Any:
    """The type that stands for a schema in a record."""
    match schema:
        case str():
            return PRIMITIVES[schema]
        case ["null", other]:
            return type_of(other) | None
        case {"type": "record"}:
            return record_of(schema)
        case {"type": "enum", "symbols": symbols}:
            return Literal[tuple(symbols)]
        case {"type": "array", "items": items}:
            return list[type_of(items)]
        case {"type": primitive}:
            return PRIMITIVES[primitive]


def records_in(schema: Any) -> list[dict]:
    """The schemas of all records in a schema, itself included."""
    if isinstance(schema, list):
        return [found for item in schema for found in records_in(item)]
    if not isinstance(schema, dict):
        return []
    nested = [found for key in ("type", "items", "fields") for found in records_in(schema.get(key))]
    return [schema, *nested] if schema.get("type") == "record" else nested


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_record_has_the_fields_of_its_schema(name):
    for schema in records_in(SCHEMAS[name]):
        types = {field["name"]: type_of(field["type"]) for field in schema["fields"]}
        if name in ("reading_burst", "power_profile"):
            types |= {
                field["name"]: COLUMNS[field["type"]["items"]]
                for field in schema["fields"]
                if isinstance(field["type"], dict) and field["type"]["type"] == "array"
            }
        hints = get_type_hints(record_of(schema))
        assert hints == types and list(hints) == list(types)


def test_each_class_has_a_schema():
    classes = {name for name, item in vars(records).items() if is_typeddict(item)}
    assert classes == {f"{record['name']}Record" for schema in SCHEMAS.values() for record in records_in(schema)}
    assert len(classes) == 15
