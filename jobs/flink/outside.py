"""What the keyed operator of a job knows besides its messages."""

from __future__ import annotations

from typing import NamedTuple

from jobs.flink.absence import Backlog
from jobs.flink.rule_source import NoRules, RuleSource


class Outside(NamedTuple):
    """Where the rules of users come from, and how far the job is; without the latter, no house counts as silent by the wall clock."""

    user_rules: RuleSource = NoRules()
    backlog: Backlog | None = None
