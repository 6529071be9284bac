"""Nested subsets are nested and whole; the power law is recovered."""

import itertools

import numpy as np
import pytest

from embedx.comparison.curves import fit_power_law
from embedx.comparison.subsets import nested_subset


@pytest.mark.parametrize("n_groups", [0, 24])
def test_subsets_are_nested_keep_groups_whole_and_every_class(make_dataset, n_groups):
    part = make_dataset(n_groups=n_groups)
    sets = [set(nested_subset(part, fraction, seed=4).tolist()) for fraction in (0.1, 0.25, 0.5, 1.0)]
    assert all(a <= b for a, b in itertools.pairwise(sets))
    assert len(sets[-1]) == 96
    for chosen in sets:
        assert {part.sources[i].label for i in chosen} == {"c0", "c1", "c2", "c3"}
        if n_groups:
            groups = {part.sources[i].group for i in chosen}
            assert chosen == {i for i, source in enumerate(part.sources) if source.group in groups}
    assert len(sets[2]) == pytest.approx(48, abs=8)


@pytest.mark.parametrize(("a", "b", "c"), [(0.0, 1.5, 0.5), (0.2, 3.0, 1.0), (0.3, 0.0, 0.5)])
def test_a_power_law_is_recovered(a, b, c):
    sizes = np.array([20.0, 40, 80, 160, 320])
    law = fit_power_law(sizes, (a + b * sizes**-c)[None])[0]
    predicted = law[0] + law[1] * 640.0 ** -law[2]
    assert predicted == pytest.approx(a + b * 640.0**-c, abs=1e-3)


def test_a_curve_that_rises_is_called_flat():
    law = fit_power_law(np.array([10.0, 20, 40]), np.array([[0.2, 0.25, 0.3]]))[0]
    assert law[1] == 0
    assert law[0] == pytest.approx(0.25)
