"""./smw generate --live as a user starts, interrupts and starts it again."""

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from generator.live import bursts_since, reached_ms
from generator.synthetic import synthetic_houses
from smartmeter.local_days import local_date, midnight_ms, now_ms
from smartmeter.settings import ROOT
from tests.topics import records
from tests.waiting import STILL_S, until

BURST_S = 2


def live_until_now(settings) -> None:
    """Run it until it has sent more, and all up to the present, then interrupt it."""
    before_ms = reached_ms(settings)
    command = [sys.executable, "-m", "commands", "generate", "--houses", "2", "--days", "1", "--burst-s", str(BURST_S), "--live"]
    generator = subprocess.Popen(command, cwd=ROOT, env=os.environ | settings.environ())
    until(lambda: before_ms < reached_ms(settings) > 1000 * (time.time() - 3 * BURST_S), progress=lambda: reached_ms(settings))
    generator.send_signal(signal.SIGINT)
    assert generator.wait(timeout=STILL_S) == 130


def test_it_goes_on_where_the_topic_ends(with_topics):
    assert reached_ms(with_topics) == 0
    begun_ms = now_ms()
    live_until_now(with_topics)
    live_until_now(with_topics)
    found = spans(with_topics)
    assert set(found) == {1, 2}
    for house in synthetic_houses(2, seed=1):
        house_spans = found[house.house_id]
        distinct = sorted(set(house_spans))
        yesterday = local_date(begun_ms, house.timezone) - timedelta(days=1)
        assert distinct[0][0] <= midnight_ms(yesterday, house.timezone) and distinct[-1][1] > begun_ms
        assert len(house_spans) - len(distinct) <= 3  # of its end only, some was sent twice
        assert all(end == start for (_, end), (start, _) in pairwise(distinct))  # and there is no hole


def spans(settings) -> dict[int, list[tuple[int, int]]]:
    """House -> (start_ms, end_ms) of its bursts."""
    found: dict[int, list[tuple[int, int]]] = {}
    for burst in records(settings, "readings"):
        found.setdefault(burst["house_id"], []).append((burst["start"], burst["end"]))
    return found


def test_bursts_begin_at_the_moment_or_with_the_first_day():
    houses = synthetic_houses(3, seed=1)
    now = datetime(2026, 3, 8, 12, tzinfo=UTC)
    moment_ms = round(now.timestamp() * 1000)
    bursts = bursts_since(houses, now.date() - timedelta(days=9), moment_ms, BURST_S)
    assert [next(bursts).start_ms for _ in range(6)] == [moment_ms] * 3 + [moment_ms + BURST_S * 1000] * 3
    first = bursts_since(houses, now.date(), 0, BURST_S)
    assert next(first).start_ms == min(house.day(now.date()).start_ms for house in houses)
