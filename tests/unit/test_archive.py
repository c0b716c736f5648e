"""./smw archive: its arguments, and one run at a time."""

import argparse
from datetime import date

import pytest

from commands import archive
from smartmeter.errors import UserError
from smartmeter.settings import Settings


def parsed(*words):
    parser = argparse.ArgumentParser()
    archive.add_arguments(parser)
    return parser.parse_args(words)


def test_arguments():
    args = parsed("--from", "2026-11-01", "--to", "2026-11-02", "--houses", "3-5")
    assert (args.first, args.last, args.houses) == (date(2026, 11, 1), date(2026, 11, 2), range(3, 6))
    assert parsed("--from", "2026-11-01", "--to", "2026-11-02").houses is None


@pytest.mark.parametrize(
    "words, message",
    [
        (["--from", "1 Nov", "--to", "2026-11-02"], "'1 Nov' is not a date such as 2026-11-01"),
        *(
            (["--from", "2026-11-01", "--to", "2026-11-02", "--houses", houses], f"'{houses}' is not a range of houses such as 1-100")
            for houses in ("5", "5-3", "0-3", "a-b", "1-2-3", "-3")
        ),
        (["--from", "2026-11-01"], "the following arguments are required: --to"),
    ],
)
def test_arguments_that_do_not_parse(words, message, capsys):
    words = [word if word != "-3" else "--houses=-3" for word in words if not (word == "--houses" and words[-1] == "-3")]
    with pytest.raises(SystemExit):
        parsed(*words)
    assert message in capsys.readouterr().err


def test_the_last_day_comes_after_the_first(tmp_path):
    with pytest.raises(UserError, match="--from 2026-11-02 --to 2026-11-01: give the last day not before the first"):
        archive.run(parsed("--from", "2026-11-02", "--to", "2026-11-01"), Settings().but(home=tmp_path))


def test_one_run_writes_into_a_folder_at_a_time(tmp_path):
    with (
        archive.alone(tmp_path / "archive"),
        pytest.raises(UserError, match="archive writes into .*: wait until it ends"),
        archive.alone(tmp_path / "archive"),
    ):
        pass
    (tmp_path / "file").touch()
    with (
        pytest.raises(UserError, match="the archive needs a writable folder with free space"),
        archive.alone(tmp_path / "file" / "archive"),
    ):
        pass
