"""Where the readings of a meter come from: a topic, and what to take from its messages."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.payloads import Unusable, document, time_ms, value_at, watts

LONGEST_BEHIND_MS = 86_400_000
LONGEST_AHEAD_MS = 60_000
"""How far a device's clock may differ from the time of arrival: behind, because a broker keeps messages while the gateway is away."""


@dataclass(frozen=True)
class Source:
    """The messages of one meter.

    factor: W in a unit of the payload, negative if the device counts what is fed in as positive. time: path of the device's own time in
    the payload; empty: readings have the time of their arrival. holds_s: how long a reading
    holds at most, of a device that sends changes only; 0: SMW_MAX_GAP_S. silent_s: without a reading for as long, the meter is silent; 0: never.
    """

    house_id: int
    meter_id: int
    label: str
    timezone: str
    topic: str
    power: str
    returned: str
    factor: float
    time: str = ""
    holds_s: int = 0
    silent_s: float = 0.0

    def read(self, payload: bytes) -> tuple[float, int | None]:
        """(power in W, the device's time in ms or None) of a message. Raises Unusable if it has no power; a time that is none is None."""
        found = document(payload)
        power = watts(found, self.power, self.returned, self.factor)
        if not self.time:
            return power, None
        try:
            return power, time_ms(value_at(found, self.time), self.timezone)
        except Unusable:
            return power, None


def is_sane(device_ms: int, arrived_ms: int) -> bool:
    """Whether a device's time may be right: a clock that was never set shows 1970."""
    return -LONGEST_BEHIND_MS <= device_ms - arrived_ms <= LONGEST_AHEAD_MS
