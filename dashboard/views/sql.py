"""SQL: any query on the results, as the read-only user."""

from __future__ import annotations

import re

import altair as alt
import pandas as pd
import streamlit as st
from clickhouse_connect.driver.exceptions import Error as ClickHouseError
from clickhouse_connect.driver.exceptions import NotSupportedError, StreamFailureError

from dashboard import charts, queries
from dashboard.connection import results, settings
from dashboard.controls import csv_button
from store import client as clickhouse

MOST_ROWS = 10_000
EXAMPLES = {
    "Energy by house": "SELECT house_id, round(sum(consumption_kwh), 1) AS kwh\nFROM house_balance\nGROUP BY house_id\nORDER BY kwh DESC",
    "Which appliance uses most": "SELECT label, round(sum(own_kwh), 1) AS kwh, uniqExact(house_id) AS houses\nFROM appliance_share\n"
    "GROUP BY label\nORDER BY kwh DESC",
    "Energy by zip and day": "SELECT date, zip, city, houses, round(kwh_per_house, 2) AS kwh_per_house\nFROM energy_by_zip\nORDER BY date, kwh_per_house DESC",
    "Largest alerts": "SELECT house_id, label, start, duration_s, peak_watts, limit_watts, excess_kwh\nFROM alert_list\nORDER BY excess_kwh DESC\nLIMIT 50",
    "Power of a meter by minute": "SELECT minute, min_watts, mean_watts, max_watts\nFROM power_by_minute\n"
    "WHERE house_id = 1 AND meter_id = 1\nORDER BY minute DESC\nLIMIT 1440",
    "Badly measured days": "SELECT house_id, date, coverage_percent, longest_gap_s, readings\nFROM data_quality\n"
    "WHERE coverage_percent < 99\nORDER BY coverage_percent\nLIMIT 100",
    "Tables and views": "SELECT name, comment\nFROM system.tables\nWHERE database = currentDatabase()\nORDER BY name",
}
FORMAT_CLAUSE = re.compile(r"\bFORMAT\s+\w+\s*;?\s*$", re.IGNORECASE)


def run(sql: str) -> tuple[pd.DataFrame, bool] | None:
    """The first rows of a query and whether there are more. If it cannot be run, shows the reason and returns None."""
    if not sql.strip():
        st.info("Write a query first.")
        return None
    if FORMAT_CLAUSE.search(sql):
        st.error("Leave out FORMAT: the result is shown as a table and can be saved as CSV.")
        return None
    try:
        with st.spinner("Running the query ...", show_time=True):
            return queries.of_user(results(), sql.strip().rstrip(";"), MOST_ROWS)
    except ClickHouseError as error:
        if isinstance(error, (NotSupportedError, StreamFailureError)) and "DB::Exception" not in str(error):
            st.error("The result of this query cannot be shown as a table.")
        elif error.code is None and not isinstance(error, StreamFailureError):
            raise
        else:
            st.error("The query failed:")
            st.code(clickhouse.reason(error, settings()), language=None, wrap_lines=True)
        return None


def show_chart(table: pd.DataFrame) -> None:
    """A chart of one of the table's numeric columns against any other; the user picks both."""
    numbers = [name for name in table.columns if pd.api.types.is_numeric_dtype(table[name]) and not pd.api.types.is_bool_dtype(table[name])]
    if not numbers or len(table) < 2:
        return
    with st.expander("Chart", icon=":material/bar_chart:"):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            x = st.selectbox("Along", table.columns.tolist(), key="chart_x")
            y = st.selectbox("Height", numbers, index=len(numbers) - 1, key="chart_y")
            mark = st.segmented_control("As", ["bars", "line"], default="bars", required=True, key="chart_mark")
        plain = pd.DataFrame({"x": table[x], "y": table[y]})
        kind = (
            "T"
            if pd.api.types.is_datetime64_any_dtype(plain["x"])
            else "Q"
            if pd.api.types.is_numeric_dtype(plain["x"]) and mark == "line"
            else "N"
        )
        drawn = (
            plain.assign(x=plain["x"].astype(str)) if kind == "N" else plain
        )  # names may have types that Vega does not support, such as tuples
        base = alt.Chart(drawn).encode(x=alt.X(f"x:{kind}", title=x, sort=None), y=alt.Y("y:Q", title=y), tooltip=[f"x:{kind}", "y:Q"])
        st.altair_chart(
            (base.mark_bar(color=charts.BLUE) if mark == "bars" else base.mark_line(color=charts.BLUE)).properties(height=charts.HEIGHT)
        )


st.title("SQL")
st.caption(
    f"Queries run as the read-only user on database {settings().clickhouse.database}. At most {MOST_ROWS:,} rows are shown, "
    "and the time and memory of a query are limited. Times are UTC."
)
example = st.selectbox("Example", list(EXAMPLES), key="example")
with st.form("query", border=False):
    sql = st.text_area("Query", EXAMPLES[example], height=180, key=f"sql {example}", help="Ctrl+Enter runs it.")
    submitted = st.form_submit_button("Run", type="primary")
if submitted:
    st.session_state["answer"] = run(sql)
if answer := st.session_state.get("answer"):
    table, more = answer
    st.caption(f"{len(table):,} row{'' if len(table) == 1 else 's'}" + (f": the first {MOST_ROWS:,} of more" if more else ""))
    if len(table.columns):
        st.dataframe(table, hide_index=True)
        csv_button(table, "query.csv")
        show_chart(table)
