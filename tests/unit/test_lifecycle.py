"""Finding the stack from other commands."""

from smartmeter.settings import Settings
from stack import lifecycle
from stack.lifecycle import addresses, demo_home, of_what_runs


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
