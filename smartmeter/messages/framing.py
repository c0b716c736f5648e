"""What stands before a record in a topic, and tells which schema it was written with.

Within this project a message is in single-object framing (smartmeter.messages.schemas). With a schema registry, what goes into a topic
is in the registry's: a byte 0, the schema's id in 4 bytes (big-endian), the record. A Framing stands between the two: what
is sent passes through it last, what is received first. Both framings are read always, so that a topic may hold both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

from smartmeter.errors import UserError
from smartmeter.messages.schemas import CodecError
from smartmeter.settings import Settings

REGISTRY_MARKER = b"\0"


class RegistryFault(UserError):
    """The schema registry gives no answer, or refuses to; the message says what to do."""


class Framing:
    """Messages as they are without a registry: in single-object framing everywhere."""

    def sent(self, message: bytes) -> bytes:
        """A message of ours as it goes into its topic."""
        return message

    def received(self, payload: bytes, given_up: Callable[[], bool] = lambda: False) -> bytes:
        """A message of a topic in single-object framing, of a schema in avro/, or the payload itself where it is in neither framing.

        It may have to wait for a registry that is away, until that is given up: then RegistryFault is raised. Raises
        CodecError for a message of another schema.
        """
        if payload.startswith(REGISTRY_MARKER):
            raise CodecError("it begins with 00, as a message with the id of a schema registry does: set SMW_SCHEMA_REGISTRY_URL to read it")
        return payload

    def all_received(self, payloads: Iterable[bytes]) -> tuple[list[bytes], dict[int, str]]:
        """(many messages as they are received, index -> reason of those that cannot be, which stay as they came)."""
        messages, reasons = list(payloads), {}
        for i, payload in enumerate(messages):
            if payload.startswith(REGISTRY_MARKER):
                try:
                    messages[i] = self.received(payload)
                except CodecError as error:
                    reasons[i] = str(error)
        return messages, reasons


@cache
def framing(settings: Settings) -> Framing:
    """How messages are framed. With a registry, it has all schemas of ours from now on.

    Raises UserError when the registry does not answer, or has other schemas that ours do not fit.
    """
    if not settings.schema_registry_url:
        return Framing()
    from smartmeter.messages.registry import registry_framing  # its client takes a third of a second to load

    return registry_framing(settings)
