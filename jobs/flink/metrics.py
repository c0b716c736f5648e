"""What the jobs count for Flink's metrics; docs/observability.md tells of each.

Numbers are added up in plain Python and told once a call, as telling costs more than adding. Flink takes them over at the
end of each bundle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pyflink.metrics import MetricGroup

GROUP = "smartmeter"


def own_group(group: MetricGroup) -> MetricGroup:
    """The project's own group of an operator's metrics, which is part of their names."""
    return group.add_group(GROUP)


class Counts:
    """Counters of an operator: some by name, and ("results", topic) for each topic. All are there from the first telling on."""

    def __init__(self, group: MetricGroup, names: Iterable[str], topics: Iterable[str] = ()):
        self._counters = {name: group.counter(name) for name in names} | {
            ("results", topic): group.add_group("topic", topic).counter("results") for topic in topics}
        self._unreported = Counter(dict.fromkeys(self._counters, 0))

    def add(self, name: str | tuple[str, str], number: int = 1) -> None:
        self._unreported[name] += number

    def unreported(self) -> Counter:
        """What was added and is not told yet; see restore."""
        return self._unreported.copy()

    def restore(self, unreported: Counter) -> None:
        """Forget what was added since: the work that it counted has failed."""
        self._unreported = unreported

    def report(self) -> None:
        """Let Flink know what was added since the last time."""
        for name, number in self._unreported.items():
            self._counters[name].inc(number)
        self._unreported.clear()
