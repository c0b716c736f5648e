"""The bytes before a record in a topic, which name the schema that it was written with.

Within this project, messages use single-object framing (smartmeter.messages.schemas). With a schema registry, messages in topics use
the registry's framing: a byte 0, the schema's id in 4 bytes (big-endian), the record. A Framing converts between the two: it is the last
step before sending and the first after receiving. It always reads both framings, so a topic may hold both.
"""

from __future__ import annotations

from functools import cache

from smartmeter.messages.single_object import Framing
from smartmeter.run import LIVE, Run
from smartmeter.settings import Settings


@cache
def framing(settings: Settings, run: Run = LIVE) -> Framing:
    """The framing for these settings. If there is a registry, this registers all schemas of ours.

    Raises UserError when the registry does not answer, or has schemas that ours are incompatible with.
    """
    if not settings.registry.url:
        return Framing()
    from smartmeter.messages.registry import registry_framing  # its client takes a third of a second to load

    return registry_framing(settings, run)
