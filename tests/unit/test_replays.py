"""A change of energy by a replay, in the dashboard."""

import pytest

from dashboard.replays import change


@pytest.mark.parametrize(
    "after, before, text",
    [
        (3.5, 2.25, "+1.250"),
        (2.25, 3.5, "-1.250"),
        (2.0, 2.0, "+0.000"),
        (2.0, 2.0 + 1e-12, "+0.000"),
        (2.0, 2.0 + 4e-4, "+0.000"),
        (12_345.0, 0, "+12,345.000"),
    ],
)
def test_no_change_is_never_negative(after, before, text):
    assert change(after, before) == text
