"""A disturbed log of readings for the pipeline's tests: gaps, repeats, overlaps, disorder, late bursts, poison, spikes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from confluent_kafka import Producer

from smartmeter.kafka import connection
from smartmeter.messages import topics
from smartmeter.messages.codec import Burst, decode_burst, encode, encode_burst
from smartmeter.messages.records import HouseRecord, RuleRecord
from smartmeter.messages.rules import HOUSE, no_rule
from smartmeter.messages.schemas import CodecError
from tests.oracle import midnight_ms, readings_of
from tests.unit.logs import burst as burst_of
from tests.unit.logs import description, with_registers
from tests.waiting import STILL_S

BURST_MS, DAY_MS = 900_000, 86_400_000
SPIKE_WATTS = 15_000
"""Of the first day."""
Y2K_MS = 946_684_800_000
"""2000-01-01T00:00Z, as a clock shows that was never set."""
HOUSES = {  # house -> (time zone, first day): days of 23 and of 25 hours among them
    1: ("America/New_York", date(2011, 3, 12)),
    2: ("Europe/London", date(2013, 10, 26)),
    3: ("Asia/Kathmandu", date(2013, 4, 12)),
}
SIGNED_HOUSE, FED_IN_WATTS = 2, 400
REGISTER_HOUSE, REGISTERS, REGISTER_MS = 1, ((1, 1), (2, 2), (9, 1)), 300_000
"""(meter, quantity) of the registers of a house, and how often they are read. Meter 9 has nothing else."""
HOLDING_HOUSE, HOLDS_S = 3, np.array([0, 60, 3600], np.int32)
DAYS = 5
STEADY_BURST_MS = 300_000
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
CLIENT = {"message.max.bytes": 8_388_608}
FIRST_TIMESTAMP_MS = 1_300_000_000_000
MESSAGES_OF_A_TRANSACTION = 200
NO_BURST = encode("house", dict(house_id=1, timezone="UTC", source="", zip="", city="", state="", meters=[], updated=0))


@dataclass
class Log:
    """The messages of the topic readings, in order: (key, value), and what is in them."""

    messages: list[tuple[bytes, bytes | None]]
    bursts: list[Burst]  # those that can be used, in the order of the topic
    dead: list[bytes]
    dead_readings: int
    rules: list[RuleRecord] = field(default_factory=list)  # of users
    houses: list[HouseRecord] = field(default_factory=list)  # descriptions, sent before the messages

    @property
    def readings(self) -> int:
        return sum(int(burst.counts.sum()) for burst in self.bursts) + self.dead_readings


def house_bursts(house_id: int, timezone: str, first: date, rng) -> list[Burst]:
    """Bursts of 3 meters over some days, some of them missing; midnight falls within a burst. Meter 1 is always on. Meter 2 of SIGNED_HOUSE
    mostly feeds in. The readings of HOLDING_HOUSE hold for as long as HOLDS_S has it.

    Of the readings 2 % are spikes, some of them two in a row; so are meter 7's last two. Those of a day are twice as high as those of the day
    before, and so over the limit that these give.
    """
    begin = at = midnight_ms(ZoneInfo(timezone), first) - BURST_MS // 3
    end = midnight_ms(ZoneInfo(timezone), first + timedelta(days=DAYS))
    bursts = []
    while at < end:
        counts = rng.integers(0, 25, 3)
        times = [np.sort(rng.choice(BURST_MS // 1000, n, replace=False)) for n in counts]
        deltas = np.concatenate([np.diff(t, prepend=0) for t in times]).astype(np.int32)
        watts = rng.gamma(0.7, 300, counts.sum())
        watts[: counts[0]] += 60
        spikes = rng.random(len(watts)) < 0.02
        spikes[1:] |= spikes[:-1] & (rng.random(len(spikes[1:])) < 0.3)
        spikes[-2:] |= at + BURST_MS >= end
        watts[spikes] += SPIKE_WATTS << (at - begin) // DAY_MS
        if house_id == SIGNED_HOUSE:
            watts[counts[0] : counts[0] + counts[1]] -= FED_IN_WATTS
        if len(watts) and rng.random() < 0.1:
            watts[rng.integers(len(watts))] = rng.choice([-(2.0**32), np.nan, 2.0**32])
        if rng.random() < 0.02:
            deltas[: counts[0]] = 0
        if rng.random() > 0.03:
            bursts.append(
                Burst(
                    house_id,
                    timezone,
                    at,
                    at + BURST_MS,
                    1000,
                    np.array([1, 2, 7], np.int32),
                    counts.astype(np.int32),
                    deltas,
                    watts.astype(np.float32),
                    holds_s=HOLDS_S if house_id == HOLDING_HOUSE else HOLDS_S[:0],
                )
            )
        at += BURST_MS
    return bursts


def overlapping(bursts: list[Burst], rng) -> list[Burst]:
    """Some of a house's bursts reach on into the next one."""
    longer = []
    for here, there in zip(bursts, [*bursts[1:], None]):
        if there and here.end_ms == there.start_ms and rng.random() < 0.04:
            end_ms = here.end_ms + int(rng.integers(1, BURST_MS))
            of_meter = {meter: [] for meter in here.meter_ids.tolist()}
            for meter, time_ms, watts in (*readings_of(here), *readings_of(there)):
                if time_ms < end_ms:
                    of_meter[meter].append((time_ms, watts))
            here = replace(burst_of(here.start_ms, end_ms, of_meter, here.timezone, here.house_id), holds_s=here.holds_s)
        longer.append(here)
    return longer


def with_some_registers(bursts: list[Burst]) -> list[Burst]:
    """The bursts of a house with REGISTERS. They read 0 or an absurd value now and then, and are reset for good once."""
    begin_ms = bursts[0].start_ms

    def mwh(meter: int, time_ms: int) -> int:
        number = (time_ms - begin_ms) // REGISTER_MS
        if number % 97 in (meter, 50):
            return 0 if number % 97 == meter else 10**11
        return 70_000_000 + (time_ms - begin_ms) // 1000 * 40 * meter - 60_000_000 * (number > 500)

    return [
        with_registers(
            burst,
            {
                (meter, quantity): [
                    (t, mwh(meter, t)) for t in range(-(-burst.start_ms // REGISTER_MS) * REGISTER_MS, burst.end_ms, REGISTER_MS)
                ]
                for meter, quantity in REGISTERS
            },
        )
        for burst in bursts
    ]


def disturb(bursts: list[Burst], rng) -> list[Burst]:
    """Some bursts delayed for up to two hours, a few for two days; some sent again at once or later."""
    arrival = np.arange(len(bursts), dtype=float)
    arrival += np.where(rng.random(len(bursts)) < 0.05, rng.uniform(0, 8, len(bursts)), 0)
    arrival += np.where(rng.random(len(bursts)) < 0.02, 200, 0)
    again = rng.random(len(bursts)) < 0.04
    arrival = np.concatenate([arrival, arrival[again] + rng.choice([0.5, 3, 150], again.sum())])
    which = np.concatenate([np.arange(len(bursts)), np.flatnonzero(again)])
    return [bursts[i] for i in which[np.argsort(arrival, kind="stable")]]


def make_log(seed: int, houses=HOUSES) -> Log:
    """The log of some houses, their bursts interleaved at random."""
    rng = np.random.default_rng(seed)
    of_power = {house: overlapping(house_bursts(house, *place, rng), rng) for house, place in houses.items()}
    queues = {house: disturb(with_some_registers(own) if house == REGISTER_HOUSE else own, rng) for house, own in of_power.items()}
    log = Log([], [], [], 0)
    while queues:
        house = int(rng.choice(list(queues)))
        burst = queues[house].pop(0)
        if not queues[house]:
            del queues[house]
        if rng.random() < 0.02:
            value = poison(burst, rng)
            log.dead.append(value or b"")
            log.dead_readings += int(burst.counts.sum())
            log.messages.append((b"%d" % house, value))
        log.bursts.append(burst)
        log.messages.append((b"%d" % house, encode_burst(burst)))
    return log


def make_rules() -> list[RuleRecord]:
    """Rules for the meters of HOUSES, from some time in their days on: each field is in one."""

    def rule(house: int, meter: int, day: int, hour: int, **fields) -> RuleRecord:
        zone, first = HOUSES[house]
        valid_from = midnight_ms(ZoneInfo(zone), first + timedelta(days=day)) + hour * 3_600_000
        return no_rule(house, meter, valid_from, valid_from) | fields

    until = rule(3, HOUSE, 3, 18)["valid_from"]
    return [
        rule(1, 1, 0, 0, limit_watts=400.0, limit_minutes=3, longest_on_minutes=90),
        rule(1, 1, 2, 7, limit_watts=900.0, longest_on_minutes=600, sensitivity="high"),
        rule(1, 7, 1, 0, normal=[{"kind": "level", "minutes": 0, "watts": 40_000.0}, {"kind": "silent", "minutes": 30, "watts": 0.0}]),
        rule(2, HOUSE, 1, 0, sensitivity="low"),
        rule(2, 2, 1, 12, off_from=22 * 60, off_to=6 * 60, longest_off_minutes=5),
        rule(2, 2, 3, 0, withdrawn=True),
        rule(3, HOUSE, 3, 6, muted_until=until),
    ]


def make_houses() -> list[HouseRecord]:
    """Descriptions of the HOUSES. They name mains that are not always on, and an appliance that is; of house 1 an old one, too. Meter 2 of
    SIGNED_HOUSE is solar.
    """
    return [
        description(1, m1="appliance"),
        description(SIGNED_HOUSE, m1="mains", m2="solar"),
        description(3, m1="appliance", m2="mains"),
        description(1, m1="mains", m7="mains"),
    ]


def poison(burst: Burst, rng) -> bytes | None:
    """A message that cannot be used, of one of nine kinds."""
    return [
        None,
        b"",
        b"not Avro",
        NO_BURST,
        encode_burst(burst)[:-5],
        encode_burst(replace(burst, timezone="Nowhere")),
        encode_burst(replace(burst, end_ms=burst.end_ms + 10**12, start_ms=burst.start_ms + 10**12)),
        encode_burst(replace(burst, counts=-burst.counts - 1)),
        encode_burst(replace(burst, end_ms=burst.end_ms - burst.start_ms + Y2K_MS, start_ms=Y2K_MS)),
    ][rng.integers(9)]


def produce(settings, messages) -> None:
    """Send (key, value) to the topic readings, a fifth by each codec, with timestamps a millisecond apart."""
    name = topics.topic(settings, "readings")
    for codec, piece in zip(CODECS, np.array_split(np.arange(len(messages)), len(CODECS))):
        producer = Producer(CLIENT | connection.client(settings) | {"enable.idempotence": True, "compression.type": codec})
        for i in piece.tolist():
            key, value = messages[i]
            producer.produce(name, value, key, timestamp=FIRST_TIMESTAMP_MS + i)
        assert producer.flush(STILL_S) == 0


@contextmanager
def produced_in_transactions(settings, messages, timestamps, written=lambda value: value) -> Iterator[None]:
    """Send (key, value) to the topic readings in transactions, as `written` has the value.

    In front of each, and at the end, one with 50 times the power is aborted; the last is open.
    """
    producer = Producer(
        CLIENT | connection.client(settings) | {"transactional.id": settings.kafka.topic_prefix, "transaction.timeout.ms": 900_000}
    )
    producer.init_transactions()
    sent = [(*message, timestamp) for message, timestamp in zip(messages, timestamps)]
    pieces = [sent[at : at + MESSAGES_OF_A_TRANSACTION] for at in range(0, len(sent), MESSAGES_OF_A_TRANSACTION)]
    for piece in pieces:
        of_piece = [(key, written(value), timestamp) for key, value, timestamp in piece]
        for part, end in ((fifty_times(piece), producer.abort_transaction), (of_piece, producer.commit_transaction)):
            send_transaction(settings, producer, part)
            end()
    send_transaction(settings, producer, fifty_times(pieces[0]))
    producer.abort_transaction()
    send_transaction(settings, producer, fifty_times(pieces[0]))
    try:
        yield
    finally:
        producer.abort_transaction()


def send_transaction(settings, producer: Producer, sent) -> None:
    """Begin a transaction, and send (key, value, timestamp) in it as far as the broker."""
    producer.begin_transaction()
    for key, value, timestamp in sent:
        producer.produce(topics.topic(settings, "readings"), value, key, timestamp=timestamp)
    assert producer.flush(STILL_S) == 0


def fifty_times(sent) -> list[tuple[bytes, bytes, int]]:
    """The bursts among (key, value, timestamp), with 50 times their power."""
    changed = []
    for key, value, timestamp in sent:
        with suppress(CodecError):
            burst = decode_burst(value or b"")
            changed.append((key, encode_burst(replace(burst, watts=burst.watts * 50)), timestamp))
    return changed


def steady(house_id: int, start_ms: int, end_ms: int, watts: float) -> list[Burst]:
    """Bursts of 5 minutes of a house in UTC, whose meter 1 has a constant power, read each 10 s."""
    count = STEADY_BURST_MS // 10_000
    return [
        Burst(
            house_id,
            "UTC",
            at,
            at + STEADY_BURST_MS,
            1000,
            np.array([1], np.int32),
            np.array([count], np.int32),
            np.array([0] + [10] * (count - 1), np.int32),
            np.full(count, watts, np.float32),
        )
        for at in range(start_ms, end_ms, STEADY_BURST_MS)
    ]
