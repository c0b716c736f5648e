"""The table of places."""

import re
from zoneinfo import ZoneInfo

import numpy as np

from generator.places import draw_place, places


def test_zip_table():
    table = list(places().values())
    assert len(table) >= 100
    for place in table:
        assert re.fullmatch(r"\d{5}", place.zip) and re.fullmatch("[A-Z]{2}", place.state) and place.city
        assert 18 < place.latitude < 72 and -180 < place.longitude < -66 and 0 < place.population < 150_000
        ZoneInfo(place.timezone)
    assert len({(place.latitude, place.longitude) for place in table}) == len(table)
    assert len({place.state for place in table}) >= 40
    beverly_hills = places()["90210"]
    assert (beverly_hills.city, beverly_hills.state, beverly_hills.timezone) == ("Beverly Hills", "CA", "America/Los_Angeles")


def test_places_are_drawn_as_people_live_there():
    rng = np.random.default_rng(0)
    drawn = [draw_place(rng) for _ in range(300)]
    assert np.mean([p.population for p in drawn]) > 1.5 * np.mean([p.population for p in places().values()])
