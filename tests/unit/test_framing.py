"""The framing of messages without a registry."""

from __future__ import annotations

import pytest
from fastavro.utils import generate_many

from smartmeter.messages.codec import encode
from smartmeter.messages.framing import framing
from smartmeter.messages.schemas import HEADER_BYTES, SCHEMAS, CodecError
from smartmeter.settings import Settings

RECORDS = {name: next(generate_many(schema, 1)) for name, schema in SCHEMAS.items()}


def test_without_a_registry_nothing_changes_and_an_id_is_refused():
    message = encode("late", RECORDS["late"])
    assert framing(Settings()).sent(message) is message and framing(Settings()).received(message) is message
    with pytest.raises(CodecError, match="^it begins with 00, .*: set SMW_SCHEMA_REGISTRY_URL to read it$"):
        framing(Settings()).received(b"\0\0\0\0\1" + message[HEADER_BYTES:])
