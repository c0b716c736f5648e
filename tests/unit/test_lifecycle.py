"""Finding the stack from other commands, and pauses of its job."""

from functools import partial

import pytest

from smartmeter.errors import UserError
from smartmeter.settings import Settings
from stack import lifecycle
from stack.lifecycle import PAUSE, addresses, demo_home, of_what_runs, paused, stay


def test_the_demos_settings_are_used_where_its_broker_runs(tmp_path, monkeypatch):
    settings = Settings().but(home=tmp_path, kafka="127.0.0.1:9092")
    home = demo_home(settings)
    assert home == tmp_path / "demo" and of_what_runs(settings) == settings
    home.mkdir()
    (home / "kafka.properties").write_text("listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093\n")
    assert of_what_runs(settings) == settings, "it has ended"
    monkeypatch.setattr(lifecycle, "marked", lambda pid_file: [1] if pid_file == home / "run" / "kafka.pid" else [])
    assert of_what_runs(settings).stack.home == home
    assert of_what_runs(Settings().but(home=tmp_path, kafka="127.0.0.1:9095")).stack.home == tmp_path


def test_addresses(tmp_path):
    text = addresses(Settings().but(home=tmp_path, flink_metrics_port=0, sink_metrics_port=9250))
    assert "Kafka:       127.0.0.1:9092\n" in text and "Flink:       http://127.0.0.1:8081\n" in text
    assert "Metrics:     http://127.0.0.1:9250/metrics\n" in text and text.endswith(f"Logs:        {tmp_path / 'logs'}")
    assert "Metrics:     none\n" in addresses(Settings().but(home=tmp_path, flink_metrics_port=0, sink_metrics_port=0))


class Stack:
    """What stay looks after, with a pipeline that a test ends."""

    def __init__(self, monkeypatch):
        self.children, self.ended, self.looks, self.started = {"pipeline": self}, False, iter(()), 0
        self.stop = lambda name: None
        monkeypatch.setattr(lifecycle, "start_job", self.start_job)
        monkeypatch.setattr(lifecycle.time, "sleep", lambda seconds: next(self.looks)())

    def poll(self):
        return 0 if self.ended else None

    def check(self):
        pass

    def end(self):
        self.ended = True

    def start_job(self, *arguments, **options):
        self.ended, self.started = False, self.started + 1


def test_a_stack_ends_with_its_job_but_not_in_a_pause(tmp_path, monkeypatch):
    settings = Settings().but(home=tmp_path)
    pause = paused(settings)
    stack = Stack(monkeypatch)
    stack.looks = iter([pause.__enter__, stack.end, lambda: None, partial(pause.__exit__, None, None, None), stack.end])
    stay(stack, settings)
    assert stack.started == 1 and not (tmp_path / PAUSE).exists() and not list(stack.looks)


def test_a_pause_that_stopped_nothing_leaves_nothing_behind(tmp_path, monkeypatch):
    settings = Settings().but(home=tmp_path)
    with paused(settings), pytest.raises(UserError, match="^another command takes in older days: wait until it ends$"), paused(settings):
        pass
    stack = Stack(monkeypatch)
    stack.looks = iter([lambda: None, stack.end])
    stay(stack, settings)
    assert stack.started == 0 and not (tmp_path / PAUSE).exists()
