"""Settings from environment variables."""

import stat
from pathlib import Path

import pytest

from smartmeter.run import Run
from smartmeter.settings import Settings
from smartmeter.variables import SettingsError


def test_variables_override_defaults_and_but_overrides_variables():
    environ = {"SMW_MAX_GAP_S": "60.5", "SMW_KAFKA_TLS": "true", "SMW_HOME": "/some/where", "SMW_PARTITIONS": "8"}
    settings = Settings.load(environ).but(partitions=2)
    assert (settings.rules.max_gap_s, settings.kafka.tls, settings.stack.home, settings.kafka.partitions) == (
        60.5,
        True,
        Path("/some/where"),
        2,
    )
    assert settings.kafka.address == "127.0.0.1:9092"


def test_but_changes_settings_of_several_groups_at_once_and_no_others():
    before = Settings().but(quantile=0.5)
    after = before.but(kafka_user="ann", kafka_password="secret", clickhouse_database="other", sink_batch_rows=9)
    assert (after.kafka.user, after.kafka.password, after.clickhouse.database, after.clickhouse.batch_rows) == ("ann", "secret", "other", 9)
    assert (after.flink, after.rules, after.stack) == (before.flink, before.rules, before.stack) and before.kafka.user == ""
    with pytest.raises(SettingsError, match="^SMW_PARTITIONS=0: it takes 1 or more$"):
        before.but(partitions=0)
    with pytest.raises(TypeError, match="^there is no setting ca, tls$"):
        before.but(ca="ca.pem", tls=True, partitions=8)


def test_each_setting_has_a_variable_of_its_own():
    variables = [item.variable.name for item in (*Settings().items(), *Run().items())]
    assert len(set(variables)) == len(variables) and all(name.startswith("SMW_") for name in variables)
    assert all(item.variable.meaning for item in Settings().items())


def test_a_process_gets_the_same_settings_through_its_environment():
    settings = Settings().but(kafka="localhost:1", kafka_tls=True, emit_every_s=0.25, home=Path("/some/where"))
    assert Settings.load(settings.environ()) == settings


@pytest.mark.parametrize(
    "name, value, takes",
    [
        ("SMW_PARTITIONS", "many", "it takes a whole number"),
        ("SMW_MAX_GAP_S", "long", "it takes a number"),
        ("SMW_KAFKA_TLS", "perhaps", "it takes true or false"),
        ("SMW_REPLICATION", "32768", "0 or more"),
        ("SMW_STATE_BACKEND", "disk", "hashmap or rocksdb"),
        ("SMW_MAX_GAP_S", "86400", "less than 82800"),
        ("SMW_MAX_GAP_S", "nan", "less than 82800"),
        ("SMW_ALLOWED_LATENESS_S", "-1", "0 or more"),
        ("SMW_RETENTION_DAYS", "-1", "0 to 36500"),
        ("SMW_PROFILE_DAYS", "36501", "0 to 36500"),
        ("SMW_MAX_CONNECTION_KW", "0", "more than 0, up to 100000"),
        ("SMW_MAX_CONNECTION_KW", "100001", "more than 0, up to 100000"),
        ("SMW_PARALLELISM", "129", "up to SMW_MAX_PARALLELISM"),
        ("SMW_OLDEST_DATE", "1970-01-01", "a date such as 2001-01-01"),
        ("SMW_OLDEST_DATE", "2001", "a date such as 2001-01-01"),
        ("SMW_SCHEMA_REGISTRY_URL", "registry:8081", "an address that begins with http:// or https://"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(name, value, takes):
    with pytest.raises(SettingsError, match=f"{name}=.*{takes}"):
        Settings.load({name: value})


@pytest.mark.parametrize(
    "environ, sentence",
    [
        (dict(SMW_KAFKA_CA="ca.pem"), "SMW_KAFKA_CA=ca.pem: it takes SMW_KAFKA_TLS=true beside it"),
        (dict(SMW_KAFKA_USER="ann"), "SMW_KAFKA_USER=ann: it takes SMW_KAFKA_PASSWORD beside it"),
        (dict(SMW_KAFKA_PASSWORD="secret"), "SMW_KAFKA_PASSWORD is set: it takes SMW_KAFKA_USER beside it"),
        (dict(SMW_CLICKHOUSE_CA="ca.pem"), "SMW_CLICKHOUSE_CA=ca.pem: it takes an SMW_CLICKHOUSE_URL of https beside it"),
    ],
)
def test_settings_that_do_not_fit_each_other_are_refused(environ, sentence):
    with pytest.raises(SettingsError) as refused:
        Settings.load(environ)
    assert str(refused.value) == sentence


def test_passwords_are_not_shown():
    settings = Settings().but(kafka_user="ann", kafka_password="secret", clickhouse_password="secret", clickhouse_reader_password="secret")
    assert "secret" not in repr(settings) and "ann" in repr(settings)


@pytest.mark.parametrize(
    "url",
    [
        "http://ann:secret@clickhouse:8123",
        "https://:secret@clickhouse:8443",
        "http://secret@clickhouse:8123",
        "http://clickhouse:8123?user=ann&password=secret",
        "https://clickhouse:8443/?access_token=secret",
    ],
)
def test_a_password_in_the_address_of_clickhouse_is_refused_and_not_repeated(url):
    with pytest.raises(SettingsError, match="^SMW_CLICKHOUSE_URL takes .* SMW_CLICKHOUSE_USER and SMW_CLICKHOUSE_PASSWORD") as refused:
        Settings.load({"SMW_CLICKHOUSE_URL": url})
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["http://clickhouse:8123", "https://clickhouse.example.org:8443?verify=false", "http://[::1]:8123"])
def test_an_address_without_a_password_is_taken(url):
    assert Settings.load({"SMW_CLICKHOUSE_URL": url}).clickhouse.url == url


@pytest.mark.parametrize(
    "environ, url",
    [
        ({}, ""),
        ({"SCHEMA_REGISTRY_URL": "http://theirs:8081"}, "http://theirs:8081"),
        ({"SCHEMA_REGISTRY_URL": "http://theirs:8081", "SMW_SCHEMA_REGISTRY_URL": "https://ours"}, "https://ours"),
        ({"SCHEMA_REGISTRY_URL": "http://theirs:8081", "SMW_SCHEMA_REGISTRY_URL": ""}, ""),
    ],
)
def test_the_registry_goes_by_its_usual_name_too(environ, url):
    settings = Settings.load(environ)
    assert settings.registry.url == url
    assert Settings.load({"SCHEMA_REGISTRY_URL": "http://theirs:8081"} | settings.environ()) == settings


def test_a_password_in_the_address_of_the_registry_is_refused_and_not_repeated():
    with pytest.raises(
        SettingsError, match="^SMW_SCHEMA_REGISTRY_URL takes .* SMW_SCHEMA_REGISTRY_USER and SMW_SCHEMA_REGISTRY_PASSWORD$"
    ) as refused:
        Settings.load({"SMW_SCHEMA_REGISTRY_URL": "http://ann:secret@registry"})
    assert "secret" not in str(refused.value)


def test_a_password_may_be_in_a_file(tmp_path):
    (tmp_path / "password").write_text(' it\'s "secret" \n')
    environ = {"SMW_CLICKHOUSE_PASSWORD_FILE": str(tmp_path / "password"), "SMW_CLICKHOUSE_PASSWORD": ""}
    assert Settings.load(environ).clickhouse.password == ' it\'s "secret" '
    assert Settings.load(environ | {"SMW_CLICKHOUSE_PASSWORD": "the other"}).clickhouse.password == "the other"
    with pytest.raises(SettingsError, match="^SMW_KAFKA_PASSWORD_FILE=/absent: it takes a file that can be read$"):
        Settings.load({"SMW_KAFKA_PASSWORD_FILE": "/absent"})


def test_passwords_are_handed_on_in_files_that_only_this_user_can_read(tmp_path):
    settings = Settings().but(kafka_user="ann", kafka_password="secret\\", clickhouse_password="two\nlines")
    environ = settings.environ_without_secrets(tmp_path / "run")
    assert Settings.load(environ) == settings
    assert not any("secret" in value or "lines" in value for value in environ.values())
    assert {file.name: stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "run").iterdir()} == {
        "kafka_password": 0o600,
        "clickhouse_password": 0o600,
    }
