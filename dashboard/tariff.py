"""The cost of energy: one price at all times, or a second one at peak hours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from smartmeter.arrays import Floats

HIGHEST = 999.0
"""Highest accepted price for a kWh."""


@dataclass(frozen=True)
class Tariff:
    """Prices for a kWh, in any currency. Peak hours are [peak_from, peak_to), local; they pass midnight if peak_from is after peak_to.

    On Saturdays and Sundays the peak price applies only if `weekends` is set. A flat tariff has two equal prices.
    """

    price: float
    peak_price: float
    peak_from: int = 16
    peak_to: int = 21
    weekends: bool = False

    def prices(self, dates: pd.Series, hours: pd.Series) -> Floats:
        """The price in each hour (0 to 23, local) of the given days."""
        since = (hours - self.peak_from) % 24
        peak = (since < (self.peak_to - self.peak_from) % 24) & (self.weekends | (dates.dt.dayofweek < 5))
        return np.where(peak, self.peak_price, self.price)

    def by_day(self, hours: pd.DataFrame) -> pd.DataFrame:
        """The cost of each day (date, cost), from energy by hour (date, hour, kwh)."""
        cost = hours["kwh"] * self.prices(hours["date"], hours["hour"].astype(int))
        return hours.assign(cost=cost).groupby("date", as_index=False)["cost"].sum()

    def to_text(self) -> str:
        """This tariff as text for a URL."""
        return f"{self.price},{self.peak_price},{self.peak_from},{self.peak_to},{int(self.weekends)}"

    @classmethod
    def from_text(cls, text: str) -> Tariff:
        """Inverse of to_text. Raises ValueError for any other text."""
        price, peak_price, peak_from, peak_to, weekends = text.split(",")
        tariff = cls(float(price), float(peak_price), int(peak_from), int(peak_to), bool(["0", "1"].index(weekends)))
        if not (
            0 <= tariff.price <= HIGHEST and 0 <= tariff.peak_price <= HIGHEST and 0 <= tariff.peak_from < 24 and 0 <= tariff.peak_to < 24
        ):
            raise ValueError(f"{text}: prices from 0 to {HIGHEST:g} and hours from 0 to 23")
        return tariff
