"""Energy in integers."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jobs.core.energy import energies


@given(
    st.lists(
        st.tuples(st.floats(2**-17, 1e6, width=32) | st.floats(-1e6, -(2**-17), width=32), st.integers(1, 1_000_000)),
        min_size=1,
        max_size=50,
    )
)
def test_integer_energy_is_exact(pairs):
    from fractions import Fraction

    watts, held = np.array([w for w, _ in pairs], np.float32), np.array([h for _, h in pairs])
    whole, rest = energies(watts, held)
    exact = sum(Fraction(float(w)) * int(h) for w, h in zip(watts, held))
    assert int(whole.sum()) + Fraction(int(rest.sum()), 2**40) == exact
