"""State of an earlier release."""

import numpy as np
import pytest

from jobs.core.state_version import StateFault, require_version, widened

BEFORE, NOW = np.dtype([("a", "i4"), ("b", "f4")]), np.dtype([("a", "i8"), ("b", "f4"), ("c", "i8")])


def test_only_the_version_of_this_release_is_read():
    require_version(2, 2)
    with pytest.raises(StateFault, match="a checkpoint of state version 3, but this release reads version 2: restore it with the release"):
        require_version(3, 2)


def test_rows_are_converted_and_new_fields_are_0():
    assert widened(np.array([(1, 2.5), (3, 0)], BEFORE), NOW).tolist() == [(1, 2.5, 0), (3, 0, 0)]
    rows = np.array([(1, 2.5, 9)], NOW)
    assert widened(rows, NOW) is rows
