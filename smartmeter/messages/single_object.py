"""The framing without a schema registry, and what a registry's framing shares with it.

A Framing converts between a topic's messages and single-object framing (smartmeter.messages.schemas).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from smartmeter.errors import UserError
from smartmeter.messages.schemas import CodecError

REGISTRY_MARKER = b"\0"
"""The first byte of a message in a registry's framing."""


class RegistryFault(UserError):
    """The schema registry does not answer, or refuses; the message states what to do."""


class Framing:
    """The framing without a registry: single-object everywhere."""

    def sent(self, message: bytes) -> bytes:
        """A message of ours as it is sent to its topic."""
        return message

    def received(self, payload: bytes, given_up: Callable[[], bool] = lambda: False) -> bytes:
        """A topic's message in single-object framing, in a schema of avro/; the payload itself if it is in neither framing.

        Waits while the registry is away, and raises RegistryFault once given_up() is true. Raises CodecError for a message of
        another schema.
        """
        if payload.startswith(REGISTRY_MARKER):
            raise CodecError(
                "it begins with 00, as a message with the id of a schema registry does: set SMW_SCHEMA_REGISTRY_URL to read it"
            )
        return payload

    def all_received(self, payloads: Iterable[bytes]) -> tuple[list[bytes], dict[int, str]]:
        """(the messages as `received` returns them, index -> reason for those that it rejects). Rejected messages stay unchanged."""
        messages, reasons = list(payloads), {}
        for i, payload in enumerate(messages):
            if payload.startswith(REGISTRY_MARKER):
                try:
                    messages[i] = self.received(payload)
                except CodecError as error:
                    reasons[i] = str(error)
        return messages, reasons
