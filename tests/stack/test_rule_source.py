"""The rules of users as a job's worker gets them from the topic: all at its start, new ones soon, and none that is faulty."""

from __future__ import annotations

import logging
from functools import partial

import pytest

from jobs.core.user_rules import NO_USER_RULES, UserRules
from jobs.flink import sources
from jobs.flink.rule_source import RulesTopic
from smartmeter.errors import UserError
from smartmeter.messages.rules import no_rule
from smartmeter.run import LIVE
from tests import topics
from tests.waiting import until


@pytest.fixture
def opened(with_topics, open_source):
    return lambda: open_source(RulesTopic(with_topics, "pipeline", LIVE))


@pytest.fixture
def send(with_topics):
    return partial(topics.send, with_topics, "rules")


def same(found: UserRules, *rules) -> bool:
    return found.to_bytes() == UserRules.of(rules).to_bytes()


def test_all_rules_are_there_at_the_start_and_new_ones_soon(send, opened):
    first, second = no_rule(1, 2, 60_000, 5) | {"sensitivity": "low"}, no_rule(1, 2, 120_000, 6) | {"limit_watts": 900.0}
    assert opened().of(1) is NO_USER_RULES
    send(first, second, no_rule(3, 0, 0, 7) | {"muted_until": 60_000})
    source = opened()
    assert same(source.of(1), first, second) and same(source.of(3), no_rule(3, 0, 0, 7) | {"muted_until": 60_000})
    assert source.of(2) is NO_USER_RULES
    corrected = first | {"sensitivity": "high"}
    send(corrected)
    until(lambda: same(source.of(1), corrected, second))
    assert same(opened().of(1), corrected, second)


def test_a_faulty_message_is_left_out_and_logged(send, opened, caplog):
    good = no_rule(1, 2, 60_000, 5) | {"longest_on_minutes": 3}
    with caplog.at_level(logging.WARNING, sources.log.name):
        send(b"", b"not Avro", no_rule(1, 2, 60_001, 5), good, no_rule(1, 2, 120_000, 5) | {"sensitivity": "loud"})
        assert same(opened().of(1), good)
    assert sorted(record.getMessage().split("is not used: ")[1] for record in caplog.records) == [
        "no Avro single-object message: it begins with 6e6f, not c301",
        "no Avro single-object message: it begins with nothing, not c301",
        "sensitivity: give low, normal, high",
        "valid_from: give the start of a minute",
    ]


def test_a_cluster_without_the_topic(kafka):
    with pytest.raises(UserError, match=r"has no topic nowhere\.rules, or does not let this user read it: create it with ./smw topics"):
        RulesTopic(kafka.but(topic_prefix="nowhere."), "pipeline", LIVE)
