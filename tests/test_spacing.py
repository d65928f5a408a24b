"""Numbers spread evenly: none twice, all within the range, equal steps but for rounding."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvcd.spacing import evenly_spaced


@settings(max_examples=50, deadline=None)
@given(count=st.integers(1, 500), most=st.integers(1, 500))
def test_the_middle_of_every_stretch(count, most):
    chosen = evenly_spaced(count, most, ends=False)
    assert len(chosen) == len(set(chosen)) == min(count, most)
    assert chosen == sorted(chosen) and chosen[0] >= 0 and chosen[-1] < count
    gaps = np.diff(chosen)
    assert not len(gaps) or gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize("most", [1, 2, 3, 6])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 24])
def test_it_takes_as_many_as_there_are_and_both_ends(count, most):
    picked = evenly_spaced(count, most)
    assert len(picked) == len(set(picked)) == min(count, most)
    assert picked == sorted(picked) and set(picked) <= set(range(count))
    if min(count, most) > 1:
        assert (picked[0], picked[-1]) == (0, count - 1)
        steps = np.diff(picked)
        assert steps.max() - steps.min() <= 1
