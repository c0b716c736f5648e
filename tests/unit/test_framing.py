"""The framing that the settings choose."""

from __future__ import annotations

from smartmeter.messages.framing import framing
from smartmeter.messages.single_object import Framing
from smartmeter.settings import Settings


def test_without_a_registry_messages_are_in_single_object_framing():
    assert type(framing(Settings())) is Framing
