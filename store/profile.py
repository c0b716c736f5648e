"""Power profiles as rows of the table power_profile, many at a time."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from smartmeter.messages.codec import Profile
from smartmeter.messages.schemas import CodecError

COLUMNS = ("house_id", "meter_id", "minute", "part", "readings", "min_watts", "mean_watts", "max_watts")

MOST_MINUTES = 2**32 // 60
"""Minutes since 1970 that ClickHouse's DateTime can represent."""


def minutes(profile: Profile) -> int:
    """The number of minutes in a profile. Raises CodecError when its columns disagree, or its times are out of range."""
    counts, columns = profile.counts, (profile.deltas, profile.readings, profile.min_watts, profile.mean_watts, profile.max_watts)
    lengths = [len(column) for column in columns]
    if len(counts) != len(profile.meter_ids) or counts.min(initial=0) < 0 or {int(counts.sum())} != set(lengths):
        raise CodecError(
            f"{len(profile.meter_ids)} meter_ids, {len(counts)} counts that sum up to {counts.sum()}, and columns of "
            f"{lengths} minutes: they disagree"
        )
    if profile.deltas.min(initial=0) < 0 or not 0 <= profile.start // 60_000 <= MOST_MINUTES - int(profile.deltas.sum(dtype=np.int64)):
        raise CodecError(f"minutes from {profile.start} ms on: they lie in the years 1970 to 2105")
    return lengths[0]


def table(profiles: list[Profile]) -> pa.Table:
    """The rows (COLUMNS) of some profiles, one for each meter, minute and part."""
    counts = np.concatenate([profile.counts for profile in profiles])
    deltas = np.concatenate([profile.deltas for profile in profiles], dtype=np.int64)
    start = np.repeat([profile.start // 60_000 for profile in profiles], [len(profile.counts) for profile in profiles])
    elapsed = np.append(0, np.cumsum(deltas))
    minute = elapsed[1:] + np.repeat(start - elapsed[np.cumsum(counts) - counts], counts)
    rows = [len(profile.deltas) for profile in profiles]
    columns = {
        "house_id": np.repeat([profile.house_id for profile in profiles], rows),
        "meter_id": np.repeat(np.concatenate([profile.meter_ids for profile in profiles]), counts),
        "minute": (minute * 60).astype(np.uint32),
        "part": np.repeat([profile.part for profile in profiles], rows),
    } | {name: np.concatenate([getattr(profile, name) for profile in profiles]) for name in COLUMNS[4:]}
    return pa.table(columns)
