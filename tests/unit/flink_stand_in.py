"""In place of Flink: what it gives a function (state, timers, metrics), in memory."""

from __future__ import annotations

from collections import Counter, defaultdict

from pyflink.common import Row
from pyflink.common.typeinfo import BasicType, BasicTypeInfo, PrimitiveArrayTypeInfo, RowTypeInfo, TypeInformation

from jobs.flink.metrics import GROUP


class FlinkStandIn:
    """Runtime context, context and timers of a function. A test sets `key` and `now_ms`, and fires the timers that are `due`."""

    def __init__(self):
        self.state = defaultdict(dict)  # by key, then by the map's key
        self.key = None
        self.now_ms = 0
        self.processing_timers, self.event_timers = set(), set()  # (key, time)
        self.counted = Counter()  # by name, and group where it is not the project's own

    def get_map_state(self, descriptor):
        return MapState(self, descriptor)

    def get_metrics_group(self):
        return Metrics(self.counted)

    get_metric_group = get_metrics_group  # the Table API's name for it

    def timer_service(self):
        return self

    def get_current_key(self):
        return self.key

    def current_processing_time(self):
        return self.now_ms

    def register_processing_time_timer(self, time_ms):
        assert type(time_ms) is int and time_ms > self.now_ms
        self.processing_timers.add((self.key, time_ms))

    def register_event_time_timer(self, time_ms):
        self.event_timers.add((self.key, time_ms))

    def due(self, timers: set):
        """Yield the time of each timer and remove it; its key becomes the current one."""
        for self.key, time_ms in sorted(timers):
            timers.discard((self.key, time_ms))
            yield time_ms


class MapState:
    """The map of the current key. It takes only what its descriptor declares."""

    def __init__(self, flink: FlinkStandIn, descriptor):
        self.flink, self.type_info = flink, descriptor.type_info

    @property
    def map(self):
        assert self.flink.key is not None, "state without a key"
        return self.flink.state[self.flink.key]

    def get(self, key):
        return self.map.get(key)

    def put(self, key, value):
        self.map[fitting(key, self.type_info._key_type_info)] = fitting(value, self.type_info._value_type_info)

    def keys(self):
        return iter(self.map.keys())

    def remove(self, key):
        self.map.pop(key, None)


class Metrics:
    """A group of metrics, or one counter in it."""

    def __init__(self, counted: Counter, name=()):
        self.counted, self.name = counted, name

    def add_group(self, *name):
        return Metrics(self.counted, name)

    def gauge(self, name, value):
        self.counted[name] = value

    def counter(self, name):
        return Metrics(self.counted, name if self.name == (GROUP,) else (name, *self.name))

    def inc(self, number):
        assert type(number) is int and number >= 0
        self.counted[self.name] += number


class State(dict):
    """The state of one house (jobs.core.state.HouseState): name -> bytes."""

    put = dict.__setitem__

    def remove(self, name):
        self.pop(name, None)


def fitting(value, type_info: TypeInformation):
    """The value, when it is of exactly the declared type."""
    if isinstance(type_info, RowTypeInfo):
        fits = isinstance(value, Row) and len(value) == len(type_info.get_field_types())  # a field may be null
        for item, item_type in zip(value, type_info.get_field_types()):
            fits &= item is None or fitting(item, item_type) is item
    elif isinstance(type_info, PrimitiveArrayTypeInfo):
        fits = type(value) is bytes
    else:
        assert isinstance(type_info, BasicTypeInfo)
        fits = type(value) is {BasicType.LONG: int, BasicType.STRING: str}[type_info._basic_type]
    assert fits, f"{value!r} is no {type_info}"
    return value
