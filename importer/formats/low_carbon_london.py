"""Low Carbon London: kWh of each half-hour of 5,567 homes (UK Power Networks; UK Data Archive study 7857).

Times are taken as UTC, and as the starts of half-hours. Readings that are not at a half-hour have the value Null.
"""

from importer.formats.mapping import Column, Mapping
from importer.formats.tabular import Tabular

LOW_CARBON_LONDON = Tabular(
    "low-carbon-london",
    Mapping(
        time=("DateTime",),
        clock="utc",
        timezone="Europe/London",
        house_column="LCLid",
        columns=(Column("KWH/hh (per half hour)", "kWh", "mains", interval_s=1800),),
    ),
)
