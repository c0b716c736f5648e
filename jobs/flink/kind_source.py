"""The kinds of meters, from the descriptions in the topic houses. The newest description of a house holds."""

from __future__ import annotations

from jobs.core.kinds import NO_KINDS, MeterKinds
from jobs.flink.sources import CompactedTopic
from smartmeter.messages.codec import decode_as
from smartmeter.messages.records import HouseRecord


class KindsTopic(CompactedTopic[HouseRecord, MeterKinds]):
    """The kinds of each house's meters."""

    name = "houses"

    def open(self) -> None:
        """See Source."""
        self._kinds: dict[int, MeterKinds] = {}
        self._distinct: dict[MeterKinds, MeterKinds] = {}  # houses with the same meters share one
        super().open()

    def of(self, house_id: int) -> MeterKinds:
        """See Source. A new house's description may have come just before its first readings."""
        if house_id not in self._kinds:
            self.refresh()
        return super().of(house_id)

    def decoded(self, payload: bytes) -> HouseRecord:
        """See CompactedTopic."""
        house: HouseRecord = decode_as("house", payload)
        return house

    def take(self, records: list[HouseRecord]) -> None:
        """See CompactedTopic."""
        for house in records:
            kinds = MeterKinds.of(house["meters"])
            self._kinds[house["house_id"]] = self._distinct.setdefault(kinds, kinds)

    def known(self, house_id: int) -> MeterKinds:
        """See CompactedTopic."""
        return self._kinds.get(house_id, NO_KINDS)
