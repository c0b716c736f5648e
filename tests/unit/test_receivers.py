"""When a webhook asks to be left alone."""

import doctest

import pytest

from notify import receivers
from notify.receivers import LONGEST_RETRY_AFTER_S, seconds_until

AT_MS = 1_445_412_480_000  # 2015-10-21T07:28:00Z


def test_the_example():
    assert doctest.testmod(receivers).failed == 0 and seconds_until.__doc__.count(">>>") == 1


@pytest.mark.parametrize(
    "header, wait_s",
    [
        ("0", 0),
        ("120", 120),
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30),
        ("Wed, 21 Oct 2015 07:27:00 GMT", 0),
        ("Wed, 21 Oct 2015 10:28:00 GMT", LONGEST_RETRY_AFTER_S),
        ("99999999999999999999999", LONGEST_RETRY_AFTER_S),
        ("", 0),
        ("-5", 0),
        ("1.5", 0),
        ("Wed, 99 Oct 2015 07:28:00 GMT", 0),
        ("soon", 0),
    ],
)
def test_seconds_and_dates_are_bounded_and_other_texts_ask_for_nothing(header, wait_s):
    assert seconds_until(header, AT_MS) == wait_s
