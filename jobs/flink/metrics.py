"""The jobs' counters among Flink's metrics; docs/observability.md describes each.

Numbers are added up in plain Python and reported once a call, because reporting costs more than adding. Flink takes them over at the end
of each bundle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pyflink.metrics import MetricGroup

GROUP = "smartmeter"


def own_group(group: MetricGroup) -> MetricGroup:
    """The project's own metric group of an operator. It is part of the metrics' names."""
    return group.add_group(GROUP)


class Counts:
    """Counters of an operator: some by name, and ("results", topic) for each topic. All exist from the first report on."""

    def __init__(self, group: MetricGroup, names: Iterable[str], topics: Iterable[str] = ()):
        self._counters = {name: group.counter(name) for name in names} | {
            ("results", topic): group.add_group("topic", topic).counter("results") for topic in topics
        }
        self._unreported = Counter(dict.fromkeys(self._counters, 0))

    def add(self, name: str | tuple[str, str], number: int = 1) -> None:
        """Add to a counter. The next report includes it."""
        self._unreported[name] += number

    def unreported(self) -> Counter[str | tuple[str, str]]:
        """What was added and is not reported yet; see restore."""
        return self._unreported.copy()

    def restore(self, unreported: Counter[str | tuple[str, str]]) -> None:
        """Reset to an earlier `unreported`, because the work counted since then has failed."""
        self._unreported = unreported

    def report(self) -> None:
        """Report to Flink what was added since the last report."""
        for name, number in self._unreported.items():
            self._counters[name].inc(number)
        self._unreported.clear()
