"""The sources of readings: data sets, houses multiplied from them, and synthetic houses.

datasets, multiply and synthetic each return a list of houses (houses.House). A house yields its local days, bursts cuts a day
into bursts, and history and live send the bursts of all houses in order of time.
"""
