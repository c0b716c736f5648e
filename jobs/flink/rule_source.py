"""The rules of users, from the topic rules.

A rule is rare and small, so each worker can hold all of them. What a house's spells were judged by is in its state too (jobs.core.watch).
"""

from __future__ import annotations

from collections import defaultdict

from jobs.core.user_rules import NO_USER_RULES, UserRules
from jobs.flink.sources import CompactedTopic
from smartmeter.messages.codec import decode_as
from smartmeter.messages.records import RuleRecord
from smartmeter.messages.rules import fault_of
from smartmeter.messages.schemas import CodecError


class RulesTopic(CompactedTopic[RuleRecord, UserRules]):
    """The rules of each house."""

    name = "rules"

    def open(self) -> None:
        """See Source."""
        self._records: dict[int, dict[tuple[int, int], RuleRecord]] = defaultdict(dict)  # house -> (meter, valid from) -> rule
        self._rules: dict[int, UserRules] = {}
        super().open()

    def decoded(self, payload: bytes) -> RuleRecord:
        """See CompactedTopic."""
        rule: RuleRecord = decode_as("rule", payload)
        if fault := fault_of(rule):
            raise CodecError(fault)
        return rule

    def take(self, records: list[RuleRecord]) -> None:
        """See CompactedTopic."""
        for rule in records:
            self._records[rule["house_id"]][rule["meter_id"], rule["valid_from"]] = rule
        for house_id in {rule["house_id"] for rule in records}:
            self._rules[house_id] = UserRules.of(self._records[house_id].values())

    def known(self, house_id: int) -> UserRules:
        """See CompactedTopic."""
        return self._rules.get(house_id, NO_USER_RULES)
