"""The record of a house."""

from generator.synthetic import synthetic_houses
from smartmeter.messages.codec import decode, encode


def test_house_record_fits_its_schema():
    record = synthetic_houses(1, seed=1)[0].record()
    assert decode(encode("house", record)) == ("house", record)
