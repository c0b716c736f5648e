"""The framing of messages without a registry."""

from __future__ import annotations

import pytest
from fastavro.utils import generate_many

from smartmeter.messages.codec import encode
from smartmeter.messages.schemas import HEADER_BYTES, SCHEMAS, CodecError
from smartmeter.messages.single_object import Framing

MESSAGE = encode("late", next(generate_many(SCHEMAS["late"], 1)))
WITH_ID = b"\0\0\0\0\1" + MESSAGE[HEADER_BYTES:]
REASON = "it begins with 00, as a message with the id of a schema registry does: set SMW_SCHEMA_REGISTRY_URL to read it"


def test_nothing_changes_and_an_id_is_refused():
    framing = Framing()
    assert framing.sent(MESSAGE) is MESSAGE and framing.received(MESSAGE) is MESSAGE
    with pytest.raises(CodecError, match=f"^{REASON}$"):
        framing.received(WITH_ID)


def test_of_many_messages_only_those_with_an_id_are_refused():
    assert Framing().all_received([MESSAGE, WITH_ID, b"", b"?"]) == ([MESSAGE, WITH_ID, b"", b"?"], {1: REASON})
