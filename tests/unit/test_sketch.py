"""Quantile sketches: hand-worked bins, the error bound on any data, exact merging, and the ddsketch library as judge."""

import struct
from fractions import Fraction
from itertools import chain

import ddsketch
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.core.sketch import ALPHA, BINS, EDGES, GAMMA, LEAST_WATTS, MOST_WATTS, VALUES, Sketches, bin_of, histograms

NEXT_TO_LEAST = float(np.nextafter(np.float32(LEAST_WATTS), np.float32(1)))
QUANTILES = [0, 0.05, 0.25, 0.5, 0.9, 0.99, 1]

in_range = st.floats(NEXT_TO_LEAST, MOST_WATTS, width=32) | st.sampled_from(EDGES[1:-1].tolist()) | st.sampled_from([1.0, 60.0])
watts_in_range = st.lists(in_range, min_size=1, max_size=40).map(lambda w: np.array(w, np.float32))
any_watts = st.lists(in_range | st.floats(0, width=32, allow_infinity=False) | st.just(0.0), max_size=30)
meters = st.sampled_from([-(2**31), -7, -1, 0, 1, 2, 2**31 - 1])


@st.composite
def sketches(draw):
    """Sketches of up to 30 readings of a few meters."""
    watts = draw(any_watts)
    meter_ids = draw(st.lists(meters, min_size=len(watts), max_size=len(watts)))
    return Sketches.of(np.array(meter_ids, np.int32), np.array(watts, np.float32))


def exact(watts, q):
    """The reading of rank floor(q * (n - 1)), in float64."""
    return float(np.sort(watts)[int(q * (len(watts) - 1))])


def household(seed, n=20_000):
    """float32 (n,): a fridge, a kettle, standby power and times of being off."""
    rng = np.random.default_rng(seed)
    level = rng.choice([0, 0.4, 1.3, 95, 2_800], n)
    return (level * (1 + 0.05 * rng.standard_normal(n))).clip(0).astype(np.float32)


# Bins


def test_bins_by_hand():
    # GAMMA = 1.01 / 0.99, so that 1 W lies ln(1e5) / ln(GAMMA) = 575.6 bins above 1e-5 W, 60 W 780.3, 1 MW 1266.4.
    assert bin_of(np.array([0, 1e-5, 1.001e-5, 1, 60, 1e6], np.float32)).tolist() == [-1, -1, 0, 575, 780, 1266]
    # Bin 0 is (1e-5, 1.0202e-5], bin 1 starts there; their values are 1 % above their lower edges.
    assert bin_of(np.array([1.0201e-5, 1.0203e-5], np.float32)).tolist() == [0, 1]
    assert VALUES[:2] == pytest.approx([1.01e-5, 1.030404e-5], rel=1e-6)
    # Bin 780 is 1e-5 * GAMMA**780 = 59.596 W to 60.800 W.
    assert VALUES[780] == pytest.approx(1.01 * 59.596, rel=1e-4)
    assert bin_of(np.array([59.59, 59.60, 60.79, 60.81], np.float32)).tolist() == [779, 780, 780, 781]


def test_there_are_1267_bins_and_none_is_wider_than_in_the_paper():
    assert BINS == len(VALUES) == len(EDGES) - 1 == 1267
    assert EDGES.dtype == np.float32
    assert EDGES[-2] < MOST_WATTS <= EDGES[-1]
    growth = EDGES[1:].astype(float) / EDGES[:-1].astype(float)
    assert growth.max() <= GAMMA
    assert growth.min() > GAMMA * (1 - 2e-7)


def test_a_bins_value_is_within_alpha_of_all_that_it_holds():
    least, most = np.nextafter(EDGES[:-1], np.float32(np.inf)), EDGES[1:]
    for value, *ends in zip(VALUES.tolist(), least.tolist(), most.tolist()):
        assert all(abs(Fraction(value) - Fraction(end)) <= Fraction(1, 100) * Fraction(end) for end in ends)
    assert pytest.approx(2 * EDGES[:-1].astype(float) * GAMMA / (1 + GAMMA), rel=1e-14) == VALUES


def test_bin_of_finds_what_a_search_of_the_edges_finds():
    rng = np.random.default_rng(1)
    neighbours = [np.nextafter(EDGES, np.float32(to)) for to in (0, np.inf)]
    all_bits = rng.integers(0, np.float32(np.inf).view(np.uint32), 1_000_000, np.uint32).view(np.float32)
    spread = np.exp(rng.uniform(np.log(1e-6), np.log(1e7), 1_000_000)).astype(np.float32)
    cells = np.arange(0x7F80, dtype=np.uint32) << 16
    cell_ends = np.concatenate([cells, cells | 0xFFFF]).view(np.float32)
    watts = np.concatenate([EDGES, *neighbours, all_bits, spread, cell_ends])
    assert np.array_equal(bin_of(watts), np.searchsorted(EDGES[:-1], watts) - 1)


def test_what_is_no_power_does_not_count():
    watts = np.array([np.nan, -np.nan, np.inf, -np.inf, -1, -1e30, -1e-45, -0.0, 0, 1e-45, 9e-6], np.float32)
    assert np.all(bin_of(watts) == -1)


@settings(deadline=None)
@given(st.floats(width=32))
def test_any_float_has_a_bin_or_does_not_count(watts):
    expected = np.searchsorted(EDGES[:-1], np.float32(watts)) - 1 if LEAST_WATTS < watts < np.inf else -1
    assert bin_of(np.array([watts], np.float32)).tolist() == [expected]


# Quantiles


@settings(max_examples=200, deadline=None)
@given(watts_in_range)
def test_every_quantile_is_within_one_percent(watts):
    sketch = Sketches.of(5, watts)
    n = len(watts)
    for rank in range(n):
        q = 1 if rank == n - 1 else (rank + 0.5) / (n - 1)
        meter_ids, (value,) = sketch.quantile(q)
        assert meter_ids.tolist() == [5]
        assert abs(value - exact(watts, q)) <= ALPHA * exact(watts, q)


@pytest.mark.parametrize("seed", range(3))
def test_quantiles_of_a_household_and_of_the_whole_range_are_within_one_percent(seed):
    spread = np.exp(np.random.default_rng(seed).uniform(np.log(1.001e-5), np.log(1e6), 20_000)).astype(np.float32)
    for watts in (household(seed), spread):
        counted = watts[watts > LEAST_WATTS]
        for q in np.linspace(0, 1, 201):
            _, (value,) = Sketches.of(1, watts).quantile(q)
            assert abs(value - exact(counted, q)) <= ALPHA * exact(counted, q)


def test_the_quantile_is_the_reading_of_rank_q_times_n_less_1_rounded_down():
    # Of 1, 10, 100, 1000 W: 0.5 * 3 = 1.5 is rank 1, and 0.67 * 3 = 2.01 is rank 2.
    sketch = Sketches.of(1, np.array([1000, 1, 100, 10], np.float32))
    found = [sketch.quantile(q)[1][0] for q in (0, 0.33, 0.34, 0.5, 0.66, 0.67, 0.99, 1)]
    assert found == pytest.approx([1, 1, 10, 10, 10, 100, 100, 1000], rel=ALPHA)


@pytest.mark.parametrize("q", [-0.01, 1.01, float("nan")])
def test_a_quantile_beyond_0_to_1_is_refused(q):
    with pytest.raises(ValueError, match="between 0 and 1"):
        Sketches.of(1, np.ones(3, np.float32)).quantile(q)


def test_readings_of_a_meter_that_is_off_do_not_count():
    sketch = Sketches.of(np.array([1, 1, 1, 1, 2, 2]), np.array([0, 1e-5, 9e-6, 50, 0, 1e-5], np.float32))
    assert [column.tolist() for column in sketch.readings()] == [[1], [1]]
    assert sketch.quantile(0)[1] == pytest.approx([50], rel=ALPHA)
    assert Sketches.of(2, np.zeros(3, np.float32)) == Sketches.empty()


def test_above_some_watts_only_what_is_greater_counts():
    meter_id = np.array([1, 1, 1, 1, 2, 2, 3])
    sketch = Sketches.of(meter_id, np.array([1, 2, 100, 200, 3, 4, 500], np.float32))
    meter_ids, watts = sketch.above(10).quantile(0)
    assert meter_ids.tolist() == [1, 3] and watts == pytest.approx([100, 500], rel=ALPHA)
    at = VALUES[bin_of(np.float32([100]))[0]]
    assert sketch.above(at).quantile(0)[1] == pytest.approx([200, 500], rel=ALPHA)
    assert len(sketch.above(1e7).quantile(0.5)[0]) == 0


@settings(deadline=None)
@given(watts_in_range, st.floats(0, 1000), st.sampled_from(QUANTILES))
def test_above_some_watts_the_bound_holds_for_what_counts(watts, above_watts, q):
    counted = watts[VALUES[bin_of(watts)] > above_watts]
    meter_ids, found = Sketches.of(9, watts).above(above_watts).quantile(q)
    assert len(meter_ids) == min(len(counted), 1)
    for value in found:
        assert abs(value - exact(counted, q)) <= ALPHA * exact(counted, q)


def test_beyond_a_megawatt_readings_fall_together():
    watts = np.array([1.1e6, 5e7, 3.4e38], np.float32)
    sketch = Sketches.of(1, watts)
    assert sketch == Sketches.from_bins(1, [BINS - 1], [3]) == Sketches.of(1, np.full(3, 1e6, np.float32))
    for q in (0, 1):
        assert 1e6 <= sketch.quantile(q)[1][0] < 1.01e6
    assert Sketches.of(1, household(1)).merge(sketch).subtract(sketch) == Sketches.of(1, household(1))


@pytest.mark.parametrize("seed", range(3))
def test_the_ddsketch_library_agrees(seed):
    spread = np.exp(np.random.default_rng(seed).uniform(np.log(1.001e-5), np.log(1e6), 3_000)).astype(np.float32)
    for watts in (household(seed, 5_000), spread, spread[:1]):
        counted = watts[watts > LEAST_WATTS]
        library, ours = ddsketch.DDSketch(ALPHA), Sketches.of(1, watts)
        for value in counted.tolist():
            library.add(value)
        assert ours.readings()[1][0] == library.count
        for q in np.linspace(0, 1, 101):
            judged, found, true = library.get_quantile_value(q), ours.quantile(q)[1][0], exact(counted, q)
            assert abs(judged - true) <= ALPHA * true * (1 + 1e-9)
            assert abs(found - true) <= ALPHA * true
            assert abs(found - judged) <= 2 * ALPHA * true


# Many meters, merging, bytes


@settings(deadline=None)
@given(st.lists(st.tuples(meters, in_range | st.just(0.0)), max_size=60), st.sampled_from(QUANTILES))
def test_many_meters_at_once_give_what_each_gives_alone(readings, q):
    meter_id = np.array([m for m, _ in readings], np.int32)
    watts = np.array([w for _, w in readings], np.float32)
    together = Sketches.of(meter_id, watts)
    alone = {m: Sketches.of(m, watts[meter_id == m]) for m in sorted(set(meter_id[watts > 0].tolist()))}
    meter_ids, found = together.quantile(q)
    assert meter_ids.dtype == np.int32 and meter_ids.tolist() == list(alone)
    assert found.tolist() == [float(s.quantile(q)[1][0]) for s in alone.values()]
    assert [column.tolist() for column in together.readings()] == [list(alone), [np.count_nonzero(watts[meter_id == m]) for m in alone]]
    assert together == Sketches.empty().merge(*alone.values())


@settings(deadline=None)
@given(st.lists(sketches(), min_size=1, max_size=5), st.data())
def test_order_and_grouping_of_merges_do_not_matter(pieces, data):
    expected = pieces[0].merge(*pieces[1:]).to_bytes()
    shuffled = data.draw(st.permutations(pieces))
    at = data.draw(st.integers(1, len(pieces)))
    left, right = shuffled[0].merge(*shuffled[1:at]), Sketches.empty().merge(*shuffled[at:])
    assert right.merge(left).to_bytes() == expected


@settings(deadline=None)
@given(st.lists(st.tuples(meters, any_watts), max_size=5))
def test_a_merge_gives_what_all_readings_together_give(pieces):
    merged = Sketches.empty().merge(*(Sketches.of(m, np.array(w, np.float32)) for m, w in pieces))
    meter_id = np.repeat(np.array([m for m, _ in pieces], np.int32), [len(w) for _, w in pieces])
    assert merged == Sketches.of(meter_id, np.array([w for _, watts in pieces for w in watts], np.float32))
    assert np.all(np.diff(merged.keys) > 0) and np.all(merged.counts > 0)


@settings(deadline=None)
@given(sketches(), sketches())
def test_subtracting_undoes_merging(a, b):
    assert a.merge(b).subtract(b) == a
    assert a.merge(b).subtract(b).to_bytes() == a.to_bytes()
    assert a.subtract(a) == Sketches.empty()


def test_what_was_never_merged_in_cannot_be_subtracted():
    held = Sketches.of(np.array([-4, 7]), np.array([60, 60], np.float32))
    for other in (Sketches.of(-4, np.array([60, 60], np.float32)), Sketches.of(-4, np.array([900], np.float32))):
        with pytest.raises(ValueError, match="meter -4: "):
            held.subtract(other)
    with pytest.raises(ValueError, match="meter 8: "):
        held.subtract(Sketches.of(8, np.array([60], np.float32)))


def test_counted_bins_come_in_any_order_and_repeats_are_summed():
    sketch = Sketches.from_bins(np.array([2, -1, 2, 2]), np.array([3, 1266, 0, 3]), np.array([1, 5, 2, 4]))
    assert sketch.keys.tolist() == [-1 * 2048 + 1266, 2 * 2048, 2 * 2048 + 3]
    assert sketch.counts.tolist() == [5, 2, 5]
    assert Sketches.from_bins(1, [4, 5], [0, 1]) == Sketches.from_bins(1, [5], [1])


@settings(deadline=None)
@given(sketches(), st.booleans())
def test_bytes_give_the_same_sketches_back(sketch, huge):
    if huge:
        sketch = Sketches(sketch.keys, sketch.counts + 2**40)
    back = Sketches.from_bytes(sketch.to_bytes())
    assert back == sketch and back.to_bytes() == sketch.to_bytes()
    assert back.keys.dtype == back.counts.dtype == np.int64


def test_bytes_are_6_a_bin():
    sketch = Sketches.from_bins(np.array([1, 1, -2]), np.array([0, 780, 5]), np.array([9, 1, 2**32 - 1]))
    assert sketch.to_bytes() == struct.pack("<BBIiHiHHHHIII", 1, 4, 2, -2, 1, 1, 2, 5, 0, 780, 2**32 - 1, 9, 1)
    assert len(sketch.to_bytes()) == 6 + 2 * 6 + 3 * 6
    wide = sketch.merge(Sketches.from_bins(-2, np.array([5]), np.array([1])))
    assert len(wide.to_bytes()) == 6 + 2 * 6 + 3 * 10
    every_bin = Sketches.from_bins(1, np.arange(BINS), np.ones(BINS, int))
    assert len(every_bin.to_bytes()) == 12 + 1267 * 6 == 7614, "the most that a meter takes"


def test_bytes_of_another_version_are_refused():
    with pytest.raises(ValueError, match="version 2"):
        Sketches.from_bytes(b"\x02" + Sketches.empty().to_bytes()[1:])


@pytest.mark.parametrize("missing", [1, 6, 11])
def test_bytes_that_end_too_early_are_refused(missing):
    sketch = Sketches.from_bins(np.array([1, 1, 2]), np.array([3, 4, 5]), np.array([1, 2, 3]))
    with pytest.raises(ValueError, match="^the bytes of sketches end too early$"):
        Sketches.from_bytes(sketch.to_bytes()[:-missing])


def test_sketches_are_equal_when_their_bins_are():
    assert Sketches.empty() != 0
    sketch = Sketches.from_bins(1, [2], [3])
    assert sketch == sketch.merge() and sketch is not sketch.merge()
    assert sketch not in [Sketches.from_bins(*other) for other in ((1, [2], [4]), (2, [2], [3]), (1, [1], [3]))]


# Histograms


@settings(deadline=None)
@given(st.lists(st.lists(st.floats(0, 2e6, width=32), max_size=30), max_size=6))
def test_histograms_are_what_unique_finds_in_each_section(sections):
    watts = np.array([w for section in sections for w in section], np.float32)
    expected = []
    for section in sections:
        found = bin_of(np.array(section, np.float32))
        expected.append(list(zip(*(column.tolist() for column in np.unique(found[found >= 0], return_counts=True)))))
    bins, bin_index, count = histograms(np.array([len(section) for section in sections], np.int64), watts)
    assert (bin_index.dtype, count.dtype) == (np.uint16, np.uint32)
    assert bins.tolist() == [len(histogram) for histogram in expected]
    assert list(zip(bin_index.tolist(), count.tolist())) == list(chain.from_iterable(expected))


def test_histograms_by_hand_and_of_a_household():
    columns = histograms(np.array([1, 0, 1, 3]), np.array([1, 0, 60, 1, 60], np.float32))
    assert [column.tolist() for column in columns] == [[1, 0, 0, 2], [575, 575, 780], [1, 1, 2]]
    watts = household(7, 200_000)
    bins, bin_index, count = histograms(np.full(len(watts) // 500, 500), watts)
    assert count.sum() == np.count_nonzero(watts > LEAST_WATTS)
    section = np.repeat(np.arange(len(bins)), bins)
    assert Sketches.from_bins(section, bin_index, count) == Sketches.of(np.arange(len(watts)) // 500, watts)


@pytest.mark.parametrize("watts", [-1.0, -1e-5, -np.inf, np.inf, np.nan, 0.0, -0.0, 1e-5, 1.1e-5, 3e38])
def test_a_histogram_counts_what_has_a_bin(watts):
    bins, bin_index, _ = histograms(np.array([1]), np.array([watts], np.float32))
    [expected] = bin_of(np.array([watts], np.float32)).tolist()
    assert bin_index.tolist() == [expected] * int(bins[0]) and (expected >= 0) == bool(bins[0])
