"""The bytes before a record in a topic, which name the schema that it was written with.

Within this project, messages use single-object framing (smartmeter.messages.schemas). With a schema registry, messages in topics use
the registry's framing: a byte 0, the schema's id in 4 bytes (big-endian), the record. A Framing converts between the two: it is the last
step before sending and the first after receiving. It always reads both framings, so a topic may hold both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

from smartmeter.errors import UserError
from smartmeter.messages.schemas import CodecError
from smartmeter.run import LIVE, Run
from smartmeter.settings import Settings

REGISTRY_MARKER = b"\0"


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
            raise CodecError("it begins with 00, as a message with the id of a schema registry does: set SMW_SCHEMA_REGISTRY_URL to read it")
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


@cache
def framing(settings: Settings, run: Run = LIVE) -> Framing:
    """The framing for these settings. If there is a registry, this registers all schemas of ours.

    Raises UserError when the registry does not answer, or has schemas that ours are incompatible with.
    """
    if not settings.registry.url:
        return Framing()
    from smartmeter.messages.registry import registry_framing  # its client takes a third of a second to load

    return registry_framing(settings, run)
