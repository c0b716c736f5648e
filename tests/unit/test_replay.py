"""./smw replay: arguments that are refused before anything is started."""

import argparse

import pytest

from commands import replay
from smartmeter.errors import UserError
from smartmeter.settings import Settings

DAYS = ["--from", "2026-11-01", "--to", "2026-11-02"]


@pytest.mark.parametrize(
    "words, message",
    [
        ([*DAYS, "--with-late"], "^--with-late reorders the readings of one house: give it with --house$"),
        (
            ["--from", "2026-11-02", "--to", "2026-11-01"],
            "^--from 2026-11-02 --to 2026-11-01 --into '': give two dates such as 2026-11-01, the last not",
        ),
        (["--from", "November", "--to", "2026-11-01"], "^--from November --to 2026-11-01"),
        ([*DAYS, "--into", "a-b"], "--into 'a-b': give two dates .* and a name of letters, digits and underscores$"),
    ],
)
def test_arguments_that_are_refused(tmp_path, words, message):
    parser = argparse.ArgumentParser()
    replay.add_arguments(parser)
    with pytest.raises(UserError, match=message):
        replay.run(parser.parse_args(words), Settings().but(home=tmp_path))
