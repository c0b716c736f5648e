"""Powers that are none."""

import pytest

from smartmeter.power import why_no_power


@pytest.mark.parametrize(
    "watts, why",
    [
        (-0.4, None),
        (-1e9, None),
        (-(2.0**32), "-4.29497e+09 W: more than a gigawatt, the most that is accepted"),
        (float("nan"), "not a number"),
        (1.0, None),
        (0.0, None),
        (1e9, None),
        (2.0**32, "4.29497e+09 W: more than a gigawatt, the most that is accepted"),
    ],
)
def test_why_a_reading_is_refused(watts, why):
    assert why_no_power(watts) == why
