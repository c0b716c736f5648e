"""What the keyed operator of a job knows besides its messages."""

from __future__ import annotations

from typing import NamedTuple

from jobs.core.kinds import NO_KINDS, MeterKinds
from jobs.core.user_rules import NO_USER_RULES, UserRules
from jobs.flink.absence import Backlog
from jobs.flink.sources import ForAll, Source


class Outside(NamedTuple):
    """The rules of users, the kinds of meters, and how far the job is; without the latter, no house counts as silent by the wall clock."""

    user_rules: Source[UserRules] = ForAll(NO_USER_RULES)
    kinds: Source[MeterKinds] = ForAll(NO_KINDS)
    backlog: Backlog | None = None
