import numpy as np
import pytest

import scnode
from scnode import ScnodeError
from scnode.pl._ridges import ridges


def hill(n=4000):
    """Highest along the line x + y = 0 of a square."""
    position = np.random.default_rng(0).uniform(-1, 1, (n, 2))
    return position, np.exp(-((position.sum(1) / 0.4) ** 2))


def test_ridges_lie_on_the_crest():
    found = ridges(*hill())
    assert len(found) > 50
    assert np.quantile(np.abs(found.sum(1)), 0.95) < 0.1
    assert np.ptp(found[:, 0]) > 1.5


def test_noise_moves_a_ridge_little_and_values_without_number_are_left_out():
    position, values = hill()
    values = values + np.random.default_rng(1).normal(0, 0.1, len(values))
    values[::7] = np.nan
    found = ridges(position, values)
    assert np.median(np.abs(found.sum(1))) < 0.1


def test_where_nothing_is_known_there_is_no_ridge():
    position, values = hill(50)
    assert ridges(position, np.full(50, np.nan)).shape == (0, 2)
    assert len(ridges(position, np.ones_like(values))) == 0


@pytest.fixture(scope="module")
def parted(drawn):
    return scnode.tl.ftle(drawn, copy=True)


def test_cells_are_coloured_by_their_exponent_around_zero(parted):
    ax = scnode.pl.ftle(parted, show=False)
    points = max(ax.collections, key=lambda c: len(c.get_offsets()))
    np.testing.assert_allclose(np.sort(points.get_array()), np.sort(parted.obs["scnode_ftle"]), rtol=1e-5)
    low, high = points.get_clim()
    assert low == -high < 0
    assert ax.get_title() == "FTLE forward, horizon 0.5"
    assert points.get_rasterized()


def test_ridges_can_be_left_out_and_options_pass(parted):
    with_ridges, without = (scnode.pl.ftle(parted, show_ridges=on, show=False) for on in (True, False))
    assert len(with_ridges.collections) == len(without.collections) + 1
    figure = scnode.pl.ftle(parted, title="mine", return_fig=True, s=9)
    assert figure.axes[0].get_title() == "mine"
    assert "drawn" not in parted.uns


def test_missing_exponents_name_the_call(drawn):
    with pytest.raises(ScnodeError, match=r"scnode\.tl\.ftle"):
        scnode.pl.ftle(drawn, show=False)
