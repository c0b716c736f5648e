"""Green Button files: an Atom feed of a usage point, its readings, their types, and blocks of intervals."""

import pytest

from generator.channels import DatasetError
from importer.formats.green_button import GREEN_BUTTON
from tests.unit.importing import batches, request, values, written

ZONE = "America/Los_Angeles"
POINT = "https://utility.example/espi/1_1/resource/RetailCustomer/9/UsagePoint/01"


def entry(address, content, related=(), up=""):
    links = "".join(
        f'<link rel="{rel}" href="{href}"/>'
        for rel, href in [("self", address), ("up", up), *(("related", each) for each in related)]
        if href
    )
    return f"<entry>{links}<title/><content>{content}</content></entry>"


def espi(tag, **fields):
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in fields.items())
    return f'<{tag} xmlns="http://naesb.org/espi">{inner}</{tag}>'


def reading_type(number, length=900, flow=1, uom=72, multiplier=-3, behaviour=4):
    fields = dict(accumulationBehaviour=behaviour, flowDirection=flow, intervalLength=length, powerOfTenMultiplier=multiplier, uom=uom)
    return entry(f"/ReadingType/{number}", espi("ReadingType", commodity=1, **fields))


def readings(number):
    return entry(
        f"{POINT}/MeterReading/{number}",
        espi("MeterReading"),
        [f"{POINT}/MeterReading/{number}/IntervalBlock", f"/ReadingType/{number}"],
        f"{POINT}/MeterReading",
    )


def block(number, *rows):
    inner = "".join(
        f"<IntervalReading><timePeriod><duration>{length}</duration><start>{start}</start></timePeriod><value>{value}</value></IntervalReading>"
        for start, length, value in rows
    )
    content = (
        f'<IntervalBlock xmlns="http://naesb.org/espi"><interval><duration>1</duration><start>1</start></interval>{inner}</IntervalBlock>'
    )
    return entry(f"{POINT}/MeterReading/{number}/IntervalBlock/1", content, up=f"{POINT}/MeterReading/{number}/IntervalBlock")


def feed(*entries, kind=0):
    point = entry(POINT, f'<UsagePoint xmlns="http://naesb.org/espi"><ServiceCategory><kind>{kind}</kind></ServiceCategory></UsagePoint>')
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<feed xmlns="http://www.w3.org/2005/Atom"><title>Usage</title>{point}{"".join(entries)}</feed>'


def test_energy_in_both_directions(tmp_path):
    text = feed(
        block(1, (1396170000, 900, 125000), (1396170900, 900, 250000)),
        readings(1),
        readings(2),
        reading_type(1),
        block(2, (1396170000, 900, 0), (1396170900, 900, 500)),
        reading_type(2, flow=19, multiplier=0),
    )
    source = written(tmp_path, "usage.xml", text)
    assert values(GREEN_BUTTON, source, request(ZONE)) == {
        (POINT, 1, "mains", "mains", "energy", "Wh"): [(1396170000, 125), (1396170900, 250)],
        (POINT, 2, "export", "mains", "energy", "Wh"): [(1396170000, 0), (1396170900, -500)],
    }
    first, second = batches(GREEN_BUTTON, source, request(ZONE))
    assert (first.series.interval_s, first.series.timezone, first.lines.tolist(), second.lines.tolist()) == (900, ZONE, [1, 2], [3, 4])


def test_power_registers_gas_and_longer_intervals(tmp_path, caplog):
    text = feed(
        *(readings(number) for number in range(1, 6)),
        reading_type(1, length=3600, multiplier=0),
        reading_type(2, length=86400, multiplier=0),
        reading_type(3, length=0, behaviour=9, multiplier=3),
        reading_type(4, length=0, behaviour=12, uom=38, multiplier=0),
        reading_type(5, uom=169),
        *(block(number, (1396170000, 86400 if number == 2 else 3600, 7)) for number in range(1, 6)),
    )
    found = values(GREEN_BUTTON, written(tmp_path, "usage.xml", text), request(ZONE))
    assert {key[4:]: value for key, value in found.items()} == {
        ("energy", "Wh"): [(1396170000, 7)],
        ("import", "Wh"): [(1396170000, 7000)],
        ("power", "W"): [(1396170000, 7)],
    }
    assert "2 readings of gas, in other units, or of longer intervals than others: left out" in caplog.text
    gas = written(tmp_path, "gas.xml", feed(readings(1), reading_type(1), block(1, (1396170000, 900, 1)), kind=1))
    assert not values(GREEN_BUTTON, gas, request(ZONE))


@pytest.mark.parametrize(
    "text, message",
    [
        (
            feed(readings(1), reading_type(1), block(1, (1396170000, 900, "x"))),
            "usage.xml:1: start '1396170000', duration '900' and value 'x' are not",
        ),
        (feed(readings(1), reading_type(1), block(1, (0, 900, 1))), "usage.xml:1: the time 1970-01-01T00:00:00 UTC is before"),
        (feed(readings(1))[:-20], "usage.xml: it is no whole XML file"),
        (
            '<!DOCTYPE x [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]>' + feed(readings(1)).partition("\n")[2].replace("Usage<", "&b;<"),
            "usage.xml: it is no whole XML file",
        ),
    ],
)
def test_files_that_cannot_be_used(tmp_path, text, message):
    with pytest.raises(DatasetError) as error:
        batches(GREEN_BUTTON, written(tmp_path, "usage.xml", text), request(ZONE))
    assert message in str(error.value)


def test_the_zone_must_be_given(tmp_path):
    with pytest.raises(DatasetError, match="the time zone of its houses is unknown"):
        batches(GREEN_BUTTON, written(tmp_path, "usage.xml", feed()))
