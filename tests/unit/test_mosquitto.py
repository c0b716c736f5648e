"""Finding Mosquitto; tests/stack/test_live_demo.py runs it."""

import pytest

from smartmeter.errors import UserError
from stack import mosquitto


def test_a_missing_mosquitto_is_one_sentence(monkeypatch):
    monkeypatch.setattr(mosquitto.shutil, "which", lambda name, path: None)
    with pytest.raises(UserError, match="^Mosquitto is missing; install it, for example with: sudo apt install mosquitto$"):
        mosquitto.program()


def test_it_is_found_beside_the_path_too(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(mosquitto.shutil, "which", lambda name, path: f"{path}/{name}")
    assert mosquitto.program() == "/nowhere:/usr/sbin/mosquitto"
