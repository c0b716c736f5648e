"""Which meters have fallen silent."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.source import Source


class Silence:
    """When the last reading of each meter arrived. A meter that has sent nothing yet counts from the start. Times in s, of any clock."""

    def __init__(self, sources: Iterable[Source], now_s: float):
        self.newest_s: dict[Source, float] = {}
        self._silent: set[Source] = set()
        self.use(sources, now_s)

    def use(self, sources: Iterable[Source], now_s: float) -> list[Source]:
        """Watch these meters from now on. Returns those that were watched before, and are no more."""
        before, self.newest_s = self.newest_s, {source: self.newest_s.get(source, now_s) for source in sources}
        self._silent &= self.newest_s.keys()
        return list(before.keys() - self.newest_s.keys())

    def arrived(self, source: Source, now_s: float) -> bool:
        """Note a reading. Returns whether the meter was silent."""
        self.newest_s[source] = now_s
        was_silent = source in self._silent
        self._silent.discard(source)
        return was_silent

    def is_silent(self, source: Source, now_s: float) -> bool:
        """Whether a meter has sent nothing for longer than its silent_s."""
        return bool(source.silent_s) and now_s - self.newest_s[source] > source.silent_s

    def fallen(self, now_s: float) -> list[Source]:
        """The meters that have fallen silent since the last call."""
        found = [source for source in self.newest_s if source not in self._silent and self.is_silent(source, now_s)]
        self._silent |= set(found)
        return found
