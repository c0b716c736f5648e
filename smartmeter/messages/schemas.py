"""The schemas in avro/, and how a message names the one it was written with.

A message is C3 01, the 8-byte little-endian CRC-64-AVRO fingerprint of the writer's schema, then the record
(Avro specification, "Single-object encoding").
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import fastavro

from smartmeter.settings import RESOURCES

SCHEMA_DIR = RESOURCES / "avro"

MARKER = b"\xc3\x01"

HEADER_BYTES = len(MARKER) + 8

Schema = dict[str, Any]
"""The JSON of a record's schema."""


class CodecError(ValueError):
    """A message that cannot be decoded, or a record that does not fit its schema."""


def _without_logical_types(schema: Any) -> Any:
    """The schema with times and dates as plain numbers; its fingerprint is the same."""
    if isinstance(schema, dict):
        return {k: _without_logical_types(v) for k, v in schema.items() if k != "logicalType"}
    if isinstance(schema, list):
        return [_without_logical_types(item) for item in schema]
    return schema


def parsed(schema: Any) -> tuple[Schema, str]:
    """(schema for fastavro, its canonical form) of a schema parsed from JSON. Times and dates become plain numbers."""
    schema = cast(Schema, fastavro.parse_schema(_without_logical_types(schema)))
    return schema, fastavro.schema.to_parsing_canonical_form(schema)


def _load(path: Path) -> tuple[Schema, bytes]:
    schema, canonical = parsed(json.loads(path.read_text()))
    return schema, bytes.fromhex(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO"))


_LOADED = {path.stem: _load(path) for path in sorted(SCHEMA_DIR.glob("*.avsc"))}

SCHEMAS = {name: schema for name, (schema, _) in _LOADED.items()}

HEADERS = {name: MARKER + fingerprint for name, (_, fingerprint) in _LOADED.items()}

_NAME_OF = {header: name for name, header in HEADERS.items()}

_LOADED_EARLIER = {path.stem: _load(path) for path in sorted((SCHEMA_DIR / "earlier").glob("*.avsc"))}

EARLIER = {MARKER + fingerprint: (version.split("-")[0], schema) for version, (schema, fingerprint) in _LOADED_EARLIER.items()}
"""Header -> (name, schema) of earlier releases' messages, which topics may still hold."""

HEADER_OF = {fastavro.schema.to_parsing_canonical_form(schema): HEADERS[name] for name, schema in SCHEMAS.items()} | {
    fastavro.schema.to_parsing_canonical_form(schema): header for header, (_, schema) in EARLIER.items()
}
"""Canonical form of a schema, of this release or an earlier one -> header."""

FIRST_BURST_HEADER = MARKER + _LOADED_EARLIER["reading_burst-1"][1]
"""Header of a burst without quantities, holds_s and energies. These come last, so it lacks no more than three empty arrays at its end."""


def schema_name(payload: bytes) -> str:
    """Name of the schema that a message was written with, by this release or an earlier one. Raises CodecError for any other schema."""
    header = payload[:HEADER_BYTES]
    name = _NAME_OF.get(header) or EARLIER.get(header, (None,))[0]
    if name is None:
        if payload[:2] != MARKER:
            raise CodecError(f"no Avro single-object message: it begins with {payload[:2].hex() or 'nothing'}, not c301")
        raise CodecError(f"schema fingerprint {payload[2:HEADER_BYTES].hex()} is none of those in avro/")
    return name
