"""./smw import: from files of each format to bursts, and the sentences for what cannot be sent."""

import argparse
import shutil
from datetime import date

import numpy as np
import pytest

from commands import import_, older_days
from importer import sending
from jobs.core import energy
from jobs.core.house_days import Rules
from smartmeter.errors import UserError
from smartmeter.settings import Settings
from tests.unit import one_house
from tests.unit.channel_files import NOON, house
from tests.unit.driver import pipeline
from tests.unit.importing import written
from tests.unit.logs import HOUR_MS
from tests.unit.test_caltrack import table
from tests.unit.test_dataport import MINUTES
from tests.unit.test_debs import LINES
from tests.unit.test_green_button import block, feed, reading_type, readings
from tests.unit.test_mapping import WIDE
from tests.unit.test_refit import FILE

HALF_HOURS = "LCLid,stdorToU,DateTime,KWH/hh (per half hour) \n" + "".join(
    f"MAC00000{house},Std,2013-01-0{1 + slot // 48} {slot // 2 % 24:02}:{slot % 2 * 30:02}:00.0000000, {house / 2} \n"
    for house in (2, 3)
    for slot in range(49)
)
EXPORT = feed(readings(1), reading_type(1, flow=19, multiplier=0), block(1, (1396170000, 900, 7)))


@pytest.fixture
def smw_import(tmp_path, monkeypatch):
    """Runs the command: it gives (houses, bursts) that were sent."""
    sent = [], []

    class Kept:
        def __init__(self, settings):
            self.send_houses, self.send_burst = sent[0].extend, sent[1].append

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(sending, "Producer", Kept)
    monkeypatch.setattr(older_days, "newest_ms", lambda settings: {})

    def run(*words, **settings):
        parser = argparse.ArgumentParser()
        import_.add_arguments(parser)
        assert import_.run(parser.parse_args([str(word) for word in words]), Settings().but(home=tmp_path / "home", **settings)) == 0
        return sent

    return run


def kwh(bursts, house_id, max_gap_s=1000):
    """Energy of the only meter of a house, by the rule of docs/design.md."""
    times, watts = [], []
    for burst in bursts:
        if burst.house_id == house_id:
            assert len(burst.meter_ids) == 1
            times += (burst.start_ms + np.cumsum(burst.deltas.astype(np.int64)) * burst.tick_ms).tolist()
            watts += burst.watts.tolist()
    seconds = np.array(times) / 1000
    return float((np.minimum(np.diff(seconds), max_gap_s) * np.array(watts[:-1])).sum() / 3.6e6)


def test_half_hours_have_their_energy(smw_import, tmp_path, capsys):
    source = written(tmp_path, "LCL.csv", HALF_HOURS)
    houses, bursts = smw_import(source.path)
    assert [(each["house_id"], each["source"], each["timezone"]) for each in houses] == [
        (2, "low-carbon-london/MAC000002", "Europe/London"),
        (3, "low-carbon-london/MAC000003", "Europe/London"),
    ]
    assert [kwh(bursts, house_id, 1800) for house_id in (2, 3)] == pytest.approx([48, 72])
    assert [burst.holds_s.tolist() for burst in bursts] == [[1800]] * len(bursts)
    for house_id in (2, 3):
        own = [burst for burst in bursts if burst.house_id == house_id]
        days, late, _ = one_house.run(own, Rules(max_sample_period_ms=1_000_000, allowed_lateness_ms=HOUR_MS))
        row, _ = days[1, date(2013, 1, 1)]
        assert energy.kwh(row["energy_mj"], row["energy_rest"]) == pytest.approx(24 * house_id) and not late
        assert row["covered_ms"] == 24 * HOUR_MS
    assert "sent 98 readings of 2 houses" in capsys.readouterr().out


def test_debs_gives_the_sum_check(smw_import, tmp_path):
    """A plug draws 1200 W, and its register counts 0.02 kWh a minute; the register of a plug without load is sent, too."""
    begin = 1_379_887_200  # 2013-09-23T00:00 in Berlin
    lines = []
    for minute in range(24 * 60 + 120):
        lines += [f"1,{begin + 60 * minute},{100 + 0.02 * minute:.3f},0,11,0,12", f"2,{begin + 60 * minute},1200,1,11,0,12"]
    lines += [f"3,{begin + 60 * minute},{7 + 0.001 * minute:.3f},0,3,0,12" for minute in range(0, 24 * 60 + 120, 30)]
    _, bursts = smw_import(written(tmp_path, "debs.csv", "\n".join(lines)).path)
    assert {tuple(burst.quantities.tolist()) for burst in bursts} == {(0, 0, 1, 1)}
    results, _, _ = pipeline(bursts, [7], Settings())
    columns = ("kwh", "register_kwh", "power_kwh", "register_faults", "covered_s")
    assert {r["meter_id"]: [r[name] for name in columns] for r in results.last("daily_energy").values() if r["final"]} == {
        12: pytest.approx([28.8, 28.8, 28.8, 0, 86_400]),
        4: [pytest.approx(1.44), pytest.approx(1.44), None, 0, 86_400],
    }


def test_export_is_negative_power_of_a_meter_of_its_own(smw_import, tmp_path):
    types = reading_type(1, multiplier=0), reading_type(2, flow=19, multiplier=0)
    blocks = block(1, (1396170000, 900, 125), (1396170900, 900, 0)), block(2, (1396170000, 900, 0), (1396170900, 900, 500))
    text = feed(readings(1), readings(2), *types, *blocks)
    [house], bursts = smw_import(written(tmp_path, "u.xml", text).path, "--timezone", "UTC")
    assert [(meter["label"], meter["kind"]) for meter in house["meters"]] == [("mains", "mains"), ("export", "mains")]
    assert bursts[0].watts.tolist() == [500, 0, 0, -2000] and bursts[0].holds_s.tolist() == [900, 900]


def test_the_net_power_of_a_grid_meter_and_solar_keep_their_sign(smw_import, tmp_path):
    houses, bursts = smw_import(written(tmp_path, "a.csv", MINUTES).path, "--timezone", "America/Chicago")
    assert {meter["label"]: meter["kind"] for meter in houses[0]["meters"]} == {"air1": "appliance", "grid": "mains", "solar": "solar"}
    assert bursts[0].watts.tolist() == [500, 250, 1250, -750, 4, -2000]


def test_files_of_several_formats_and_what_is_none(smw_import, tmp_path, caplog, capsys):
    folder = tmp_path / "data"
    house(folder, labels="1 mains\n", c1="".join(f"{NOON + 60 * minute} 600\n" for minute in range(61)))
    written(folder, "refit/CLEAN_House2.csv", FILE)
    written(folder, "debs.csv", LINES.replace(",2,3,0", ",2,3,12"))
    written(folder, "readme.txt", "All about it.\n")
    houses, bursts = smw_import(folder)
    assert [each["house_id"] for each in houses] == [1, 2, 13]
    assert kwh(bursts, 1) == pytest.approx(0.6)
    assert [meter["label"] for meter in houses[1]["meters"]][:2] == ["aggregate", "appliance 1"]
    assert "readme.txt: not a format that is known, left out; so 1 files in all" in caplog.text
    assert "channels/1" in capsys.readouterr().out


def test_a_file_twice_in_any_order_sends_each_reading_once(smw_import, tmp_path, caplog):
    lines = FILE.splitlines()
    one = written(tmp_path, "CLEAN_House1.csv", FILE)
    other = written(tmp_path, "again/House_1.csv", "\n".join([lines[0], *reversed(lines[1:])]))
    _, bursts = smw_import(one.path, other.path)
    assert sum(len(burst.watts) for burst in bursts) == 20
    assert "20 readings at a time that their meter has a reading of already, 0 with another value: left out" in caplog.text


def test_a_mapping_a_house_and_meters_that_are_left_out(smw_import, tmp_path):
    source = written(tmp_path, "data.csv", "when,grid,heat pump\n2013-10-09 09:30,2,-1\n2013-10-09 09:31,2,-1\n")
    mapping = written(tmp_path, "map.toml", WIDE.replace("900", "60"))
    houses, bursts = smw_import(source.path, "--map", mapping.path, "--house", 9, "--without", "HEAT PUMP")
    assert [(each["house_id"], each["source"]) for each in houses] == [(9, "table/7")]
    assert [burst.watts.tolist() for burst in bursts] == [[2000, 2000], []], "it stands alone"


def test_the_register_of_solar_counts_what_it_feeds(smw_import, tmp_path):
    source = written(tmp_path, "data.csv", "when,roof\n2013-10-09 09:30,5\n2013-10-09 09:31,5.25\n")
    mapping = 'time = "when"\ntimezone = "UTC"\nhouse = 7\n[[columns]]\nname = "roof"\nkind = "solar"\nunit = "kWh"\nquantity = "import"\n'
    [house], bursts = smw_import(source.path, "--map", written(tmp_path, "map.toml", mapping).path)
    assert house["meters"][0]["kind"] == "solar"
    assert [(burst.quantities.tolist(), burst.energies.tolist()) for burst in bursts if len(burst.energies)] == [
        ([0, 2], [5_000_000, 250_000])
    ]


STATED = """
[[meters]]
label = "heat pump"
kind = "ev"
parent = "Mains"
scale = 10

[[meters]]
meter = 1
house = 7
sign = 1
"""


def test_what_is_stated_of_meters_holds(smw_import, tmp_path):
    source = written(tmp_path, "data.csv", "when,grid,heat pump\n2013-10-09 09:30,2,-1\n2013-10-09 09:31,2,-1\n")
    mapping, meters = written(tmp_path, "map.toml", WIDE.replace("900", "60")), written(tmp_path, "meters.toml", STATED)
    [house], bursts = smw_import(source.path, "--map", mapping.path, "--meters", meters.path)
    assert house["meters"] == [
        {"meter_id": 1, "label": "Mains", "kind": "mains", "parent": 0},
        {"meter_id": 2, "label": "heat pump", "kind": "ev", "parent": 1},
    ]
    assert sorted({*bursts[0].watts.tolist(), *bursts[1].watts.tolist()}) == [2000, 600_000]


@pytest.mark.parametrize(
    "changed, message",
    [
        (('"Mains"', '"barn"'), "house 7: the parent of heat pump is 'barn', which no meters of the house are called"),
        (('"Mains"', '"heat pump"'), "house 7: meter 2 in 2 is a circle of parents; correct the parent of one of them"),
        (("house = 7", "house = 8"), "meters.toml: the table [[meters]] number 2 fits no meter of the files"),
    ],
)
def test_what_is_stated_wrong_is_refused_before_anything_is_sent(smw_import, tmp_path, changed, message):
    source = written(tmp_path, "data.csv", "when,grid,heat pump\n2013-10-09 09:30,2,-1\n")
    mapping, meters = written(tmp_path, "map.toml", WIDE), written(tmp_path, "meters.toml", STATED.replace(*changed))
    with pytest.raises(UserError) as error:
        smw_import(source.path, "--map", mapping.path, "--meters", meters.path)
    assert message in str(error.value)


def test_a_folder_is_read_in_one_format(smw_import, tmp_path, caplog):
    written(tmp_path, "data/CLEAN_House1.csv", FILE)
    written(tmp_path, "data/debs.csv", LINES)
    houses, _ = smw_import(tmp_path / "data", "--format", "debs")
    assert [each["house_id"] for each in houses] == [1, 13] and houses[0]["source"] == "debs/1"
    assert "CLEAN_House1.csv: not a format that is known, left out" in caplog.text
    with pytest.raises(UserError, match="CLEAN_House1.csv: it does not have the format uci"):
        smw_import(tmp_path / "data", "--format", "uci")


def test_house_0_has_a_number_too(smw_import, tmp_path):
    house(tmp_path / "data", number=0, labels="1 mains\n", c1=f"{NOON} 600\n")
    (only,), bursts = smw_import(tmp_path / "data")
    assert only["source"] == "channels/0" and 0 < only["house_id"] < 2**53 and bursts[0].house_id == only["house_id"]


def test_check_sends_nothing(smw_import, tmp_path, capsys):
    houses, bursts = smw_import(written(tmp_path, "CLEAN_House1.csv", FILE).path, "--check")
    assert not houses and not bursts and "refit/1" in capsys.readouterr().out


def test_bad_lines_are_left_out_and_listed(smw_import, tmp_path, caplog):
    bad = "".join(f"{NOON + second} {watts}\n" for second, watts in enumerate([5, 2**32 - 1, -0.3, *["x"] * 20, 6]))
    folder = house(tmp_path / "data", labels="1 mains\n", c1=bad)
    with pytest.raises(UserError, match=r"channel_1.dat:4: '1303142403': watts: 'x' is no number"):
        smw_import(folder.parent)
    _, bursts = smw_import(folder.parent, "--skip-bad")
    assert [burst.watts.tolist() for burst in bursts] == [[5, np.float32(-0.3), 6], []], "it stands alone"
    listed = (tmp_path / "home" / "bad_lines.txt").read_text().splitlines()
    assert len(listed) == 21 and listed[-1].startswith(f"{folder}/channel_1.dat:2: mains: 4294967295 W")
    assert "21 bad lines in all: left out, and listed in " in caplog.text


@pytest.mark.parametrize(
    "filename, text, words, message",
    [
        ("a.csv", LINES + "5,1379879535,-1,0,11,0,12\n", [], "a.csv:4: plug 12: -1 kWh: a register has 0 to "),
        ("a.csv", table("501,9,KWH,D,2014-02-01,E1,100,,1,2,3,4"), [], "a.csv: the time zone of its houses is unknown"),
        ("u.xml", EXPORT, ["--timezone", "UTC", "--without", "export"], "there is no reading in these files"),
        ("a.csv", "x,y\n1,2\n", [], "a.csv: its format is not known; give what its columns mean with --map"),
        ("a.csv", "x,y\n1,2\n", ["--format", "refit"], "a.csv: the number of its house is not in the file's name"),
        ("House_1.csv", "x,y\n1,2\n", ["--format", "refit"], "House_1.csv: no header with the columns Unix, Aggregate"),
        ("a.csv", "x,y\n1,2\n", ["--format", "excel"], "--format excel: give one of channels, refit"),
        ("a.csv", "", [], "a.csv: its format is not known"),
        ("House_1.csv", FILE.splitlines()[0], [], "there is no reading in these files"),
        ("House_1.csv", FILE, ["--house", "0"], "--house 0: houses are numbered from 1"),
        ("House_1.csv", FILE, ["--timezone", "Mars"], "unknown time zone 'Mars'"),
    ],
)
def test_what_cannot_be_sent_is_refused_before_anything_is(smw_import, tmp_path, filename, text, words, message):
    source = written(tmp_path, filename, text)
    with pytest.raises(UserError) as error:
        smw_import(source.path, *words)
    assert message in str(error.value)
    assert not any(smw_import(written(tmp_path, "ok/House_1.csv", FILE).path, "--check"))


def test_an_empty_folder_and_a_home_that_cannot_be_written(smw_import, tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="none: there is no file in it"):
        smw_import(tmp_path / "none")
    (tmp_path / "home").mkdir(exist_ok=True)
    shutil.rmtree(tmp_path / "home")
    (tmp_path / "home").write_text("")
    with pytest.raises(UserError, match="home: File exists; SMW_HOME needs room for the readings"):
        smw_import(written(tmp_path, "House_1.csv", FILE).path)
