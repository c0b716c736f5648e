"""What one run of a job reads, and where its results go. A command passes it to the job in SMW_ variables, as a user of `flink run` may."""

from __future__ import annotations

import re
from dataclasses import dataclass

from smartmeter.settings import DAY_MS, LONGEST_BURST_DAYS, days_since_1970, is_date
from smartmeter.variables import Check, Group, setting


@dataclass(frozen=True)
class Run(Group):
    """One run of a job: of the whole topic, or a replay of some days."""

    bounded: bool = setting("SMW_BOUNDED", False, "read the topic to its present end and stop")
    into: str = setting(
        "SMW_INTO",
        "",
        "name of a separate set of results: prefix of its topics, suffix of its database",
        Check(lambda name, _: re.fullmatch(r"\w*", name, re.ASCII), "letters, digits and underscores"),
    )
    replay_from: str = setting(
        "SMW_REPLAY_FROM",
        "",
        "first local day to replay, such as 2026-11-01; empty: no replay, the topic is read from its start",
        Check(lambda first, _: not first or is_date(first), "a date such as 2026-11-01"),
    )
    replay_to: str = setting(
        "SMW_REPLAY_TO",
        "",
        "last local day to replay",
        Check(
            lambda last, run: not run.replay_from or (is_date(last) and run.replay_from <= last),
            "a date that is not before SMW_REPLAY_FROM",
        ),
    )
    offsets: str = setting(
        "SMW_REPLAY_OFFSETS",
        "",
        "where a replay begins in each partition, such as partition:0,offset:42;partition:1,offset:300; empty: at the first message",
    )
    house: int = setting("SMW_REPLAY_HOUSE", 0, "the house to replay; 0: all")
    with_late: bool = setting(
        "SMW_REPLAY_WITH_LATE", False, "a replay uses late readings and omits bursts that begin once its last day may be closed"
    )
    archived: bool = setting(
        "SMW_REPLAY_ARCHIVED", False, "a replay reads the topic archived.readings, which ./smw fills from an archive and what was imported"
    )

    anew: int = setting(
        "SMW_REPLAY_ANEW",
        0,
        "a replay that the running job goes on from: it starts from that job's savepoint, and the houses that it reads begin anew; "
        "a number of its own, by which it knows which ones have; 0: no",
    )

    @property
    def days(self) -> range | None:
        """The local days (days since 1970-01-01) to replay; None when there is no replay."""
        if not self.replay_from:
            return None
        return range(days_since_1970(self.replay_from), days_since_1970(self.replay_to) + 1)

    def start_ms(self, limit_days: int) -> int:
        """Event time, in ms, from which a replay reads, early enough to reproduce the results of its first day.

        It covers all days behind the thresholds in force on that day, and the longest burst that reaches into them.
        """
        assert self.days, "there is no replay"
        return max(0, self.days[0] - limit_days - LONGEST_BURST_DAYS - 3) * DAY_MS


LIVE = Run()
"""The usual run: it reads the topic from its start or a savepoint, goes on with new readings, and stores into the usual tables."""
