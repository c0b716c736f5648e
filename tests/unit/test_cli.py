"""The command line as a user meets it: exit codes and sentences."""

import os
import re
import shlex
import signal
import subprocess

import pytest

from commands.cli import main, parser
from smartmeter.kafka import connection
from smartmeter.settings import ROOT
from stack.processes import STOP_SIGNALS
from tests.waiting import STILL_S


@pytest.fixture
def nowhere(tmp_path):
    """Settings of a broker and a ClickHouse that are not there."""
    return {"SMW_HOME": str(tmp_path / "home"), "SMW_KAFKA": "127.0.0.1:1", "SMW_CLICKHOUSE_URL": "http://127.0.0.1:1"}


@pytest.fixture
def smw(tmp_path, nowhere):
    """Runs ./smw from another folder."""

    def run(*arguments, **environ):
        return subprocess.run(
            [ROOT / "smw", *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=STILL_S, env=os.environ | nowhere | environ
        )

    return run


@pytest.fixture
def smw_here(tmp_path, nowhere, monkeypatch, capsys):
    """Runs what ./smw runs, in this process: it gives (exit code, lines on standard error)."""
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    monkeypatch.chdir(tmp_path)
    for function in (connection.why_not, connection.failure):  # how long to wait for a broker is for test_producer.py
        monkeypatch.setattr(function, "__defaults__", (0.5,))

    def run(*arguments, **environ):
        for name, value in (nowhere | environ).items():
            monkeypatch.setenv(name, value)
        try:
            code = main(list(arguments))
        except SystemExit as wrong:
            code = wrong.code
        return code, capsys.readouterr().err.splitlines()

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_help_names_every_command(smw):
    result = smw("--help")
    assert result.returncode == 0
    for command in ("demo", "stack", "generate", "replay", "savepoint", "setup", "sql", "status", "topics", "test"):
        assert re.search(rf"^    {command}\s", result.stdout, re.MULTILINE)


def test_the_help_of_a_command_keeps_its_names_as_they_are_written(capsys):
    with pytest.raises(SystemExit):
        main(["stack", "--help"])
    assert "Start Kafka, ClickHouse, the sink and the pipeline, and run them until Ctrl-C." in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, environ, sentence",
    [
        (["sql", "SELECT 1"], {}, "ClickHouse does not answer at http://127.0.0.1:1"),
        (["topics"], {}, "no Kafka broker answers at 127.0.0.1:1"),
        (["generate", "--data", "nothing"], {}, "nothing: there is no such folder"),
        (["replay", "--from", "2026-11-01", "--to", "2026-11-02"], {}, "no Kafka broker answers at 127.0.0.1:1"),
        (["savepoint"], {"SMW_FLINK_UI_PORT": "1"}, "no Flink answers at http://127.0.0.1:1"),
        (["submit", "pipeline", "--jobmanager", "127.0.0.1:1"], {}, "no Flink answers at http://127.0.0.1:1"),
        (["stack", "--from-savepoint", "/tmp"], {}, "/tmp is no savepoint: it has no file _metadata"),
        (["topics"], {"SMW_PARTITIONS": "many"}, "SMW_PARTITIONS='many': it takes a whole number"),
        (["topics"], {"SMW_KAFKA_CA": "ca.pem", "SMW_KAFKA_TLS": "true"}, "SMW_KAFKA_CA=ca.pem: it takes a PEM file of certificates"),
        (
            ["sql", "SELECT 1"],
            {"SMW_CLICKHOUSE_CA": "ca.pem", "SMW_CLICKHOUSE_URL": "https://127.0.0.1:1"},
            "SMW_CLICKHOUSE_CA=ca.pem: it takes a PEM file of certificates",
        ),
        (["stack"], {"SMW_HOME": "/proc/none"}, "/proc/none cannot be written"),
        (["stack"], {"SMW_KAFKA": "here"}, "SMW_KAFKA=here: it takes host:port"),
        (["demo", "--houses", "0"], {}, "--houses 0: give 1 or more"),
    ],
)
def test_what_the_user_can_fix_is_reported_in_one_sentence(smw_here, arguments, environ, sentence):
    code, lines = smw_here(*arguments, **environ)
    assert code == 1
    assert lines[-1].startswith(f"smw: {sentence}")
    assert not [line for line in lines if "Traceback" in line]


@pytest.mark.parametrize("arguments", [[], ["bogus"], ["generate", "--start", "yesterday"], ["demo", "--speed", "0"]])
def test_wrong_arguments(smw_here, arguments):
    code, lines = smw_here(*arguments)
    assert code == 2
    assert "smw" in lines[-1] and "error:" in lines[-1]


@pytest.mark.parametrize(
    "arguments, environ, code, sentence",
    [
        (["topics"], {"SMW_PARTITIONS": "many"}, 1, "smw: SMW_PARTITIONS='many': it takes a whole number"),
        (["bogus"], {}, 2, "smw: error: "),
    ],
)
def test_the_process_ends_with_the_sentence_and_its_code(smw, arguments, environ, code, sentence):
    result = smw(*arguments, **environ)
    assert result.returncode == code
    assert result.stderr.splitlines()[-1].startswith(sentence)
    assert "Traceback" not in result.stderr


COMMANDS = [
    (file.name, match[1])
    for file in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    for match in re.finditer(r"^ {4,}(?:SMW_\w+=\S+ )*\./smw (?!test|bench)(.*)", file.read_text(), re.MULTILINE)
]
"""(document, what follows ./smw) of each line to be typed; test and bench take arguments of their own."""


@pytest.mark.parametrize("file, command", COMMANDS)
def test_every_command_of_the_documents_is_one(file, command):
    arguments = shlex.split(command, comments=True)
    assert parser(arguments[0]).parse_args(arguments).run


def test_by_symbolic_link(tmp_path):
    (tmp_path / "link").symlink_to(ROOT / "smw")
    assert subprocess.run([tmp_path / "link", "sql", "--help"], cwd=tmp_path, capture_output=True).returncode == 0
