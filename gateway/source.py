"""Where the readings of a channel come from: a topic, and what to take from its messages."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from gateway.payloads import Unusable, mwh, time_ms, value_at, watts
from smartmeter.messages.codec import POWER
from smartmeter.terminal import printable

LONGEST_BEHIND_MS = 86_400_000
LONGEST_AHEAD_MS = 60_000
"""How far a device's clock may differ from the time of arrival: behind, because a broker keeps messages while the gateway is away."""


@dataclass(frozen=True)
class Source:
    """The messages of one channel: of the power of a meter, or of a register.

    path: of the value in the payload. factor: W or mWh in a unit of the payload, negative if the device counts power that is fed in as
    positive. time: path of the device's own time in the payload; empty: readings have the time of their arrival. holds_s: how long a reading
    holds at most, of a device that sends changes only; 0: SMW_MAX_GAP_S. silent_s: without a reading for as long, the meter is silent; 0: never.
    is_optional: the device may have no such register.
    """

    house_id: int
    meter_id: int
    label: str
    timezone: str
    topic: str
    path: str
    factor: Decimal
    time: str = ""
    holds_s: int = 0
    silent_s: float = 0.0
    quantity: int = POWER
    is_optional: bool = False

    def __str__(self) -> str:
        way = f"topic {self.topic}" if self.topic else f"meter {self.meter_id} by HTTP"
        return printable(f"house {self.house_id}, {self.label}, {way}")

    def read(self, found: Any) -> tuple[float, int]:
        """(W, 0) of a channel of power, (0, mWh) of a register, in the document of a message. Raises Unusable if it has no value."""
        if self.quantity == POWER:
            return watts(found, self.path, self.factor), 0
        return 0.0, mwh(found, self.path, self.factor)

    def time_ms(self, found: Any) -> int | None:
        """The device's own time in ms; None if it has none, or one that is no time."""
        try:
            return time_ms(value_at(found, self.time), self.timezone) if self.time else None
        except Unusable:
            return None


def stamp_ms(arrived_ms: int, free_ms: int) -> int:
    """The time of a reading that has the time of its arrival, if its channel has no reading from free_ms on.

    It runs ahead of the clock by LONGEST_AHEAD_MS at most: a clock that is set back further is followed.
    """
    free_ms = max(arrived_ms, free_ms)
    return free_ms if free_ms - arrived_ms <= LONGEST_AHEAD_MS else arrived_ms


def is_sane(device_ms: int, arrived_ms: int) -> bool:
    """Whether a device's time may be right: a clock that was never set shows 1970."""
    return -LONGEST_BEHIND_MS <= device_ms - arrived_ms <= LONGEST_AHEAD_MS
