"""Where readings come from: real data sets, houses multiplied from them, synthetic houses; and the producer.

datasets, multiply and synthetic each give a list of houses (houses.House). A house yields its local days, a day is cut
into bursts (bursts), and the producer sends the bursts of all houses in the order of their time (commands).
"""
