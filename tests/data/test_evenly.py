import numpy as np
import pytest

from scnode.data import evenly


@pytest.mark.parametrize("n", [0, 1, 2, 7, 100, 1001])
@pytest.mark.parametrize("most", [1, 2, 3, 50, 2000])
def test_a_few_are_evenly_apart_and_none_is_taken_twice(n, most):
    few = evenly(n, most)
    assert len(few) == min(n, most)
    gaps = np.diff(few)
    assert (gaps > 0).all()
    assert np.ptp(gaps) <= 1 if len(gaps) else True
    assert set(few) <= set(range(n))
    assert {0, n - 1} <= set(few) or len(few) < 2
