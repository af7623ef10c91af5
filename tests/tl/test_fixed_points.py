import anndata as ad
import numpy as np
import pytest

import scnode
from scnode import ScnodeError


@pytest.fixture(scope="module")
def resting(double_well):
    return scnode.tl.fixed_points(double_well, groupby="side", copy=True)


def test_a_double_well_has_two_attractors_and_the_saddle_between(resting):
    table = scnode.get.fixed_points(resting)
    assert table["kind"].str.startswith("stable").sum() == 2
    assert (table["kind"] == "saddle").sum() == 1
    assert len(table) == 3
    stored = resting.uns["scnode"]["fixed_points"]
    order = np.argsort(stored["position"][:, 0])
    np.testing.assert_allclose(stored["position"][order], [[-1, 0], [0, 0], [1, 0]], atol=0.08)
    assert stored["group"][order][[0, 2]].tolist() == ["left", "right"]
    np.testing.assert_allclose(stored["basin"][order], [0.5, 0, 0.5], atol=0.06)
    assert stored["unresolved"] == 0
    real = stored["eigenvalues"][order, :2]
    np.testing.assert_allclose(real[[0, 2], 1] / real[[0, 2], 0], 2, rtol=0.25)
    np.testing.assert_allclose(real[1, 0], -real[1, 1], rtol=0.25)


def test_the_table_says_how_many_directions_lead_away_and_survives_a_file(resting, tmp_path):
    table = scnode.get.fixed_points(resting)
    assert table["n_unstable"].tolist() == [0, 0, 1]
    assert table["period"].isna().all()
    np.testing.assert_allclose(table["time_scale"], 1 / table["rate"].abs())
    assert (table["rate"][:2] < 0).all()
    resting.write_h5ad(tmp_path / "a.h5ad")
    assert scnode.get.fixed_points(ad.read_h5ad(tmp_path / "a.h5ad")).equals(table)


def test_a_cycle_has_its_period_and_no_attractor(turning):
    found = scnode.tl.fixed_points(turning, groupby="side", copy=True)
    table = scnode.get.fixed_points(found)
    assert not table["kind"].str.startswith("stable").any()
    cycle = table[table["kind"] == "limit cycle"]
    assert len(cycle) == 1
    assert cycle["basin"].item() > 0.95
    assert set(cycle["group"].item().split(" > ")) == {"up", "down"}
    orbit = found.uns["scnode"]["fixed_points"]["orbit"][0]
    np.testing.assert_allclose(np.linalg.norm(orbit, axis=1), 1, atol=0.08)
    # One turn takes pi; the clock's unit is found by the fit, from the same velocities.
    rate = np.median(np.linalg.norm(turning.obsm["velocity_scnode"], axis=1))
    own = np.median(np.linalg.norm(turning.obsm["v"], axis=1))
    assert cycle["period"].item() == pytest.approx(np.pi * own / rate, rel=0.05)


def test_groups_are_by_default_those_of_the_fates_else_none(double_well):
    plain = scnode.tl.fixed_points(double_well, n_starts=50, t=10.0, copy=True)
    assert set(scnode.get.fixed_points(plain)["group"]) == {""}
    plain.uns["scnode"]["fate"] = {"groupby": "side", "groups": ["left", "right"]}
    scnode.tl.fixed_points(plain, n_starts=50, t=10.0)
    assert {"left", "right"} <= set(scnode.get.fixed_points(plain)["group"])


@pytest.mark.parametrize(
    ("options", "message"),
    [({"groupby": "sied"}, "Did you mean 'side'"), ({"t": 0.0}, "must be positive"), ({"n_starts": 0}, "at least 1")],
)
def test_bad_input_leaves_the_cells_alone(double_well, options, message):
    with pytest.raises(ScnodeError, match=message):
        scnode.tl.fixed_points(double_well, **options)
    with pytest.raises(ScnodeError, match="No fixed points"):
        scnode.get.fixed_points(double_well)
