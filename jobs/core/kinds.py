"""The kinds of a house's meters, as its description (topic houses) has them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from smartmeter.arrays import Bools, Int32s
from smartmeter.messages.records import MeterRecord


class MeterKinds(NamedTuple):
    """The meters of each kind: meter_ids, rising, as bytes of int32, because a worker holds those of all houses."""

    mains: bytes = b""
    appliances: bytes = b""  # ev chargers are appliances
    sources: bytes = b""  # solar and batteries

    @classmethod
    def of(cls, meters: Iterable[MeterRecord]) -> MeterKinds:
        """Those of the meters of a description. If it has a meter twice, the last one counts."""
        kind_of = {meter["meter_id"]: meter["kind"] for meter in sorted(meters, key=lambda meter: meter["meter_id"])}
        return cls(
            *(
                np.array([meter_id for meter_id, kind in kind_of.items() if kind in kinds], np.int32).tobytes()
                for kinds in (("mains",), ("appliance", "ev"), ("solar", "battery"))
            )
        )

    def are_mains(self, meter_ids: Int32s, always_on: Bools) -> Bools:
        """bool (m,): whether each meter is mains. One that the description does not name is if it is always on."""
        mains, appliances, sources = (_are_among(meter_ids, of_kind) for of_kind in self)
        are_mains: Bools = mains | (always_on & ~appliances & ~sources)
        return are_mains

    def are_sources(self, meter_ids: Int32s) -> Bools:
        """bool (m,): whether each meter is one of solar or of a battery."""
        return _are_among(meter_ids, self.sources)


def _are_among(meter_ids: Int32s, of_kind: bytes) -> Bools:
    """bool (m,): whether each meter is of a kind."""
    if not of_kind:
        return np.zeros(len(meter_ids), bool)
    known = set(np.frombuffer(of_kind, np.int32).tolist())
    return np.array([meter_id in known for meter_id in meter_ids.tolist()], bool)


NO_KINDS = MeterKinds()
"""Those of a house without a description."""
