"""Failed assertions of the helpers show their values, as those of the test files do."""

import pytest

pytest.register_assert_rewrite("tests.unit.driver", "tests.unit.flink_stand_in", "tests.unit.outcomes")
