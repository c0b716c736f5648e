"""The waits after failures."""

import random

from smartmeter.retries import Backoff


def test_waits_double_up_to_five_minutes_and_begin_anew_after_a_success():
    backoff = Backoff(random=random.Random(1))
    waits = [backoff.failed() for _ in range(40)]
    for n, wait_s in enumerate(waits):
        whole_s = min(2.0**n, 300)
        assert whole_s / 2 <= wait_s <= whole_s
    assert len(set(waits)) == 40, "they are spread"
    backoff.worked()
    assert backoff.failures == 0 and backoff.failed() <= 1
