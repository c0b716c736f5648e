"""The button of the page Alerts that makes a spike, beside a real MQTT broker."""

import threading

import pytest
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from smartmeter.spike import SPIKE_TOPIC
from stack.mosquitto import start_mosquitto
from stack.ports import free_port
from stack.processes import Processes
from tests.dashboard.conftest import ran, texts
from tests.waiting import STILL_S

LABEL = "Make a spike"


@pytest.fixture
def live(stored, tmp_path):
    """Settings as the live demo's."""
    return stored.but(live_demo=f"127.0.0.1:{free_port()}", home=tmp_path)


def button(app):
    return next((button for button in app.button if button.label == LABEL), None)


def test_the_button_is_that_of_the_live_demo_alone(visit):
    assert button(visit("alerts")) is None


def test_the_button_sends_a_message_to_the_devices(dashboard_on, live, tmp_path):
    came, client = threading.Event(), mqtt.Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda *_: came.set()
    page = dashboard_on(live)
    with Processes(tmp_path) as processes:
        start_mosquitto(processes, live)
        app = ran(button(page("alerts")).click())
        assert texts(app.toast) == ["Sent. An alert appears within some seconds."]
        client.connect("127.0.0.1", int(live.dashboard.live_demo.partition(":")[2]))
        client.loop_start()
        client.subscribe(SPIKE_TOPIC)  # as devices that did not listen yet
        assert came.wait(STILL_S)
        client.disconnect()
        client.loop_stop()
    [fault] = texts(ran(button(app).click()).error)
    assert fault.startswith(f"there is no spike: the MQTT broker at {live.dashboard.live_demo} does not take it")
