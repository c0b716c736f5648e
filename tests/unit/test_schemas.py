"""The schemas in avro/: fingerprints, documentation, and how they may change."""

import io
import json

import fastavro
import pytest
from fastavro.utils import generate_many

from smartmeter.messages.codec import decode, encode
from smartmeter.messages.schemas import HEADER_BYTES, HEADERS, MARKER, SCHEMA_DIR, SCHEMAS, parsed


def test_fingerprint_is_the_one_of_the_avro_specification():
    # CRC-64-AVRO of the canonical form "int", the example of the specification's reference implementation.
    assert fastavro.schema.fingerprint('"int"', "CRC-64-AVRO") == "8f5c393f1ad57572"
    canonical = fastavro.schema.to_parsing_canonical_form(json.loads((SCHEMA_DIR / "late.avsc").read_text()))
    assert HEADERS["late"] == b"\xc3\x01" + bytes.fromhex(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO"))


@pytest.mark.parametrize("path", sorted(SCHEMA_DIR.glob("*.avsc")), ids=lambda path: path.stem)
def test_every_field_is_documented(path):
    def check(schema, where):
        if isinstance(schema, list):
            for item in schema:
                check(item, where)
        elif isinstance(schema, dict):
            if schema["type"] == "record":
                assert schema["doc"], where
                for entry in schema["fields"]:
                    assert entry.get("doc"), f"{where}.{entry['name']}"
                    check(entry["type"], f"{where}.{entry['name']}")
            check(schema.get("items"), where)

    check(json.loads(path.read_text()), path.stem)


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_reader_with_a_field_more_reads_what_was_written_before(name):
    schema = SCHEMAS[name]
    newer = {**schema, "fields": [*schema["fields"], {"name": "added", "type": ["null", "string"], "default": None}]}
    newer.pop("__fastavro_parsed__", None), newer.pop("__named_schemas", None)
    written = next(generate_many(schema, 1))
    body = io.BytesIO(encode(name, written)[HEADER_BYTES:])
    assert fastavro.schemaless_reader(body, schema, newer)["added"] is None


@pytest.mark.parametrize("path", sorted((SCHEMA_DIR / "earlier").glob("*.avsc")), ids=lambda path: path.stem)
def test_what_an_earlier_release_wrote_is_read_with_defaults_for_what_it_lacks(path):
    schema, canonical = parsed(json.loads(path.read_text()))
    name = path.stem.split("-")[0]
    body = io.BytesIO(MARKER + bytes.fromhex(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO")))
    body.seek(HEADER_BYTES)
    fastavro.schemaless_writer(body, schema, next(generate_many(schema, 1)))
    body.seek(HEADER_BYTES)
    written = fastavro.schemaless_reader(body, schema, None)
    read_name, read = decode(body.getvalue())
    assert read_name == name
    assert_read_with_defaults(read, written, SCHEMAS[name])


def assert_read_with_defaults(read, written, schema):
    """Fail when a record is not what was written, with defaults for the fields that it lacks, in records within it too."""
    assert list(read) == [item["name"] for item in schema["fields"]]
    for item in schema["fields"]:
        value, own = read[item["name"]], item["type"]
        if item["name"] not in written:
            assert value == item["default"]
        elif isinstance(own, dict) and own["type"] == "array" and "fields" in own["items"]:
            for one, one_written in zip(value, written[item["name"]], strict=True):
                assert_read_with_defaults(one, one_written, own["items"])
        else:
            assert value == written[item["name"]]
