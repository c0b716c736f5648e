"""What is known of houses."""

from notify.directory import UNKNOWN, Directory

HOUSE = {
    "house_id": 7,
    "timezone": "America/New_York",
    "source": "synthetic",
    "zip": "02138",
    "city": "Cambridge",
    "state": "MA",
    "latitude": None,
    "longitude": None,
    "population": None,
    "updated": 5,
    "meters": [{"meter_id": 2, "label": "fridge", "kind": "appliance", "parent": 0}],
}


def test_the_newest_record_of_a_house_counts():
    houses = Directory()
    assert houses.of(7) == UNKNOWN and houses.local(7, 0) == "1970-01-01 00:00 +0000"
    houses.take(HOUSE)
    houses.take({**HOUSE, "updated": 4, "city": "Boston"})
    assert (houses.of(7).city, houses.of(7).labels, houses.timezone(7)) == ("Cambridge", {2: "fridge"}, "America/New_York")
    assert houses.local(7, 1_555_200_000_000) == "2019-04-13 20:00 -0400"
    assert houses.of(7).kinds == {2: "appliance"}
    assert (houses.appliance(7, 2), houses.appliance(7, 0), houses.appliance(7, 3), houses.appliance(8, 2)) == (
        "fridge",
        "the house",
        "",
        "",
    )


def test_a_time_zone_that_does_not_exist_is_utc():
    houses = Directory()
    houses.take({**HOUSE, "timezone": "../etc/passwd"})
    assert houses.timezone(7) == "UTC"
