"""The kinds of meters as a job's worker gets them from the topic houses: all at its start, new ones soon, and none that is faulty."""

from __future__ import annotations

import logging
from functools import partial

import pytest

from jobs.core.kinds import NO_KINDS, MeterKinds
from jobs.flink import sources
from jobs.flink.kind_source import KindsTopic
from smartmeter.errors import UserError
from smartmeter.messages.codec import encode
from smartmeter.run import LIVE
from tests import topics
from tests.unit.logs import description
from tests.waiting import until


@pytest.fixture
def opened(with_topics, open_source):
    return lambda: open_source(KindsTopic(with_topics, "thresholds", LIVE))


@pytest.fixture
def send(with_topics):
    return partial(topics.send, with_topics, "houses")


def kinds(house) -> MeterKinds:
    return MeterKinds.of(house["meters"])


def test_all_kinds_are_there_at_the_start_and_new_ones_soon(send, opened):
    first, second, other = (
        description(1, m1="mains"),
        description(1, m1="mains", m2="appliance"),
        description(3, m1="mains", m2="appliance"),
    )
    assert opened().of(1) is NO_KINDS
    send(first, other, second)
    source = opened()
    assert source.of(1) == kinds(second) and source.of(1) is source.of(3), "houses with the same meters share their kinds"
    assert source.of(2) is NO_KINDS
    send(described := description(2, m5="appliance"), first)
    until(lambda: (source.of(2), source.of(1)) == (kinds(described), kinds(first)))
    assert opened().of(1) == kinds(first)


def test_a_faulty_message_is_left_out_and_logged(send, opened, caplog):
    good = description(1, m1="mains")
    with caplog.at_level(logging.WARNING, sources.log.name):
        send(good, b"not Avro", encode("house", description(2, m1="mains"))[:-1])
        source = opened()
    assert source.of(1) == kinds(good) and source.of(2) is NO_KINDS
    assert len(caplog.records) == 2 and all(" is not used: " in record.getMessage() for record in caplog.records)


def test_a_cluster_without_the_topic(kafka):
    with pytest.raises(UserError, match=r"has no topic nowhere\.houses, or does not let this user read it: create it with ./smw topics"):
        KindsTopic(kafka.but(topic_prefix="nowhere."), "thresholds", LIVE)
