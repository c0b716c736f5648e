"""The jobs as one: any log gives what the oracle finds, however it is cut into batches and over restarts."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import date

import hypothesis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.core.cells import HOUSE
from jobs.core.house_days import OVERLAPPING
from jobs.core.late import REFUSALS
from jobs.core.spells import KINDS
from jobs.core.watch import Watch
from jobs.spikes import Spikes
from jobs.thresholds import Thresholds
from smartmeter.messages.rules import OF_DURATION
from smartmeter.run import Run
from tests.unit.driver import SETTING, every_two_hours, pipeline
from tests.unit.logs import (
    HOUR_MS,
    NEW_YORK,
    START_MS,
    burst,
    cuts,
    descriptions_of_a_log,
    examples,
    house_logs_and_settings,
    rules_of_a_log,
)
from tests.unit.outcomes import (
    assert_alerts,
    assert_counts,
    assert_dead_letters,
    assert_energy,
    assert_profile,
    assert_thresholds,
    days_since_1970,
    judged,
)


@examples
@given(house_logs_and_settings(), cuts, cuts, st.data())
def test_any_log_rules_and_kinds_give_what_the_oracle_finds_however_it_is_batched(log, sizes, other_sizes, data):
    jumps = st.sampled_from([0.0, 3600.0, 36_000.0])
    bursts, setting = log[0], log[1].but(glitch_energy=data.draw(st.booleans()), max_jump_s=data.draw(jumps))
    rules, houses = data.draw(rules_of_a_log(bursts)), data.draw(descriptions_of_a_log(bursts))
    outcome = judged(bursts, setting, rules, houses)
    results, ended, keyed = pipeline(bursts, sizes, setting, rules=rules, houses=houses)
    hypothesis.event(f"{min(len(outcome.alerts), 3)} alerts or more")
    assert_thresholds(results, outcome, setting)
    assert_alerts(results, outcome.alerts)
    assert_alerts(ended, outcome.alerts_at_end)
    assert_energy(ended, outcome)
    assert_profile(results, outcome, ended=False)
    assert_profile(ended, outcome, ended=True)
    assert results.readings_late() == outcome.late
    assert_counts(ended, keyed, outcome)
    assert_dead_letters(results, bursts, outcome.refuted)
    assert_dead_letters(ended, bursts, outcome.refuted + outcome.aside)
    _, other, _ = pipeline(bursts, other_sizes, setting, rules=rules, houses=houses)
    for topic in ("daily_energy", "thresholds", "alerts", "dead_letter"):
        assert other.last(topic) == ended.last(topic)
    assert other.minutes() == ended.minutes()
    assert other.readings_late() == outcome.late


@settings(parent=examples, max_examples=max(10, examples.max_examples // 3))
@given(house_logs_and_settings(), cuts, st.data())
def test_after_restarts_no_reading_is_lost_and_what_overlaps_is_used_as_before(log, sizes, data):
    bursts, setting = log
    rules, restarts = data.draw(rules_of_a_log(bursts)), data.draw(st.lists(st.integers(1, len(bursts)), max_size=3))
    houses = data.draw(descriptions_of_a_log(bursts))
    outcome = judged(bursts, setting, rules, houses)
    results, ended, keyed = pipeline(bursts, sizes, setting, restarts=restarts, rules=rules, houses=houses)
    counted = [keyed.counted[f"readings_{name}"] for name in ("used", "duplicate", "refused", "late")]
    assert sum(counted) == sum(int(b.counts.sum()) for b in bursts)
    unknown = any(record["reason"] == REFUSALS[OVERLAPPING] for record in results.last("late").values())
    hypothesis.event(f"an overlap that cannot be cut: {unknown}")
    if not unknown:
        assert results.readings_late() == outcome.late
        assert_energy(ended, outcome)
        assert_alerts(results, outcome.alerts)
        assert_alerts(ended, outcome.alerts_at_end)


@settings(parent=examples, max_examples=max(10, examples.max_examples // 3))
@given(house_logs_and_settings(), cuts, cuts, st.data())
def test_a_house_that_moves_to_another_time_zone_has_the_same_alerts_however_it_is_batched(log, sizes, other_sizes, data):
    bursts, setting = log
    moves_at, zone = data.draw(st.integers(1, len(bursts))), data.draw(st.sampled_from(["Europe/London", "Asia/Kathmandu", NEW_YORK]))
    bursts = [*bursts[:moves_at], *(replace(later, timezone=zone) for later in bursts[moves_at:])]
    stages, houses = (Thresholds, Spikes, Watch), data.draw(descriptions_of_a_log(bursts))
    _, ended, _ = pipeline(bursts, sizes, setting, stages, houses=houses)
    _, other, _ = pipeline(bursts, other_sizes, setting, stages, houses=houses)
    hypothesis.assume(spans_of(ended) == spans_of(other))  # versions of the days around the move may differ
    hypothesis.event(f"{min(len(ended.last('alerts')), 3)} alerts or more")
    assert ended.last("thresholds") == other.last("thresholds")
    assert ended.last("alerts") == other.last("alerts")


def spans_of(results):
    """The versions of thresholds, and of each meter the limit and the time covered."""
    return {
        key: (version["valid_from"], version["valid_to"], [(meter["limit_watts"], meter["covered_s"]) for meter in version["meters"]])
        for key, version in results.last("thresholds").items()
    }


def test_with_more_than_a_day_of_lateness_a_reading_is_judged_by_the_version_of_its_own_time():
    """Hour 120.5 lies in the span of the version of 21 April, hours 102 to 126, whose window is 18 to 20 April.

    No reading lies in the span of the version before, so that is shared.
    """
    setting = SETTING.but(
        max_jump_s=0, max_gap_s=21_600, allowed_lateness_s=108_000, window_days=3, quantile=0.5, margin=0.5, min_watts=20, mains_watts=500
    )

    def hours(begin, end, meter, readings):
        return burst(*(START_MS + int(h * HOUR_MS) for h in (begin, end)), {meter: [(START_MS + int(h * HOUR_MS), w) for h, w in readings]})

    two_days = [(32 + 4 * n, [100, 105, 0, 110][n % 4]) for n in range(8)]
    bursts = [hours(32, 62, 1, two_days), hours(132.5, 152.5, 2, [(150.5, 1)]), hours(102, 123, 1, [(120.5, 810)])]
    outcome = judged(bursts, setting)
    results, ended, _ = pipeline(bursts, [1], setting)
    assert_thresholds(results, outcome, setting)
    assert_alerts(results, outcome.alerts)
    assert_alerts(ended, outcome.alerts_at_end)
    [version] = [record for record in results.last("thresholds").values() if record["date"] == days_since_1970(date(2011, 4, 21))]
    assert version["valid_from"] == START_MS + 78 * HOUR_MS and version["valid_to"] == START_MS + 126 * HOUR_MS
    assert [alert["start"] for alert in results.last("alerts").values()] == [START_MS + 120.5 * HOUR_MS]


@pytest.mark.usefixtures("drawn_alike")
def test_the_logs_have_enough_alerts_and_versions():
    seen = Counter()

    @settings(
        max_examples=120,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @given(house_logs_and_settings())
    def look(log):
        outcome = judged(*log)
        alerts, meters = outcome.alerts.values(), [meter for version in outcome.thresholds.values() for meter in version.meters.values()]
        levels = [alert for alert in alerts if alert.kind == "level"]
        present = {
            "log": True,
            "two limits": len({meter.limit_watts for meter in meters} - {None}) >= 2,
            "usual": any(meter.usual for meter in meters),
            "usual of mains": any(meter.usual and meter.usual["mains"] for meter in meters),
            "three alerts of level": len(levels) >= 3,
            "open": any(alert.open for alert in levels),
            "closed": any(not alert.open for alert in levels),
            "open alert of duration": any(alert.open for alert in alerts if alert.kind in KINDS),
            "more alerts at the end": outcome.alerts.keys() != outcome.alerts_at_end.keys(),
            "silent house": any(alert.meter_id == HOUSE for alert in alerts),
            "late": outcome.late.total() > 0,
        }
        seen.update({alert.kind for alert in alerts} | {name for name in present if present[name]})

    look()
    shares = {name: count / seen["log"] for name, count in seen.items()}
    least = {"two limits": 0.2, "usual": 0.4, "usual of mains": 0.1, "late": 0.2, "more alerts at the end": 0.01, "silent house": 0.1}
    least |= {"level": 0.2, "three alerts of level": 0.1, "glitch": 0.05, "open": 0.05, "closed": 0.2, "open alert of duration": 0.05}
    least |= {
        "percentile": 0.1,
        "run": 0.15,
        "band": 0.1,
        "off": 0.03,
        "hour": 0.05,
        "standby": 0.03,
        "dead": 0.02,
        "frozen": 0.05,
        "silent": 0.2,
    }
    assert least.keys() >= set(OF_DURATION)
    assert {name: shares.get(name, 0) for name in least if shares.get(name, 0) < least[name]} == {}, shares


@pytest.mark.usefixtures("drawn_alike")
def test_the_rules_drawn_give_and_change_alerts():
    seen = Counter()

    @settings(
        max_examples=80,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @given(house_logs_and_settings(), st.data())
    def look(log, data):
        rules = data.draw(rules_of_a_log(log[0]))
        if rules:
            found, without = (judged(*log, rules=some).alerts_at_end for some in (rules, ()))
            kinds = {found[alert_id].kind for alert_id in found.keys() - without.keys()}
            kinds |= {f"not {without[alert_id].kind}" for alert_id in without.keys() - found.keys()}
            both = found.keys() & without.keys()
            kinds |= {f"other {found[alert_id].kind}" for alert_id in both if found[alert_id] != without[alert_id]}
            seen.update(kinds)
            seen.update(["log"])

    look()
    shares = {name: count / seen["log"] for name, count in seen.items()}
    least = {"limit": 0.1, "overrun": 0.1, "idle": 0.04, "schedule": 0.1, "level": 0.01, "other level": 0.05, "run": 0.02, "silent": 0.02}
    least |= {"not level": 0.03, "not run": 0.02, "not silent": 0.02}
    assert {name: shares.get(name, 0) for name in least if shares.get(name, 0) < least[name]} == {}, str(shares)


@pytest.mark.usefixtures("drawn_alike")
def test_the_kinds_drawn_change_limits_what_is_usual_and_alerts():
    seen = Counter()

    @settings(
        max_examples=60,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @given(house_logs_and_settings(), st.data())
    def look(log, data):
        of_kinds, guessed = (judged(*log, houses=houses) for houses in (data.draw(descriptions_of_a_log(log[0])), ()))
        pairs = [
            (meter, guessed.thresholds[version].meters[meter_id])
            for version in of_kinds.thresholds
            for meter_id, meter in of_kinds.thresholds[version].meters.items()
            if meter_id in guessed.thresholds[version].meters  # one of solar may have no power at all
        ]
        limits = [(meter.limit_watts, other.limit_watts) for meter, other in pairs if other.limit_watts]
        usuals = [(meter.usual, other.usual) for meter, other in pairs if meter.usual and other.usual]
        present = {
            "log": True,
            "higher limit": any(own and own > other for own, other in limits),
            "lower limit": any(own and own < other for own, other in limits),
            "no limit": any(own is None for own, _ in limits),
            "mains": any(own["mains"] and not other["mains"] for own, other in usuals),
            "no mains": any(not own["mains"] and other["mains"] for own, other in usuals),
            "no standby": any(own["mains"] and own["standby_watts"] is None for own, _ in usuals),
            "other alerts": of_kinds.alerts_at_end.keys() != guessed.alerts_at_end.keys(),
        }
        seen.update(name for name in present if present[name])

    look()
    shares = {name: count / seen["log"] for name, count in seen.items()}
    least = {"higher limit": 0.2, "lower limit": 0.1, "mains": 0.1, "no mains": 0.05, "other alerts": 0.2}
    least |= {"no limit": 0.1, "no standby": 0.01}
    assert {name: shares.get(name, 0) for name in least if shares.get(name, 0) < least[name]} == {}, str(shares)


def test_a_replay_leaves_the_records_of_its_days_only():
    bursts = every_two_hours(0, 24 * 6, h28=3000.0, h60=9000.0, h100=30_000.0)
    bursts.insert(40, burst(START_MS + HOUR_MS, START_MS + 2 * HOUR_MS, {2: [(START_MS + HOUR_MS, 1)]}))
    bursts.insert(65, burst(START_MS + 50 * HOUR_MS, START_MS + 51 * HOUR_MS, {2: [(START_MS + 50 * HOUR_MS, 1)]}))
    _, whole, _ = pipeline(bursts, [3], SETTING)
    _, replayed, _ = pipeline(bursts, [3], SETTING, run=Run(replay_from="2011-04-20", replay_to="2011-04-21"))
    days = {days_since_1970(date(2011, 4, 20)), days_since_1970(date(2011, 4, 21))}
    for topic, all_records, some in (("daily_energy", 6, 2), ("thresholds", 8, 2), ("alerts", 3, 1), ("late", 2, 1)):
        records = whole.last(topic)
        expected = {key: record for key, record in records.items() if record["date"] in days}
        assert (len(records), len(expected)) == (all_records, some)
        assert {key: {**r, "house_time": 0} for key, r in replayed.last(topic).items()} == {
            key: {**r, "house_time": 0} for key, r in expected.items()
        }
