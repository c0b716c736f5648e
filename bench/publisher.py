"""The devices of bench.devices, a process of their own. Each publishes its power once a second.

Its last line is JSON: readings, seconds, ended (Unix time), latest_s (how late the latest message was published), and sent (device, as
house/meter -> Unix time at which its first raised reading was published).
"""

from __future__ import annotations

import argparse
import json
import threading
import time

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from bench import devices, live
from bench.copies import METERS
from bench.sender import RAISED_S, RAISED_WATTS, Spikes
from smartmeter.settings import Settings
from stack.ports import host_and_port

ORDINARY_WATTS = 40
MOST_UNACKNOWLEDGED = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    devices.add_arguments(parser)
    parser.add_argument("--begin", type=int, required=True, help="first second, in s since 1970-01-01T00:00Z")
    args = parser.parse_args()
    settings = Settings.load()
    spikes, places = Spikes(live.watched_meters(settings)), [(i // METERS + 1, i % METERS + 1) for i in range(args.devices)]
    sent: dict[str, float] = {}
    published: list[mqtt.MQTTMessageInfo] = []
    client, latest_s, seconds = connected(settings), 0.0, live.SETTLE_S + args.seconds + RAISED_S
    for step in range(seconds):
        spikes.advance(step, args.spikes_per_s if live.SETTLE_S <= step < live.SETTLE_S + args.seconds else 0)
        for i, (house_id, meter_id) in enumerate(places):
            due = args.begin + step + i / len(places)
            if (ahead := due - time.time()) > 0.001:
                time.sleep(ahead)
            latest_s = max(latest_s, time.time() - due)
            is_raised = meter_id in spikes.raised.get(house_id, ())
            if is_raised:
                sent.setdefault(f"{house_id}/{meter_id}", time.time())
            power = RAISED_WATTS if is_raised else ORDINARY_WATTS
            published.append(client.publish(devices.topic_of(house_id, meter_id), power, qos=1))
    ended = time.time()
    for message in published:
        message.wait_for_publish()
    took_s = max(seconds, ended - args.begin)
    print(json.dumps({"readings": len(published), "seconds": took_s, "ended": ended, "latest_s": latest_s, "sent": sent}))


def connected(settings: Settings) -> mqtt.Client:
    """A connection to the broker, for as many messages at once as there are devices."""
    client, ready = mqtt.Client(CallbackAPIVersion.VERSION2), threading.Event()
    client.max_inflight_messages_set(MOST_UNACKNOWLEDGED)
    client.on_connect = lambda *_: ready.set()
    client.connect(*host_and_port(settings.dashboard.live_demo, "SMW_LIVE_DEMO"))
    client.loop_start()
    ready.wait()
    return client


if __name__ == "__main__":
    main()
