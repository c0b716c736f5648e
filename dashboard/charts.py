"""The charts: from DataFrames to Altair. Colours are those of Okabe and Ito, and colour is never the only sign of a meaning."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

import altair as alt
import numpy as np
import pandas as pd

from dashboard.pictures import Picture

BLUE, ORANGE, GREEN, PINK, SKY, RED, YELLOW, GREY = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#8C8C8C")
MOST_APPLIANCES = 6
"""Appliances that get a colour of their own. The energy of the others is added up."""

OTHERS, UNMETERED = "other appliances", "unmetered"
IMPORTED, OWN, EXPORTED = "imported", "own production", "exported"
DASHES: dict[str, list[int]] = {"mains": [1, 0], "consumption": [1, 0], "produced": [6, 3], "grid": [2, 2]}
"""Line of the whole house -> its dashes, px."""
APPLIANCE_COLOURS = [BLUE, ORANGE, GREEN, PINK, SKY, RED]
OUTLINES = Path(__file__).parent / "outlines"
HEIGHT = 320
Layers = alt.LayerChart | alt.FacetChart
WHOLE_PERCENT = 99
"""A day with at least this coverage counts as fully measured."""

DAY_OVER_YEAR = "[timeFormat(datum.value, '%d %b'), timeFormat(datum.value, '%Y')]"

HALF_A_LABEL_PX = 40
PAST_END_PX = 2  # a glyph may extend slightly past the end of its text
TICKS = (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440)  # minutes between the labels of a time axis


@dataclass(frozen=True)
class Span:
    """The Unix times [start_s, end_s) in a time zone. They are divided into steps of whole minutes: fewer than twice `most`."""

    start_s: int
    end_s: int
    zone: ZoneInfo
    most: int

    @property
    def step_s(self) -> int:
        """Length of a step, in s: a minute or more."""
        return max(60, (self.end_s - self.start_s) // self.most // 60 * 60)

    @property
    def start(self) -> datetime:
        """The start, in UTC."""
        return datetime.fromtimestamp(self.start_s, UTC)

    @property
    def end(self) -> datetime:
        """The end (exclusive), in UTC."""
        return datetime.fromtimestamp(self.end_s, UTC)

    def local(self, at_s: float) -> str:
        """A Unix time as shown by the house's clock."""
        return f"{datetime.fromtimestamp(at_s, self.zone):%Y-%m-%d %H:%M}"

    def locals(self, times_s: pd.Series) -> pd.Series:
        """A column of Unix times as shown by the house's clock. Each distinct time is converted only once."""
        return times_s.map({at_s: self.local(at_s) for at_s in times_s.unique()})

    def axis(self, labels: int = 9) -> alt.X:
        """An x axis labelled in local time, including at changes of the clocks."""
        minutes = next((m for m in TICKS if (self.end_s - self.start_s) / 60 / m <= labels), TICKS[-1])
        texts: dict[int, str | list[str]] = {}
        for at_s in range(self.start_s, self.end_s + 1, 60):
            local = datetime.fromtimestamp(at_s, self.zone)
            if (local.hour * 60 + local.minute) % minutes == 0:
                texts[at_s] = f"{local:%H:%M}" if local.hour or local.minute else [f"{local:%a} {local.day} {local:%b}", f"{local:%Y}"]
        return alt.X(
            "start_s:Q",
            scale=alt.Scale(domain=[self.start_s, self.end_s], nice=False),
            axis=alt.Axis(
                values=list(texts),
                labelExpr=f"({json.dumps(texts)})[datum.value]",
                labelOverlap="greedy",
                labelFlush=HALF_A_LABEL_PX,
                labelFlushOffset=-PAST_END_PX,
                title=f"local time ({self.zone.key})",
            ),
        )

    def every_step(self, power: pd.DataFrame) -> pd.DataFrame:
        """Power (queries.power) of one meter with a row for each step, empty without a reading, and a column of local time."""
        steps = pd.Index(np.arange(self.start_s, self.end_s, self.step_s), name="start_s")
        full = power.set_index("start_s").reindex(steps).reset_index()
        return full.assign(local=self.locals(full["start_s"]))

    def cut(self, rows: pd.DataFrame, start: str, end: str) -> pd.DataFrame:
        """Rows with their two time columns added as start_s and end_s (Unix times), cut to the span."""
        epoch, second = pd.Timestamp(0, tz="UTC"), timedelta(seconds=1)
        return rows.assign(
            start_s=((rows[start] - epoch) / second).clip(self.start_s, self.end_s),
            end_s=((rows[end] - epoch) / second).clip(self.start_s, self.end_s),
        )


def power_curve(power: pd.DataFrame, thresholds: pd.DataFrame, alerts: pd.DataFrame, span: Span) -> Layers:
    """One meter's power (queries.power): the mean as a line, a band from min to max, its thresholds and its alerts."""
    layers = curve(power, span)
    if len(thresholds):
        band = alt.Chart(span.cut(thresholds, "valid_from", "valid_to")).encode(
            x=span.axis(), x2="end_s:Q", tooltip=[watts("percentile"), watts("limit")]
        )
        layers = [
            band.mark_rect(color=YELLOW, opacity=0.18).encode(y="percentile_watts:Q", y2="limit_watts:Q"),
            band.mark_rule(color=ORANGE, strokeDash=[6, 3], strokeWidth=2).encode(y="limit_watts:Q"),
            *layers,
        ]
    return alt.layer(*layers, *episodes(alerts, span)).properties(height=HEIGHT)


def curve(power: pd.DataFrame, span: Span) -> list[alt.Chart]:
    """Layers of one meter's power (queries.power): a band from min to max, and the mean as a line."""
    base = alt.Chart(span.every_step(power)).encode(x=span.axis())
    return [
        base.mark_area(color=BLUE, opacity=0.25, interpolate="step-after").encode(y="min_watts:Q", y2="max_watts:Q"),
        base.mark_line(color=BLUE, strokeWidth=1.5, interpolate="step-after").encode(
            y=alt.Y("mean_watts:Q", title="power, W", scale=alt.Scale(zero=True)),
            tooltip=[alt.Tooltip("local:N", title="local time"), watts("min"), watts("mean"), watts("max")],
        ),
    ]


def watts(name: str) -> alt.Tooltip:
    """The tooltip of a column of power."""
    return alt.Tooltip(f"{name}_watts:Q", title=f"{name}, W", format=",.0f")


def alert_picture(power: pd.DataFrame, picture: Picture, alerts: pd.DataFrame, span: Span) -> Layers:
    """One meter's power (queries.power) with what is usual for it, and its alerts."""
    layers = curve(power, span)
    if len(picture.bands):
        layers = [*bands(picture.bands, span), *layers]
    if len(picture.limits):
        lines = alt.Chart(span.cut(picture.limits, "valid_from", "valid_to").query("start_s < end_s")).encode(
            x=span.axis(), x2="end_s:Q", y="watts:Q", tooltip=[alt.Tooltip("watts:Q", title="limit, W", format=",.0f")]
        )
        layers.append(lines.mark_rule(color=ORANGE, strokeDash=[6, 3], strokeWidth=2))
    if len(picture.usual_bar):
        times = picture.usual_bar[["start_s", "end_s"]].clip(span.start_s, span.end_s)
        bar = alt.Chart(times.assign(watts=picture.usual_bar["watts"]))
        layers.append(
            bar.mark_rule(color=GREEN, strokeWidth=7, opacity=0.8, strokeCap="butt").encode(x=span.axis(), x2="end_s:Q", y="watts:Q")
        )
    return alt.layer(*layers, *episodes(alerts, span)).properties(height=HEIGHT)


def bands(spans: pd.DataFrame, span: Span) -> list[alt.Chart]:
    """Layers of spans of power (low_watts, high_watts, usual): the usual ones, and those with a dashed outline that are rare."""
    over_time = spans.assign(start_s=span.start_s, end_s=span.end_s)
    looks: list[tuple[bool, dict[str, Any]]] = [
        (True, {"color": GREEN, "opacity": 0.15}),
        (False, {"fill": GREY, "fillOpacity": 0.25, "stroke": GREY, "strokeDash": [3, 3]}),
    ]
    tooltip = [alt.Tooltip(f"{end}_watts:Q", title=f"{title}, W", format=",.0f") for end, title in (("low", "from"), ("high", "to"))]
    return [
        alt.Chart(over_time[over_time["usual"] == usual])
        .mark_rect(**look)
        .encode(x=span.axis(), x2="end_s:Q", y=alt.Y("low_watts:Q"), y2="high_watts:Q", tooltip=tooltip)
        for usual, look in looks
    ]


def episodes(alerts: pd.DataFrame, span: Span) -> list[alt.Chart]:
    """Layers that mark alerts: a band over their time, a triangle at their peak."""
    if alerts.empty:
        return []
    marked = span.cut(alerts, "start", "end").assign(began=[span.local(at.timestamp()) for at in alerts["start"]])
    marks = alt.Chart(marked).encode(
        x=span.axis(),
        tooltip=[
            alt.Tooltip("began:N", title="alert began"),
            alt.Tooltip("kind:N"),
            alt.Tooltip("peak_watts:Q", title="peak, W", format=",.0f"),
            alt.Tooltip("limit_watts:Q", title="limit, W", format=",.0f"),
        ],
    )
    return [
        marks.mark_rect(color=RED, opacity=0.25).encode(x2="end_s:Q"),
        marks.mark_point(color=RED, shape="triangle-down", size=90, filled=True, opacity=1).encode(y="peak_watts:Q"),
    ]


def stacked_power(appliances: pd.DataFrame, lines: dict[str, pd.DataFrame], alerts: pd.DataFrame, span: Span, order: list[str]) -> Layers:
    """Mean power of the appliances (start_s, label, rank, mean_watts) as stacked areas, and lines (start_s, mean_watts; DASHES) over them."""
    x, watts = span.axis(), alt.Tooltip("mean_watts:Q", title="mean, W", format=",.0f")
    layers = [
        alt.Chart(appliances.assign(local=span.locals(appliances["start_s"])))
        .mark_area(interpolate="step-after")
        .encode(
            x=x,
            y=alt.Y("mean_watts:Q", stack="zero", title="power, W"),
            color=appliance_colours(order),
            order=alt.Order("rank:Q"),
            tooltip=["local:N", "label:N", watts],
        )
    ]
    for name, line in lines.items():
        layers.append(
            alt.Chart(span.every_step(line).assign(line=name))
            .mark_line(color=GREY, strokeWidth=1.2, strokeDash=DASHES[name], interpolate="step-after")
            .encode(x=x, y="mean_watts:Q", tooltip=["local:N", "line:N", watts])
        )
    return alt.layer(*layers, *episodes(alerts, span)).properties(height=HEIGHT + 60)


def ranked(rows: pd.DataFrame, along: str, column: str) -> tuple[pd.DataFrame, list[str]]:
    """A column summed by `along` and label, with the rank of each label. Labels beyond MOST_APPLIANCES are combined.

    Returns (rows with along, label, column and rank; the labels by rank: largest first, then OTHERS and UNMETERED).
    """
    sums = rows[rows["label"] != UNMETERED].groupby("label")[column].sum().sort_values(ascending=False)
    most = sums.index[:MOST_APPLIANCES].tolist()
    order = most + [OTHERS] * (len(sums) > len(most)) + [UNMETERED] * bool((rows["label"] == UNMETERED).any())
    labels = rows["label"].where(rows["label"].isin(order), OTHERS)
    summed = rows.assign(label=labels).groupby([along, "label"], as_index=False)[column].sum()
    return summed.assign(rank=summed["label"].map(order.index)), order


def legend(**look: Any) -> alt.Legend:
    """A legend below a chart, in as many columns as fit."""
    return alt.Legend(orient="bottom", columns=alt.ExprRef("max(2, floor(width / 140))"), offset=8, padding=0, **look)


def appliance_colours(order: list[str]) -> alt.Color:
    """A colour for each label of `order`. An appliance has the same colour in all charts that share the order."""
    own = [label for label in order if label not in (OTHERS, UNMETERED)]
    colours = APPLIANCE_COLOURS[: len(own)] + [YELLOW] * (OTHERS in order) + [GREY] * (UNMETERED in order)
    return alt.Color("label:N", title=None, scale=alt.Scale(domain=order, range=colours), legend=legend(symbolType="square"))


def daily_energy(days: pd.DataFrame, median: pd.DataFrame) -> Layers:
    """Energy by day (date, kwh, coverage_percent, final, before_kwh), with the period before and the zip's median."""
    covered = days["coverage_percent"] >= WHOLE_PERCENT
    days = days.assign(
        opacity=np.where(covered & days["final"], 0.9, 0.4), coverage=days["coverage_percent"].map("{:.0f} %".format).where(~covered, "")
    )
    base = alt.Chart(days).encode(
        x=day_axis(),
        y=alt.Y("kwh:Q", title="energy, kWh"),
        tooltip=[
            day_tooltip(),
            alt.Tooltip("kwh:Q", title="energy, kWh", format=",.2f"),
            alt.Tooltip("before_kwh:Q", title="period before, kWh", format=",.2f"),
            alt.Tooltip("coverage_percent:Q", title="covered, %", format=".1f"),
            alt.Tooltip("final:N", title="final"),
        ],
    )
    layers = [
        base.mark_bar(color=BLUE, cornerRadiusEnd=2).encode(opacity=alt.Opacity("opacity:Q", scale=None)),
        base.mark_text(dy=-8, color=GREY).encode(text="coverage:N"),
    ]
    if days["before_kwh"].notna().any():
        layers.append(alt.Chart(days).mark_tick(color=ORANGE, thickness=3).encode(x=day_axis(), y="before_kwh:Q"))
    if len(median):
        layers.append(
            alt.Chart(median)
            .mark_line(color=GREEN, strokeDash=[4, 3], point=alt.OverlayMarkDef(color=GREEN, shape="diamond", size=50))
            .encode(
                x=day_axis(),
                y="median_kwh:Q",
                tooltip=[
                    day_tooltip(),
                    alt.Tooltip("median_kwh:Q", title="median of the zip, kWh", format=",.2f"),
                    alt.Tooltip("houses:Q", title="houses"),
                ],
            )
        )
    return alt.layer(*layers).properties(height=HEIGHT)


def balance(days: pd.DataFrame) -> Layers:
    """Where the energy of each day (queries.balance) came from, as stacked bars, and what was exported, below 0."""
    own = (days["consumption_kwh"] - days["imported_kwh"]).clip(lower=0)
    flows = pd.concat(
        days.assign(flow=flow, kwh=kwh) for flow, kwh in ((OWN, own), (IMPORTED, days["imported_kwh"]), (EXPORTED, -days["exported_kwh"]))
    )
    figures = ("imported", "exported", "produced", "charged", "discharged", "consumption")
    bars = (
        alt.Chart(flows)
        .mark_bar()
        .encode(
            x=day_axis(),
            y=alt.Y("kwh:Q", title="energy, kWh"),
            color=alt.Color(
                "flow:N", title=None, scale=alt.Scale(domain=[OWN, IMPORTED, EXPORTED], range=[GREEN, BLUE, ORANGE]), legend=legend()
            ),
            tooltip=[
                day_tooltip(),
                *(alt.Tooltip(f"{name}_kwh:Q", title=f"{name}, kWh", format=",.2f") for name in figures),
                alt.Tooltip("self_consumption_percent:Q", title="self-consumption, %", format=".1f"),
                alt.Tooltip("self_sufficiency_percent:Q", title="self-sufficiency, %", format=".1f"),
            ],
        )
    )
    return alt.layer(bars, alt.Chart().mark_rule(color=GREY).encode(y=alt.datum(0))).properties(height=HEIGHT)


def rates_by_day(days: pd.DataFrame) -> alt.Chart:
    """Self-consumption and self-sufficiency of each day (queries.balance), as lines."""
    names = {"self_consumption_percent": "self-consumption", "self_sufficiency_percent": "self-sufficiency"}
    rates = days.rename(columns=names).melt("date", list(names.values()), "rate", "percent")
    marks: dict[str, Any] = {"title": None, "legend": legend()}
    chart: alt.Chart = (
        alt.Chart(rates.dropna())
        .mark_line(point=alt.OverlayMarkDef(size=50))
        .encode(
            x=day_axis(),
            y=alt.Y("percent:Q", title="%", scale=alt.Scale(domain=[0, 100])),
            color=alt.Color("rate:N", scale=alt.Scale(domain=list(names.values()), range=[ORANGE, GREEN]), **marks),
            shape=alt.Shape("rate:N", scale=alt.Scale(domain=list(names.values())), **marks),
            tooltip=[day_tooltip(), "rate:N", alt.Tooltip("percent:Q", title="%", format=".1f")],
        )
        .properties(height=HEIGHT * 3 // 4)
    )
    return chart


def columns_by_day(days: pd.DataFrame, column: str, title: str, number_format: str = ",.2f") -> alt.Chart:
    """A column by day (date) as bars. If the days have coverage_percent and final, incomplete days are pale."""
    opacity = np.where((days["coverage_percent"] >= WHOLE_PERCENT) & days["final"], 0.9, 0.4) if "final" in days else 0.9
    chart: alt.Chart = (
        alt.Chart(days.assign(opacity=opacity))
        .mark_bar(color=BLUE, cornerRadiusEnd=2)
        .encode(
            x=day_axis(),
            y=alt.Y(f"{column}:Q", title=title),
            opacity=alt.Opacity("opacity:Q", scale=None),
            tooltip=[day_tooltip(), alt.Tooltip(f"{column}:Q", title=title, format=number_format)],
        )
        .properties(height=HEIGHT)
    )
    return chart


def stacked_days(energy: pd.DataFrame, order: list[str]) -> alt.Chart:
    """Energy by day and label (date, label, kwh, rank), as stacked bars."""
    chart: alt.Chart = (
        alt.Chart(energy)
        .mark_bar()
        .encode(
            x=day_axis(),
            y=alt.Y("kwh:Q", title="energy, kWh"),
            color=appliance_colours(order),
            order=alt.Order("rank:Q"),
            tooltip=[day_tooltip(), "label:N", alt.Tooltip("kwh:Q", title="energy, kWh", format=",.2f")],
        )
        .properties(height=HEIGHT + 60)
    )
    return chart


def ranking(shares: pd.DataFrame) -> Layers:
    """Energy and share of the consumption by appliance (label, kwh, share_percent), in the order of the rows."""
    base = alt.Chart(shares).encode(
        y=alt.Y("label:N", sort=None, title=None, axis=alt.Axis(labelLimit=160)),
        x=alt.X("kwh:Q", title="energy, kWh"),
        tooltip=[
            "label:N",
            alt.Tooltip("kwh:Q", title="energy, kWh", format=",.2f"),
            alt.Tooltip("share_percent:Q", title="share, %", format=".1f"),
        ],
    )
    texts = base.mark_text(align="left", dx=4, color=GREY).encode(text=alt.Text("share_percent:Q", format=".1f"))
    return alt.layer(base.mark_bar(color=BLUE, cornerRadiusEnd=2), texts).properties(
        height=26 * len(shares) + 40, padding={"right": PAST_END_PX}
    )


def percentiles(thresholds: pd.DataFrame, names: list[str]) -> alt.Chart:
    """Percentile by day (date, name, percentile_watts, limit_watts): one line for each meter, on a logarithmic scale."""
    marks: dict[str, Any] = {"title": None, "legend": legend()}
    chart: alt.Chart = (
        alt.Chart(thresholds[thresholds["percentile_watts"] > 0])
        .mark_line(point=alt.OverlayMarkDef(size=50))
        .encode(
            x=day_axis(),
            y=alt.Y("percentile_watts:Q", title="percentile, W", scale=alt.Scale(type="log"), axis=alt.Axis(tickCount=4)),
            color=alt.Color("name:N", scale=alt.Scale(domain=names, range=[*APPLIANCE_COLOURS, YELLOW, GREY]), **marks),
            shape=alt.Shape("name:N", scale=alt.Scale(domain=names), **marks),
            tooltip=[
                day_tooltip(),
                "name:N",
                alt.Tooltip("percentile_watts:Q", title="percentile, W", format=",.0f"),
                alt.Tooltip("limit_watts:Q", title="limit, W", format=",.0f"),
            ],
        )
        .properties(height=HEIGHT + 80)
    )
    return chart


def day_axis(title: str | None = "local day") -> alt.X:
    """The x axis of charts by local day."""
    return alt.X("yearmonthdate(date):O", title=title, axis=alt.Axis(labelExpr=DAY_OVER_YEAR, labelOverlap="greedy", labelAngle=0))


def day_tooltip() -> alt.Tooltip:
    """The local day, in a tooltip."""
    return alt.Tooltip("yearmonthdate(date):O", title="day", format="%a %d %b %Y")


IN_AMERICA = dict(west=-172, south=18, east=-66, north=72)
"""Area that the projection of the United States shows, including Alaska and Hawaii, in degrees."""


def zip_map(zips: pd.DataFrame, column: str, title: str) -> dict[str, Any]:
    """A circle for each zip (latitude, longitude) on the outlines of the US states, or of the world if any zip lies elsewhere.

    It is a Vega-Lite specification, because Altair would copy the outlines many times.
    """
    american = zips["longitude"].between(IN_AMERICA["west"], IN_AMERICA["east"]) & zips["latitude"].between(
        IN_AMERICA["south"], IN_AMERICA["north"]
    )
    outlines = "states" if american.all() else "countries"
    projection: Literal["albersUsa", "naturalEarth1"] = "albersUsa" if american.all() else "naturalEarth1"
    land = alt.Chart(alt.NamedData("outlines")).mark_geoshape(fill=GREY, fillOpacity=0.15, stroke=GREY, strokeWidth=0.5, tooltip=None)
    circles = (
        alt.Chart(zips.assign(size=zips[column]))
        .mark_circle(opacity=0.85, stroke="white", strokeWidth=0.7)
        .encode(
            longitude="longitude:Q",
            latitude="latitude:Q",
            size=alt.Size("size:Q", scale=alt.Scale(range=[40, 700], zero=True), legend=None),
            color=alt.Color(
                f"{column}:Q",
                title=title,
                scale=alt.Scale(scheme="viridis", reverse=True),
                legend=alt.Legend(orient="bottom", gradientLength=220),
            ),
            tooltip=[
                "zip:N",
                "city:N",
                "state:N",
                alt.Tooltip("houses:Q"),
                alt.Tooltip("kwh:Q", title="energy, kWh", format=",.1f"),
                alt.Tooltip("kwh_per_house_day:Q", title="kWh a household and day", format=",.2f"),
                alt.Tooltip("alerts:Q"),
            ],
        )
    )
    specification = alt.layer(land, circles).project(projection).properties(height=440).to_dict()
    specification["layer"][0]["data"] = {
        "values": json.loads((OUTLINES / f"{outlines}.json").read_text()),
        "format": {"type": "topojson", "feature": outlines},
    }
    return specification
