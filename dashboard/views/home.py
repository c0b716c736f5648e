"""Home: the power curve of one house, its energy by day, and the cost."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta

import pandas as pd
import streamlit as st

from dashboard import charts, queries
from dashboard.charts import Span
from dashboard.connection import results
from dashboard.controls import WHOLE_HOUSE, House, csv_button, keep, pick_day, pick_days, pick_house, pick_meter, start
from dashboard.kept import kept
from dashboard.tariff import HIGHEST, Tariff

SPANS_H = {"day": 24, "6 hours": 6, "hour": 1}
MOST_POINTS = 720
SOURCES = ["solar", "battery"]
LEAST_FLOW_KWH = 0.05  # what rounds to 0.1 kWh: less is the noise of a current clamp


def pick_span(house: House, day: date) -> tuple[int, int]:
    """The Unix times [start, end) to show: a local day, or some hours of it."""
    start_s, end_s = (round(datetime.combine(at, time(), house.zone).timestamp()) for at in (day, day + timedelta(days=1)))
    start("span", str, SPANS_H.__contains__, "day")
    span = st.segmented_control("Show", list(SPANS_H), key="span", required=True, persist_state="session")
    assert span  # guaranteed by required
    keep("span", span)
    if span == "day":
        keep("hour", "")
        return start_s, end_s
    last = (end_s - start_s) // 3600 - SPANS_H[span]
    start("hour", int, lambda hour: 0 <= hour <= last, min(18, last))
    begins = [datetime.fromtimestamp(start_s + 3600 * hour, house.zone).strftime("%H:%M") for hour in range(last + 1)]
    hour = st.select_slider("Begin", list(range(last + 1)), format_func=begins.__getitem__, key="hour", persist_state="session")
    keep("hour", hour)
    return start_s + 3600 * hour, start_s + 3600 * (hour + SPANS_H[span])


def show_power(house: House, meters: pd.DataFrame) -> None:
    """Show the power of the picked meter, or of the whole house, over the picked time."""
    st.subheader("Power")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        day = pick_day("Day", "date", house.first, house.last, house.last)
        meter_id = pick_meter(meters)
        span = Span(*pick_span(house, day), house.zone, MOST_POINTS)
    wanted = meters["meter_id"].tolist() if meter_id == WHOLE_HOUSE else [meter_id]
    power = queries.power(results(), house.house_id, wanted, span.start_s, span.end_s, span.step_s)
    if power.empty:
        st.info(f"No readings are stored from {span.local(span.start_s)} to {span.local(span.end_s)}.")
        return
    alerts = queries.alerts_between(results(), house.house_id, [*wanted, WHOLE_HOUSE], span.start, span.end)
    if meter_id == WHOLE_HOUSE:
        show_whole_house(power, meters, alerts, span)
    else:
        show_meter(power, queries.thresholds(results(), house.house_id, wanted, span.start, span.end), alerts, span)
    csv_button(power.assign(local=span.locals(power["start_s"])), f"power_{house.house_id}_{day}.csv")


def show_meter(power: pd.DataFrame, thresholds: pd.DataFrame, alerts: pd.DataFrame, span: Span) -> None:
    """Show a meter's power with its thresholds and alerts."""
    with_limit = st.toggle("Threshold", True, key="with_limit", persist_state="session")
    known = thresholds.dropna(subset="limit_watts")
    st.altair_chart(charts.power_curve(power, known if with_limit else known.head(0), alerts, span), alt="Power of the meter")
    st.caption(
        "Line: mean power. Blue band: from the lowest to the highest reading. Yellow band: from the percentile to the limit (dashed), "
        f"over which a reading is a spike. Red, with a triangle: {counted(alerts)}."
    )
    if thresholds["warming_up"].any():
        st.caption("This meter is warming up for some of that time: it has no limit yet.")


def show_whole_house(power: pd.DataFrame, meters: pd.DataFrame, alerts: pd.DataFrame, span: Span) -> None:
    """Show the power of all appliances, stacked, with that of the mains, or with what the house consumed, produced and drew from the grid."""
    power = power.merge(meters, on="meter_id")
    appliances, order = charts.ranked(own_power(power[~power["kind"].isin(["mains", *SOURCES])], power), "start_s", "mean_watts")
    lines = lines_of(power)
    st.altair_chart(
        charts.stacked_power(appliances, lines, alerts, span, order),
        alt="Power of the appliances, stacked, with that of the whole house as lines",
    )
    named = "Line: the mains." if len(lines) < 2 else "Line: consumption; dashed: production; dotted: the grid, below 0 for export."
    st.caption(f"Areas: mean power of the appliances. {named} Red: {counted(alerts)}.")


def lines_of(power: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The lines of the whole house (charts.DASHES) from the power of its meters: that of the mains, or of the balance where something feeds."""
    of_role = power.pivot_table("mean_watts", "start_s", "role", "sum", fill_value=0)
    if "grid" not in of_role:
        return {}
    grid, solar, battery = (of_role.get(role, 0 * of_role["grid"]) for role in ("grid", *SOURCES))
    lines = {"mains": grid}
    if set(SOURCES) & set(of_role):
        lines = {"consumption": grid - solar - battery, "produced": -solar, "grid": grid}
    return {name: line.rename("mean_watts").reset_index() for name, line in lines.items()}


def own_power(appliances: pd.DataFrame, power: pd.DataFrame) -> pd.DataFrame:
    """Power of the appliances less that of the meters under them, so that each watt is drawn once; power: of all meters."""
    under = power.groupby(["parent", "start_s"])["mean_watts"].sum().rename_axis(["meter_id", "start_s"]).rename("under")
    joined = appliances.join(under, on=["meter_id", "start_s"])
    return joined.assign(mean_watts=(joined["mean_watts"] - joined["under"].fillna(0)).clip(lower=0))


def counted(alerts: pd.DataFrame) -> str:
    """The number of alerts and their kinds, in words."""
    kinds = f" ({', '.join(sorted(set(alerts['kind'])))})" if len(alerts) else ""
    return f"{len(alerts)} alert{'' if len(alerts) == 1 else 's'}{kinds}"


def show_figures(house: House, first: date, last: date) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Show the house's energy in figures. Returns (energy of each day, with the period before; median of the zip)."""
    length = last - first + timedelta(days=1)
    days = queries.energy_of_house(results(), house.house_id, first, last)
    before = queries.energy_of_house(results(), house.house_id, first - length, first - timedelta(days=1))
    median = kept(queries.zip_median, results(), house.zip, first, last)
    show_comparison(days, before, median)
    before = before.assign(date=before["date"] + length)[["date", "kwh"]].rename(columns={"kwh": "before_kwh"})
    return days.merge(before, on="date", how="left"), median


def show_balance(house: House, first: date, last: date) -> None:
    """Show what the house imported, exported and produced, if it has solar or a battery, or exports."""
    days = queries.balance(results(), house.house_id, first, last)
    flows = days[["exported_kwh", "produced_kwh", "charged_kwh", "discharged_kwh"]].sum()
    if flows.max() < LEAST_FLOW_KWH:
        return
    st.subheader("Production and grid")
    with st.container(horizontal=True):
        st.metric("Imported, kWh", f"{days['imported_kwh'].sum():,.1f}", border=True, help="Drawn from the grid.")
        st.metric("Exported, kWh", f"{flows['exported_kwh']:,.1f}", border=True, help="Fed into the grid.")
        st.metric("Produced, kWh", f"{flows['produced_kwh']:,.1f}", border=True, help="By solar.")
        if flows["charged_kwh"] or flows["discharged_kwh"]:
            st.metric(
                "Battery, kWh", f"+{flows['charged_kwh']:,.1f} -{flows['discharged_kwh']:,.1f}", border=True, help="Charged, discharged."
            )
        st.metric(
            "Self-consumption",
            rate(days["self_consumption_percent"], days["produced_kwh"]),
            border=True,
            help="Share of the production that was not exported; – without production.",
        )
        st.metric(
            "Self-sufficiency",
            rate(days["self_sufficiency_percent"], days["consumption_kwh"]),
            border=True,
            help="Share of the consumption that was not imported; – if no meter measures solar or a battery.",
        )
    st.altair_chart(charts.balance(days), alt="Where the energy of each day came from, and what was exported")
    if days[["self_consumption_percent", "self_sufficiency_percent"]].notna().any(axis=None):
        st.altair_chart(charts.rates_by_day(days), alt="Self-consumption and self-sufficiency by day")
    csv_button(days, f"balance_{house.house_id}.csv")


def rate(percents: pd.Series, weights: pd.Series) -> str:
    """The rate over some days, from that of each and the energy that it is a share of; a dash if it is undefined."""
    known = percents.notna() & (weights > 0)
    return f"{(percents * weights)[known].sum() / weights[known].sum():.0f} %" if known.any() else "–"


def show_energy(days: pd.DataFrame, median: pd.DataFrame, house: House) -> None:
    """Show the energy of each day, beside the period before and the median of the zip."""
    st.subheader("Energy by day")
    partial = days[(days["coverage_percent"] < charts.WHOLE_PERCENT) | ~days["final"]]
    if len(partial):
        st.caption(
            f"{len(partial)} of {len(days)} days are in progress or under {charts.WHOLE_PERCENT} % covered; sums and means include only what "
            "was measured."
        )
    st.altair_chart(charts.daily_energy(days, median[median["houses"] > 1]), alt="Energy of the house by day")
    st.caption(
        "Bars: this house; pale: day in progress, or under 99 % covered (the coverage is shown above the bar). "
        "Orange ticks: the period before. Green diamonds: the median house of the zip."
    )
    csv_button(days, f"energy_{house.house_id}.csv")


def show_comparison(days: pd.DataFrame, before: pd.DataFrame, median: pd.DataFrame) -> None:
    """Show the energy of all days in figures, against the period before and the median of the zip."""
    total, earlier, neighbours = days["kwh"].sum(), before["kwh"].sum(), median.loc[median["date"].isin(days["date"]), "median_kwh"].sum()
    others = int(median["houses"].max()) if len(median) else 0
    with st.container(horizontal=True):
        st.metric("Energy, kWh", f"{total:,.1f}", border=True, help=f"{len(days)} days")
        st.metric("A day, kWh", f"{days['kwh'].mean():,.1f}" if len(days) else "–", border=True)
        st.metric(
            "vs period before",
            percent(total, earlier) if len(before) == len(days) else "–",
            border=True,
            help="The same number of days just before; – if results of some are missing.",
        )
        st.metric(
            "vs zip median",
            percent(total, neighbours) if others > 1 else "–",
            border=True,
            help=f"{others} house{'' if others == 1 else 's'} with results in the same zip; – if it is the only one.",
        )
        st.metric("Covered", f"{days['coverage_percent'].mean():.1f} %" if len(days) else "–", border=True)


def percent(value: float, base: float) -> str:
    """The change from a base, in percent; a dash if the base is 0."""
    return f"{100 * (value / base - 1):+.0f} %" if base else "–"


def show_cost(house: House, first: date, last: date) -> None:
    """Show the cost of the energy of each day."""
    st.subheader("Cost")
    tariff = pick_tariff()
    hours = queries.energy_by_hour(results(), house.house_id, first, last)
    if hours.empty:
        st.info("There are no results for these days.")
        return
    cost = tariff.by_day(hours)
    with st.container(horizontal=True):
        st.metric("Cost", f"{cost['cost'].sum():,.2f}", border=True, help="Of what was drawn from the grid, in the currency of the prices.")
        st.metric("A day", f"{cost['cost'].mean():,.2f}", border=True)
    st.altair_chart(charts.columns_by_day(cost, "cost", "cost"), alt="Cost by day")
    if tariff.price != tariff.peak_price and (unknown := hours[hours["known"] == 0]["date"].nunique()):
        st.caption(
            f"{unknown} of {hours['date'].nunique()} days have no energy by hour, because an earlier release received part of them: their energy is "
            "spread evenly over the day. A replay of these days makes the cost exact."
        )
    csv_button(cost, f"cost_{house.house_id}.csv")


def pick_tariff() -> Tariff:
    """The tariff that the user picks."""
    start("tariff", Tariff.from_text, lambda tariff: True, Tariff(0.3, 0.3))
    known = st.session_state["tariff"]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        kind = st.segmented_control(
            "Tariff",
            ["flat", "time of use"],
            key="tariff_kind",
            required=True,
            default="flat" if known.price == known.peak_price else "time of use",
        )
        price = st.number_input("Price for a kWh", 0.0, HIGHEST, known.price, 0.01, format="%.4f", key="price")
        if kind == "flat":
            tariff = Tariff(price, price, known.peak_from, known.peak_to, known.weekends)
        else:
            tariff = Tariff(
                price,
                st.number_input("At peak hours", 0.0, HIGHEST, known.peak_price, 0.01, format="%.4f", key="peak_price"),
                st.number_input("Peak from, h", 0, 23, known.peak_from, key="peak_from"),
                st.number_input("Peak to, h", 0, 23, known.peak_to, key="peak_to"),
                st.checkbox("Also at weekends", known.weekends, key="weekends"),
            )
    st.session_state["tariff"] = tariff
    keep("tariff", tariff.to_text())
    return tariff


st.title("Home")
house = pick_house()
st.caption(f"Results from {house.first} to {house.last}; times are local, in {house.zone.key}.")
with st.container(horizontal=True, vertical_alignment="bottom"):
    first, last = pick_days(house.first, house.last)
days, median = show_figures(house, first, last)  # before any chart, because figures are drawn faster
meters = queries.meters(results(), house.house_id)
if not (meters["kind"] == "mains").any():
    st.caption(f"No meter of this house is known to be mains, so its energy is the sum of its {len(meters)} meters.")
show_power(house, meters)
show_energy(days, median, house)
show_balance(house, first, last)
show_cost(house, first, last)
