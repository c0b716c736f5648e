"""The spike of the live demo, without a broker; tests/stack/test_live_demo.py has one."""

import pytest

from smartmeter.errors import UserError
from smartmeter.spike import make_spike
from stack.ports import free_port


def test_a_broker_that_is_away_is_one_sentence():
    port = free_port()
    with pytest.raises(
        UserError, match=rf"^there is no spike: the MQTT broker at 127\.0\.0\.1:{port} does not take it \(.*refused\): start "
    ):
        make_spike(f"127.0.0.1:{port}")
