"""REFIT: CLEAN_House1.csv and so on, power in W about every 8 s, with Unix times (Murray et al., Sci Data 4, 160122)."""

from importer.formats.mapping import Column, Mapping
from importer.formats.tabular import Tabular

REFIT = Tabular(
    "refit",
    Mapping(
        time=("Unix",),
        columns=(Column("Aggregate", "W", "aggregate"), *(Column(f"Appliance{n}", "W", f"appliance {n}") for n in range(1, 10))),
        timezone="Europe/London",
    ),
    house_in_filename=r"(?i)house_?(\d+)",
)
