"""All SQL of the dashboard. Each function sends ClickHouse one query with bound parameters; most return a DataFrame.

db is a read-only client (store.client.reader). Times are UTC and zone-aware, dates are a house's local days, power is in W,
energy in kWh. A house's energy is what it consumed, by the view house_balance.

A repeated row counts once where FINAL is written, here or in the view. The other tables are read as they are, which is several times
faster: so a query over all houses first finds where to look. What it has to group, it groups in parts (PART_HOUSE_DAYS).
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
from clickhouse_connect.driver.client import Client

from smartmeter.messages.records import RuleRecord

HOUSE_DAY = """
    SELECT house_id, date, consumption_kwh AS kwh, coverage_percent, final
    FROM house_balance
    WHERE {where}"""
"""A row for each house and day. {where} is one of the conditions below, never a value."""

LABEL = "if(label = '', 'meter ' || toString(meter_id), label)"
"""Name of a meter."""

OF_HOUSE = "house_id = {house_id:Int64} AND date BETWEEN {first:Date32} AND {last:Date32}"
OF_DAYS = "date BETWEEN {first:Date32} AND {last:Date32}"
OF_HOUSES = "house_id BETWEEN {low:Int64} AND {high:Int64}"
"""A range of houses; see house_range."""

PART_HOUSE_DAYS = 1_500_000
"""House-days that a query groups at a time: more would take more memory than the local endpoint gives it."""

LOWEST, HIGHEST = -(2**63), 2**63 - 1


def house_day(where: str) -> str:
    """HOUSE_DAY with a condition, as a subquery."""
    return f"({HOUSE_DAY.replace('{where}', where)})"


def house_range(house_id: int) -> dict[str, int]:
    """The parameters of OF_HOUSES for a house; house_id 0: for all."""
    return dict(low=house_id or LOWEST, high=house_id or HIGHEST)


def house_parts(db: Client, first: date, last: date, house_id: int = 0) -> list[dict[str, int]]:
    """Parameters of OF_HOUSES that together cover a house (house_id 0: all), each of some PART_HOUSE_DAYS in these days."""
    if house_id:
        return [house_range(house_id)]
    starts = _frame(
        db,
        """
        SELECT house_id FROM (SELECT DISTINCT house_id FROM daily_energy ORDER BY house_id)
        WHERE rowNumberInAllBlocks() % {houses:UInt64} = 0""",
        houses=max(1, PART_HOUSE_DAYS // ((last - first).days + 1)),
    )["house_id"].tolist()
    lows = [LOWEST, *starts[1:]]
    return [dict(low=low, high=high) for low, high in zip(lows, [*(low - 1 for low in lows[1:]), HIGHEST])]


def has_tables(db: Client) -> bool:
    """Whether the sink has created its tables and views."""
    return bool(_row(db, "SELECT count() AS views FROM system.tables WHERE database = currentDatabase() AND name = 'top_meters'")["views"])


def houses(db: Client, limit: int) -> pd.DataFrame:
    """The first `limit` houses with results, by house_id: house_id, zip, city, state."""
    return _frame(
        db,
        """
        WITH found AS (SELECT DISTINCT house_id FROM daily_energy ORDER BY house_id LIMIT {limit:UInt32})
        SELECT f.house_id AS house_id, h.zip AS zip, h.city AS city, h.state AS state
        FROM found AS f
        LEFT JOIN (SELECT house_id, zip, city, state FROM houses FINAL WHERE house_id IN found) AS h ON h.house_id = f.house_id
        ORDER BY house_id""",
        limit=limit,
    )


def house(db: Client, house_id: int) -> pd.DataFrame:
    """A house: house_id, timezone, source, zip, city, state, first and last (days); no row if it has no results."""
    return _frame(
        db,
        """
        SELECT e.house_id AS house_id, if(h.timezone = '', 'UTC', h.timezone) AS timezone, h.source AS source,
               h.zip AS zip, h.city AS city, h.state AS state, e.first AS first, e.last AS last
        FROM (SELECT house_id, min(date) AS first, max(date) AS last FROM daily_energy
              WHERE house_id = {house_id:Int64} GROUP BY house_id) AS e
        LEFT JOIN (SELECT * FROM houses FINAL WHERE house_id = {house_id:Int64}) AS h ON h.house_id = e.house_id""",
        house_id=house_id,
    )


def days(db: Client) -> dict[str, Any]:
    """first and last day with results; None without results."""
    return _row(db, "SELECT minOrNull(date) AS first, maxOrNull(date) AS last FROM daily_energy")


def timezones(db: Client) -> list[str]:
    """The time zones of all houses."""
    return list(_frame(db, "SELECT DISTINCT timezone FROM houses FINAL ORDER BY timezone")["timezone"])


def meters(db: Client, house_id: int) -> pd.DataFrame:
    """The meters of a house, mains first: meter_id, label, kind, parent (0: none), role. kind and role (store.sink.role) are empty while unknown."""
    return _frame(
        db,
        f"""
        SELECT meter_id, {LABEL} AS label, kind, parent, role
        FROM (SELECT meter_id, any(label) AS label, any(kind) AS kind, any(parent) AS parent, any(role) AS role FROM daily_energy_by_label
              WHERE house_id = {{house_id:Int64}} GROUP BY meter_id)
        ORDER BY kind != 'mains', meter_id""",
        house_id=house_id,
    )


def totals(db: Client) -> dict[str, Any]:
    """houses, meters, readings, first and last (days; None without results), newest_ms (when the newest result was computed)."""
    return _row(
        db,
        """
        SELECT uniqExact(house_id) AS houses, uniqExact(cityHash64(house_id, meter_id)) AS meters,
               (SELECT sum(readings) FROM daily_energy FINAL) AS readings, minOrNull(date) AS first, maxOrNull(date) AS last,
               max(revision) AS newest_ms
        FROM daily_energy""",
    )


def health(db: Client) -> dict[str, Any]:
    """late (readings that could not be used), dead (messages that could not be used), open_alerts, alerts."""
    return _row(
        db,
        """
        SELECT (SELECT sum(readings) FROM late FINAL) AS late,
               (SELECT count() FROM dead_letter FINAL) AS dead,
               (SELECT countIf(open) FROM alerts FINAL) AS open_alerts,
               (SELECT count() FROM alerts FINAL) AS alerts""",
    )


def dead_letters(db: Client, limit: int) -> pd.DataFrame:
    """Why messages could not be used: reason, messages, last_received."""
    return _frame(
        db,
        """
        SELECT reason, count() AS messages, max(received) AS last_received
        FROM dead_letter FINAL
        GROUP BY reason
        ORDER BY messages DESC, reason
        LIMIT {limit:UInt32}""",
        limit=limit,
    )


def energy_of_all(db: Client, first: date, last: date) -> pd.DataFrame:
    """For each day: date, houses, kwh (of all houses), coverage_percent, final."""
    sums = _in_parts(
        db,
        f"""
        SELECT date, count() AS houses, sum(kwh) AS kwh, sum(coverage_percent) AS coverage_percent, min(final) AS final
        FROM {house_day(f"{OF_DAYS} AND {OF_HOUSES}")}
        GROUP BY date""",
        house_parts(db, first, last),
        first=first,
        last=last,
    )
    whole = {"houses": "sum", "kwh": "sum", "coverage_percent": "sum", "final": "min"}
    all_parts = sums.groupby("date", as_index=False).agg(whole)
    return all_parts.assign(coverage_percent=all_parts["coverage_percent"] / all_parts["houses"])


def doubtful_days(db: Client, first: date, last: date, house_id: int, limit: int) -> pd.DataFrame:
    """Days of a house (house_id 0: of all) whose figures may be incomplete, newest first, at most `limit`.

    Such a day lies between a house's first and last one and has no result, or has late or refused readings, or is over and under 99 %
    covered. Columns: house_id, city, date, known (1: it has a result), coverage_percent, longest_gap_s, readings, refused,
    late_readings, late_reason, total (number of such days without the limit).
    """
    found = _in_parts(
        db,
        f"""
        WITH
            late_days AS (SELECT house_id, date, sum(late.readings) AS readings, any(reason) AS reason FROM late FINAL
                          WHERE {OF_DAYS} AND {OF_HOUSES} GROUP BY house_id, date),
            missing AS (SELECT house_id, arrayJoin(arrayFilter(day -> NOT has(known, day) AND day BETWEEN {{first:Date32}} AND {{last:Date32}},
                            arrayMap(n -> addDays(arrayMin(known), n), range(toUInt32(dateDiff('day', arrayMin(known), arrayMax(known))))))) AS date
                        FROM (SELECT house_id, groupUniqArray(date) AS known FROM daily_energy WHERE {OF_HOUSES}
                              GROUP BY house_id HAVING length(known) <= dateDiff('day', arrayMin(known), arrayMax(known)))),
            poor AS (SELECT house_id, date FROM daily_energy
                     WHERE {OF_DAYS} AND {OF_HOUSES} AND (refused > 0 OR (final AND covered_s < 0.9901 * day_s))),
            days AS (SELECT * FROM missing UNION DISTINCT SELECT * FROM poor UNION DISTINCT SELECT house_id, date FROM late_days),
            results AS (SELECT house_id, date, 1 AS known, coverage_percent, longest_gap_s, readings, refused, final
                        FROM data_quality WHERE {OF_DAYS} AND {OF_HOUSES}
                          AND house_id IN (SELECT house_id FROM poor UNION DISTINCT SELECT house_id FROM late_days))
        SELECT d.house_id AS house_id, h.city AS city, d.date AS date, r.known AS known, r.coverage_percent AS coverage_percent,
               r.longest_gap_s AS longest_gap_s, r.readings AS readings, r.refused AS refused,
               l.readings AS late_readings, l.reason AS late_reason, count() OVER () AS total
        FROM days AS d
        LEFT JOIN results AS r ON r.house_id = d.house_id AND r.date = d.date
        LEFT JOIN late_days AS l ON l.house_id = d.house_id AND l.date = d.date
        LEFT JOIN (SELECT house_id, city FROM houses FINAL WHERE {OF_HOUSES}) AS h ON h.house_id = d.house_id
        WHERE r.known = 0 OR l.readings > 0 OR r.refused > 0 OR (r.final AND r.coverage_percent < 99)
        ORDER BY date DESC, house_id
        LIMIT {{limit:UInt32}}""",
        house_parts(db, first, last, house_id),
        first=first,
        last=last,
        limit=limit,
    )
    total = found.groupby("part")["total"].first().sum()
    newest = found.sort_values(["date", "house_id"], ascending=[False, True], ignore_index=True).head(limit)
    return newest.drop(columns="part").assign(total=np.uint64(total))


def sparse_meters(db: Client, house_id: int, limit: int) -> pd.DataFrame:
    """Meters (of a house; house_id 0: of all) whose readings lie farther apart than they hold, those with most energy missing first.

    Only if that is so on the meter's last day with a final result. Columns: those of the view sparse_meters, and total (number without
    the limit).
    """
    return _frame(
        db,
        """
        SELECT *, count() OVER () AS total FROM sparse_meters
        WHERE house_id BETWEEN {low:Int64} AND {high:Int64} AND last_sparse_day = last_day
        ORDER BY missing_percent DESC, house_id, meter_id
        LIMIT {limit:UInt32}""",
        **house_range(house_id),
        limit=limit,
    )


def register_faults(db: Client, first: date, last: date, house_id: int, limit: int) -> pd.DataFrame:
    """Days (of a house; house_id 0: of all) with readings of registers after which nothing counts, the newest first.

    Columns: those of the view sum_check, and total (number without the limit).
    """
    return _frame(
        db,
        f"""
        SELECT *, count() OVER () AS total FROM sum_check
        WHERE {OF_HOUSES} AND {OF_DAYS} AND register_faults > 0
          AND house_id IN (SELECT house_id FROM daily_energy WHERE register_faults > 0)
        ORDER BY date DESC, house_id, meter_id
        LIMIT {{limit:UInt32}}""",
        first=first,
        last=last,
        **house_range(house_id),
        limit=limit,
    )


def register_differences(db: Client, first: date, last: date, house_id: int, limit: int) -> pd.DataFrame:
    """Meters (of a house; house_id 0: of all) whose register and power differ by a twentieth, and a tenth of a kWh a day, the most first.

    Only days that are over count. Columns: house_id, meter_id, label, way (import or export), days, register_kwh, power_kwh, difference_kwh,
    difference_percent (of the register's), total (number without the limit).
    """
    return _frame(
        db,
        f"""
        SELECT house_id, meter_id, label, way, count() AS days, sum(by_register) AS register_kwh, sum(by_power) AS power_kwh,
            register_kwh - power_kwh AS difference_kwh, 100 * difference_kwh / nullIf(register_kwh, 0) AS difference_percent,
            count() OVER () AS total
        FROM
        (
            SELECT house_id, meter_id, label, figures.1 AS way, figures.2 AS by_register, figures.3 AS by_power
            FROM sum_check
            ARRAY JOIN [('import', register_kwh, power_kwh), ('export', register_exported_kwh, power_exported_kwh)] AS figures
            WHERE {OF_HOUSES} AND {OF_DAYS} AND final
              AND house_id IN (SELECT house_id FROM daily_energy
                               WHERE isNotNull(register_kwh - power_kwh) OR isNotNull(register_exported_kwh - power_exported_kwh))
        )
        WHERE isNotNull(by_register - by_power)
        GROUP BY house_id, meter_id, label, way
        HAVING abs(difference_kwh) > greatest(register_kwh / 20, days / 10)
        ORDER BY abs(difference_kwh) DESC, house_id, meter_id, way
        LIMIT {{limit:UInt32}}""",
        first=first,
        last=last,
        **house_range(house_id),
        limit=limit,
    )


def energy_of_house(db: Client, house_id: int, first: date, last: date) -> pd.DataFrame:
    """For each day of a house: date, kwh, coverage_percent, final."""
    return _frame(
        db, f"SELECT date, kwh, coverage_percent, final FROM {house_day(OF_HOUSE)} ORDER BY date", house_id=house_id, first=first, last=last
    )


def zip_median(db: Client, zip_code: str, first: date, last: date) -> pd.DataFrame:
    """For each day: date, median_kwh over the houses of a zip, houses (their number). No rows if the zip is empty, that is unknown."""
    in_zip = "house_id IN (SELECT house_id FROM houses FINAL WHERE zip = {zip:String} AND zip != '') AND " + OF_DAYS
    return _frame(
        db,
        f"""
        SELECT date, quantileExactInclusive(0.5)(kwh) AS median_kwh, count() AS houses
        FROM {house_day(in_zip)}
        GROUP BY date
        ORDER BY date""",
        zip=zip_code,
        first=first,
        last=last,
    )


def power(db: Client, house_id: int, meter_ids: list[int], start_s: int, end_s: int, step_s: int) -> pd.DataFrame:
    """The power of some meters in [start_s, end_s), from the power profile: a row for each meter and step with readings.

    Columns: meter_id, start_s (Unix time at which the step begins), min_watts, mean_watts, max_watts.
    """
    return _frame(
        db,
        """
        SELECT meter_id, {start_s:Int64} + {step_s:Int64} * intDiv(toUnixTimestamp(minute) - {start_s:Int64}, {step_s:Int64}) AS start_s,
               min(min_watts) AS min_watts, sum(mean_watts * readings) / sum(readings) AS mean_watts,
               max(max_watts) AS max_watts
        FROM power_profile FINAL
        WHERE house_id = {house_id:Int64} AND meter_id IN {meter_ids:Array(Int32)}
          AND minute >= toDateTime({start_s:Int64}, 'UTC') AND minute < toDateTime({end_s:Int64}, 'UTC')
        GROUP BY meter_id, start_s
        ORDER BY meter_id, start_s""",
        house_id=house_id,
        meter_ids=meter_ids,
        start_s=start_s,
        end_s=end_s,
        step_s=step_s,
    )


def balance(db: Client, house_id: int, first: date, last: date) -> pd.DataFrame:
    """For each day of a house: date, imported_kwh, exported_kwh, produced_kwh, charged_kwh, discharged_kwh, consumption_kwh,
    self_consumption_percent and self_sufficiency_percent (None where undefined).
    """
    return _frame(
        db,
        f"""
        SELECT date, imported_kwh, exported_kwh, produced_kwh, charged_kwh, discharged_kwh, consumption_kwh,
               self_consumption_percent, self_sufficiency_percent
        FROM house_balance
        WHERE {OF_HOUSE}
        ORDER BY date""",
        house_id=house_id,
        first=first,
        last=last,
    )


def energy_by_hour(db: Client, house_id: int, first: date, last: date) -> pd.DataFrame:
    """What a house drew from the grid by hour, without mains what it consumed: date, hour (0 to 23, local), kwh, known. An hour that occurs
    twice is one row.

    If the hours of a day were not stored, because an earlier release received part of it, its energy is spread evenly and known is False.
    """
    return _frame(
        db,
        f"""
        WITH days AS (
            SELECT e.date AS date, m.role AS role, countIf(m.role = 'grid') OVER (PARTITION BY e.date) AS mains,
                   empty(e.hours) AS even, e.covered_s > 0 AND even AS unknown,
                   if(even, range(24), e.hours) AS in_hours, if(even, arrayWithConstant(24, e.kwh / 24), e.hour_kwh) AS energies
            FROM (SELECT * FROM daily_energy FINAL WHERE {OF_HOUSE}) AS e
            LEFT JOIN (SELECT house_id, meter_id, role FROM meters FINAL) AS m ON m.house_id = e.house_id AND m.meter_id = e.meter_id)
        SELECT date, hour, sum(energy) AS kwh, max(unknown) = 0 AS known
        FROM days
        ARRAY JOIN in_hours AS hour, energies AS energy
        WHERE role = 'grid' OR (mains = 0 AND role IN ('load', ''))
        GROUP BY date, hour
        ORDER BY date, hour""",
        house_id=house_id,
        first=first,
        last=last,
    )


def appliance_energy(db: Client, house_id: int, first: date, last: date) -> pd.DataFrame:
    """For each day and appliance of a house: date, meter_id, parent (0: none), label, kwh, own_kwh (what no meter under it measures)."""
    return _frame(
        db,
        f"""
        SELECT date, appliance.meter_id AS meter_id, appliance.parent AS parent,
               if(appliance.label = '', 'meter ' || toString(appliance.meter_id), appliance.label) AS label,
               appliance.kwh AS kwh, appliance.own_kwh AS own_kwh
        FROM house_balance
        ARRAY JOIN appliances AS appliance
        WHERE {OF_HOUSE}
        ORDER BY date, meter_id""",
        house_id=house_id,
        first=first,
        last=last,
    )


def thresholds(db: Client, house_id: int, meter_ids: list[int], start: datetime, end: datetime) -> pd.DataFrame:
    """The thresholds of some meters that were in force at any time in [start, end).

    Columns: meter_id, date, valid_from, valid_to, quantile, percentile_watts, limit_watts (None while warming up), warming_up, and what is
    usual: longest_run_minutes, longest_off_minutes, longest_same_minutes, longest_gap_minutes, longest_silence_minutes (of the house),
    hour_watts, rare_watts. With too little history, these are empty or None.
    """
    return _frame(
        db,
        """
        SELECT meter_id, date, valid_from, valid_to, quantile, percentile_watts, limit_watts, warming_up, longest_run_minutes,
               toFloat64(longest_off_minutes) AS longest_off_minutes, toFloat64(longest_same_minutes) AS longest_same_minutes,
               toFloat64(longest_gap_minutes) AS longest_gap_minutes, toFloat64(longest_silence_minutes) AS longest_silence_minutes,
               hour_watts, rare_watts
        FROM thresholds FINAL
        WHERE house_id = {house_id:Int64} AND meter_id IN {meter_ids:Array(Int32)}
          AND valid_to > {start:DateTime64(3, 'UTC')} AND valid_from < {end:DateTime64(3, 'UTC')}
        ORDER BY meter_id, date""",
        house_id=house_id,
        meter_ids=meter_ids,
        start=start,
        end=end,
    )


def energy_by_zip(db: Client, first: date, last: date) -> pd.DataFrame:
    """For each zip: zip, city, state, latitude, longitude, houses, kwh, kwh_per_house_day, alerts; highest energy first."""
    sums = _in_parts(
        db,
        f"""
        SELECT h.zip AS zip, h.city AS city, h.state AS state, h.latitude AS latitude, h.longitude AS longitude,
               count() AS houses, sum(e.kwh) AS kwh, sum(e.days) AS kwh_per_house_day, sum(a.alerts) AS alerts
        FROM (SELECT house_id, sum(kwh) AS kwh, count() AS days FROM {house_day(f"{OF_DAYS} AND {OF_HOUSES}")} GROUP BY house_id) AS e
        INNER JOIN (SELECT house_id, zip, city, state, latitude, longitude FROM houses FINAL WHERE {OF_HOUSES}) AS h ON h.house_id = e.house_id
        LEFT JOIN (SELECT house_id, count() AS alerts FROM alerts FINAL WHERE {OF_DAYS} AND {OF_HOUSES} GROUP BY house_id) AS a
            ON a.house_id = e.house_id
        GROUP BY zip, city, state, latitude, longitude""",
        house_parts(db, first, last),
        first=first,
        last=last,
    )
    place = ["zip", "city", "state", "latitude", "longitude"]
    zips = sums.groupby(place, as_index=False, dropna=False)[["houses", "kwh", "kwh_per_house_day", "alerts"]].sum()
    by_energy = zips.sort_values("kwh", ascending=False, ignore_index=True)
    return by_energy.assign(kwh_per_house_day=by_energy["kwh"] / by_energy["kwh_per_house_day"])


WANTED = """({show:String} != 'open' OR a.open) AND ({show:String} != 'new' OR a.acknowledged IS NULL)
          AND {house_id:Int64} IN (0, a.house_id) AND {meter_id:Int32} IN (-1, a.meter_id) AND {label:String} IN ('', a.label)
          AND {kind:String} IN ('', a.alert_kind) AND {severity:String} IN ('', a.severity)"""
"""Condition for the alerts that a user wants to see. show: all, open or new (not acknowledged); house_id 0, meter_id -1 and an empty label,
kind or severity mean all. meter_id 0 stands for the whole house."""

EVERY: dict[str, Any] = dict(show="all", house_id=0, meter_id=-1, label="", kind="", severity="")
"""Values for WANTED by which all alerts are wanted."""


def alert_counts(db: Client, **wanted: Any) -> pd.DataFrame:
    """The number of wanted alerts (WANTED; by default all): kind, severity, alerts, open; most alerts first."""
    return _frame(
        db,
        f"""
        SELECT a.alert_kind AS kind, a.severity AS severity, count() AS alerts, countIf(a.open) AS open
        FROM alert_list AS a
        WHERE {WANTED}
        GROUP BY a.alert_kind, a.severity
        ORDER BY alerts DESC, a.alert_kind, a.severity""",
        **EVERY | wanted,
    )


def alerts(db: Client, limit: int, offset: int = 0, **wanted: Any) -> pd.DataFrame:
    """The newest wanted alerts (WANTED; by default all) after skipping `offset`: all columns of alert_list, and the house's timezone."""
    return _frame(
        db,
        f"""
        SELECT a.*, if(h.timezone = '', 'UTC', h.timezone) AS timezone
        FROM alert_list AS a
        LEFT JOIN (SELECT house_id, timezone FROM houses FINAL) AS h ON h.house_id = a.house_id
        WHERE {WANTED}
        ORDER BY a.start DESC, a.alert_id
        LIMIT {{limit:UInt32}} OFFSET {{offset:UInt32}}""",
        limit=limit,
        offset=offset,
        **EVERY | wanted,
    )


def alert(db: Client, alert_id: str) -> pd.DataFrame:
    """The alert with this id, with the columns of `alerts`; no row if there is none."""
    return _frame(
        db,
        """
        SELECT a.*, if(h.timezone = '', 'UTC', h.timezone) AS timezone
        FROM alert_list AS a
        LEFT JOIN (SELECT house_id, timezone FROM houses FINAL) AS h ON h.house_id = a.house_id
        WHERE a.alert_id = {alert_id:String}""",
        alert_id=alert_id,
    )


def alerts_between(db: Client, house_id: int, meter_ids: list[int], start: datetime, end: datetime) -> pd.DataFrame:
    """Alerts of some meters (0: of the whole house) that overlap [start, end).

    Columns: meter_id, start, end, open, peak_watts, limit_watts, excess_kwh, kind, alert_id.
    """
    return _frame(
        db,
        """
        SELECT meter_id, start, end, open, peak_watts, limit_watts, excess_kwh, kind, alert_id
        FROM alerts FINAL
        WHERE house_id = {house_id:Int64} AND meter_id IN {meter_ids:Array(Int32)}
          AND end >= {start:DateTime64(3, 'UTC')} AND start < {end:DateTime64(3, 'UTC')}
        ORDER BY start""",
        house_id=house_id,
        meter_ids=meter_ids,
        start=start,
        end=end,
    )


def alert_labels(db: Client) -> list[str]:
    """The labels of the meters that have alerts, and `the house` if a whole house has one."""
    return list(_frame(db, "SELECT DISTINCT label FROM alert_list WHERE label != '' ORDER BY label")["label"])


def rules(db: Client, house_id: int) -> list[RuleRecord]:
    """All rules that users have set for a house and its meters, by meter and valid_from."""
    found = db.query(
        """
        SELECT house_id, meter_id, toUnixTimestamp64Milli(valid_from) AS valid_from, withdrawn, sensitivity, limit_watts, limit_minutes,
               longest_on_minutes, longest_off_minutes, off_from, off_to, toUnixTimestamp64Milli(muted_until) AS muted_until,
               arrayZip(normal_kinds, normal_minutes, normal_watts) AS normal, author, toUnixTimestamp64Milli(written) AS written
        FROM rules AS r FINAL
        WHERE house_id = {house_id:Int64}
        ORDER BY meter_id, r.valid_from""",
        parameters={"house_id": house_id},
    )
    records = [dict(zip(found.column_names, row, strict=True)) for row in found.result_rows]
    for record in records:
        record["normal"] = [dict(zip(("kind", "minutes", "watts"), one, strict=True)) for one in record["normal"]]
    return cast(list[RuleRecord], records)


def newest(db: Client, house_id: int) -> tuple[int | None, date | None]:
    """(end of a house's newest minute in the power profile, a Unix time; its last day with results), each None if there is none."""
    found = _row(
        db,
        """
        WITH (SELECT maxOrNull(date) FROM daily_energy WHERE house_id = {house_id:Int64}) AS last_date
        SELECT last_date, (SELECT maxOrNull(toUnixTimestamp(minute)) FROM power_profile
                           WHERE house_id = {house_id:Int64} AND minute >= toDateTime(addDays(last_date, -1), 'UTC')) + 60 AS end_s""",
        house_id=house_id,
    )
    return found["end_s"], found["last_date"]


def replayed(db: Client, first: date, last: date, house_id: int) -> dict[str, Any]:
    """What a replay of some days replaces: rows (of daily energy), kwh (of all meters), alerts."""
    return _row(
        db,
        f"""
        SELECT count() AS rows, sum(kwh) AS kwh, (SELECT count() FROM alerts FINAL WHERE {OF_DAYS} AND {OF_HOUSES}) AS alerts
        FROM daily_energy FINAL
        WHERE {OF_DAYS} AND {OF_HOUSES}""",
        first=first,
        last=last,
        **house_range(house_id),
    )


def made_since(db: Client, first: date, last: date, house_id: int, since_ms: int) -> int:
    """Number of rows of daily energy of some days that were computed at since_ms (Unix time) or later."""
    found = _row(
        db,
        f"""
        SELECT countIf(revision >= {{since_ms:Int64}}) AS rows
        FROM daily_energy FINAL
        WHERE {OF_DAYS} AND {OF_HOUSES}""",
        first=first,
        last=last,
        **house_range(house_id),
        since_ms=since_ms,
    )
    return int(found["rows"])


def of_user(db: Client, sql: str, most_rows: int) -> tuple[pd.DataFrame, bool]:
    """The first rows of a user's own query, and whether there are more."""
    blocks, rows = [], 0
    with db.query_df_stream(sql) as stream:
        for block in stream:
            blocks.append(block)
            rows += len(block)
            if rows > most_rows:
                break
    found = pd.concat(blocks, ignore_index=True) if blocks else pd.DataFrame()
    return found.head(most_rows), rows > most_rows


AS_IT_IS = {"final": 0}
"""Setting by which a table without FINAL is read as it is, also for a user whose default is another."""


def _frame(db: Client, sql: str, **parameters: Any) -> pd.DataFrame:
    table = db.query_arrow(sql, parameters=parameters, settings=AS_IT_IS)
    utc = [field.with_type(pa.timestamp("ms", "UTC")) if pa.types.is_timestamp(field.type) else field for field in table.schema]
    return table.cast(pa.schema(utc)).to_pandas(date_as_object=False)


def _in_parts(db: Client, sql: str, parts: list[dict[str, int]], **parameters: Any) -> pd.DataFrame:
    """The rows of a query over OF_HOUSES for each part of the houses; the column part numbers the parts."""
    return pd.concat([_frame(db, sql, **parameters, **part).assign(part=n) for n, part in enumerate(parts)], ignore_index=True)


def _row(db: Client, sql: str, **parameters: Any) -> dict[str, Any]:
    result = db.query(sql, parameters=parameters, settings=AS_IT_IS)
    return dict(zip(result.column_names, result.result_rows[0], strict=True))
