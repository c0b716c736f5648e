"""Groups of values that environment variables set."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from smartmeter.variables import Check, Group, SettingsError, above, at_least, secret, setting, within


@dataclass(frozen=True)
class Oven(Group):
    """A group with each kind of field."""

    watts: float = setting("SMW_OVEN_WATTS", 2000.0, "its power, in W", above(0))
    rings: int = setting("SMW_RINGS", 4, "its rings", within(1, 6), also="RINGS")
    rest_s: float = setting(
        "SMW_OVEN_REST_S", 0.0, "pause, in s", at_least(0), Check(lambda rest_s, oven: rest_s < oven.watts, "less than its watts")
    )
    gas: bool = setting("SMW_OVEN_GAS", False, "it burns gas")
    password: str = secret("SMW_OVEN_PASSWORD", "opens it", Check(lambda password, _: password != "1234", "another one"))


def test_a_variable_sets_a_field_of_the_type_of_its_default():
    assert Oven.load({}) == Oven(2000.0, 4, 0.0, False, "")
    assert Oven.load({"SMW_OVEN_WATTS": "1e3", "RINGS": "2", "SMW_OVEN_GAS": " True "}) == Oven(watts=1000.0, rings=2, gas=True)
    assert Oven.load({"RINGS": "2", "SMW_RINGS": "3"}).rings == 3


@pytest.mark.parametrize(
    "environ, sentence",
    [
        ({"SMW_OVEN_WATTS": "0"}, "SMW_OVEN_WATTS=0.0: it takes more than 0"),
        ({"SMW_OVEN_WATTS": "warm"}, "SMW_OVEN_WATTS='warm': it takes a number"),
        ({"SMW_RINGS": "7"}, "SMW_RINGS=7: it takes 1 to 6"),
        ({"SMW_RINGS": "2.0"}, "SMW_RINGS='2.0': it takes a whole number"),
        ({"SMW_OVEN_REST_S": "-1"}, "SMW_OVEN_REST_S=-1.0: it takes 0 or more"),
        ({"SMW_OVEN_REST_S": "2000"}, "SMW_OVEN_REST_S=2000.0: it takes less than its watts"),
        ({"SMW_OVEN_GAS": "perhaps"}, "SMW_OVEN_GAS='perhaps': it takes true or false"),
        ({"SMW_OVEN_PASSWORD": "1234"}, "SMW_OVEN_PASSWORD is set: it takes another one"),
        ({"SMW_OVEN_PASSWORD_FILE": "/absent"}, "SMW_OVEN_PASSWORD_FILE=/absent: it takes a file that can be read"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_with_what_it_takes(environ, sentence):
    with pytest.raises(SettingsError) as error:
        Oven.load(environ)
    assert str(error.value) == sentence


def test_a_group_becomes_the_environment_of_a_child_process_and_hides_its_password(tmp_path):
    (tmp_path / "secret").write_text("xyz\n")
    oven = Oven.load({"SMW_OVEN_PASSWORD_FILE": str(tmp_path / "secret"), "SMW_RINGS": "1"})
    assert oven.password == "xyz" and "xyz" not in repr(oven)
    assert oven.environ() == {
        "SMW_OVEN_WATTS": "2000.0",
        "SMW_RINGS": "1",
        "SMW_OVEN_REST_S": "0.0",
        "SMW_OVEN_GAS": "False",
        "SMW_OVEN_PASSWORD": "xyz",
    }
    assert Oven.load(oven.environ()) == oven
