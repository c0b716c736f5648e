"""Names of time zones."""

import pytest

from smartmeter.errors import UserError
from smartmeter.timezones import zone


def test_unknown_time_zone():
    with pytest.raises(UserError, match="unknown time zone 'Mars/Base'"):
        zone("Mars/Base")
