"""The state that a release left is read, and its houses go on as if nothing had been between. tests/releases has it, and its log."""

import zipfile
from collections import defaultdict

import lz4.block
import pytest

from jobs.core.state_version import StateFault
from smartmeter.settings import ROOT
from tests.releases.log import DESCRIPTIONS, END_MINUTE, RULES, SETTING, time_ms
from tests.unit.driver import Results, pipeline, state_of
from tests.unit.flink_stand_in import FlinkStandIn

IN_EVERY_HOUSE = ("days", "window", "versions", "runs", "minutes", "present_hours", "durations", "shapes", "usuals")
OPEN_DAY = 20582  # of the releases
HOURS = ("hour_starts", "hours", "hour_kwh", "hour_covered_s")


def left_by(release: str) -> tuple[list[bytes], list[bytes], FlinkStandIn]:
    """(messages before and after the release ended, the state that it left)."""
    messages, keyed = defaultdict(list), FlinkStandIn()
    with zipfile.ZipFile(ROOT / "tests" / "releases" / release / "state.zip") as file:
        for name in sorted(file.namelist()):
            part, *key = name.split("/", 2)
            if part == "state":
                keyed.state[int(key[0])][key[1]] = file.read(name)
            else:
                messages[part].append(file.read(name))
    return messages["before"], messages["after"], keyed


def run(messages, **options) -> Results:
    """The results of messages, those of the topic's end among them."""
    return pipeline(messages, [3], SETTING, rules=RULES, houses=DESCRIPTIONS, **options)[1]


def whole_and_resumed(release: str) -> tuple[Results, Results]:
    """The results of a log in one run of this release, and those of its rest after the state that the other release left."""
    before, after, keyed = left_by(release)
    return run(before + after), run(before + after, begin=len(before), keyed=keyed, restarts=[len(before)])


@pytest.mark.parametrize("release, frozen", [("2026-11-30", 2), ("2026-12-01", 0)])
def test_state_of_this_code_gives_the_results_of_a_run_that_was_not_interrupted(release, frozen):
    """Until 2026-11-30, a stuck fridge had an alert of kind frozen beside that of its run, which goes on to its end."""
    whole, resumed = whole_and_resumed(release)
    before = run(left_by(release)[0], ends=False)
    of_two_alerts = {key: alert for key, alert in resumed.last("alerts").items() if alert["kind"] == "frozen"}
    assert len(of_two_alerts) == frozen
    for topic, more in (("daily_energy", {}), ("thresholds", {}), ("alerts", of_two_alerts)):
        assert before.last(topic) | resumed.last(topic) == whole.last(topic) | more
    assert before.minutes() | resumed.minutes() == whole.minutes()
    were_open = [alert["alert_id"] for alert in before.last("alerts").values() if alert["open"]]
    assert len(were_open) == 6 and all(not alert["open"] for alert in resumed.last("alerts").values())
    assert not {key for key, alert in resumed.final["alerts"].items() if alert["retracted"]}
    assert {alert["kind"] for alert in resumed.last("alerts").values()} >= {"level", "percentile", "run", "limit"}


def test_state_of_the_last_release_goes_on():
    whole, resumed = whole_and_resumed("0.1.0")
    for key, energy in resumed.last("daily_energy").items():
        without_hours = {name: [] for name in HOURS} if energy["date"] == OPEN_DAY else {}
        assert energy == whole.last("daily_energy")[key] | without_hours
    assert len(resumed.last("daily_energy")) == 9
    assert resumed.minutes() == {key: row for key, row in whole.minutes().items() if key[2] >= time_ms(END_MINUTE - 2)}
    for key, version in resumed.last("thresholds").items():
        expected = whole.last("thresholds")[key]
        assert (version["valid_from"], version["valid_to"]) == (expected["valid_from"], expected["valid_to"])
        assert [meter["percentile_watts"] for meter in version["meters"]] == [meter["percentile_watts"] for meter in expected["meters"]]
    [alert] = resumed.last("alerts").values()
    assert (alert["alert_id"], alert["open"], alert["readings"], alert["end"]) == ("1/1/1778342100000", False, 4, 1778343300000)
    assert alert["limit_watts"] == pytest.approx(1011.6, abs=0.1)  # which the last release had in force


@pytest.mark.parametrize("house_id, name", [(1, name) for name in IN_EVERY_HOUSE] + [(2, "import_register"), (3, "user_rules")])
def test_state_of_an_unknown_version_is_refused(house_id, name):
    before, after, keyed = left_by("2026-12-01")
    state = state_of(keyed, house_id)
    packed = name in ("durations", "shapes", "usuals")
    body = lz4.block.decompress(state.get(name)) if packed else state.get(name)
    of_later = bytes([99]) + body[1:]
    state.put(name, lz4.block.compress(of_later) if packed else of_later)
    state.keep()
    with pytest.raises(
        StateFault, match="a checkpoint of state version 99, but this release reads version [123]: restore it with the release"
    ):
        run(before + after[:15], begin=len(before), keyed=keyed, restarts=[len(before)])
