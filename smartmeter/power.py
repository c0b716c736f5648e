"""The valid power range of a reading, the same for loaders and jobs. A negative power is fed into the house's wiring."""

from __future__ import annotations

from smartmeter.compiled import compiled

MOST_WATTS = 1e9
"""No meter of a house draws or feeds in a gigawatt. A day of more would not fit into an integer of mJ."""


@compiled
def is_power(watts):
    """Whether a reading (float32, W) can be used. One that cannot is refused alone, and counted."""
    return (watts >= -MOST_WATTS) & (watts <= MOST_WATTS)


def why_no_power(watts: float) -> str | None:
    """Why a reading is refused, in words; None for one that can be used."""
    if is_power(watts):
        return None
    return f"{watts:g} W: more than a gigawatt, the most that is accepted" if abs(watts) > MOST_WATTS else "not a number"
