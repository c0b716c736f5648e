"""What the jobs compute: NumPy and compiled loops, without Flink.

In compiled loops and in the shapes of arrays, a letter means the same everywhere:

    b  burst                                   m  meter
    c  channel (one meter in one burst)        n  reading, or any value of a column
    d  local day                               p  piece (of a section, or what it adds to a minute)
    e  entry of a histogram                    r  refused reading
    h  hour of a meter (HOUR)                  s  section (a meter, burst and local day)
    i  index in a loop                         w  burst that travels with its readings (Whole)
    j  joined reading (JOINED)                 z  time zone
    k  house

An index has the letter of what it counts: sections[s]. The number of rows filled in so far is `size`. Other variables are words.
"""
