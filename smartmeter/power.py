"""Which power a meter can have measured. Loaders and jobs judge a reading by the same rule."""

from __future__ import annotations

from smartmeter.compiled import compiled

MOST_WATTS = 1e9
"""No meter of a house draws a gigawatt; days of more would not fit into integers of mJ."""


@compiled
def is_power(watts):
    """Whether a reading (float32, W) can be used; one that cannot is refused alone, and counted."""
    return (watts >= 0) & (watts <= MOST_WATTS)


def why_no_power(watts: float) -> str | None:
    """Why a reading is refused, in words; None for one that can be used."""
    if is_power(watts):
        return None
    if watts < 0:
        return f"{watts:g} W: a power is 0 or more"
    return f"{watts:g} W: more than a gigawatt, the most that is accepted" if watts > MOST_WATTS else "not a number"
