"""UCI Individual household electric power consumption: one house in Sceaux, a row a minute (Hebrail and Berard, doi 10.24432/C58K54).

Its 2,075,259 rows from 2006-12-16 17:24 to 2010-11-26 21:02 are one for every minute: the clock shows winter time all year.
"""

from importer.formats.mapping import Column, Mapping
from importer.formats.tabular import Tabular

UCI = Tabular(
    "uci",
    Mapping(
        time=("Date", "Time"),
        time_format="%d/%m/%Y %H:%M:%S",
        clock="standard",
        timezone="Europe/Paris",
        house="1",
        columns=(
            Column("Global_active_power", "kW", "mains"),
            Column("Sub_metering_1", "Wh", "kitchen", interval_s=60),
            Column("Sub_metering_2", "Wh", "laundry room", interval_s=60),
            Column("Sub_metering_3", "Wh", "water heater and air conditioner", interval_s=60),
        ),
    ),
)
