"""A branch that divides, seen on several days: cells multiply and none crosses."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch

import scnode
from scnode import EvidenceError, ScnodeError
from scnode.metrics import cosine

pytest.importorskip("ot")
RATE = 1.5
FAST = {"use_rep": "X_plane", "time_key": "day", "n_members": 1, "max_epochs": 40}
KINDS = {"balanced": {}, "given": {"growth_key": "rate"}, "learned": {"unbalanced": True}}


def motion(states):
    x, y = states.T
    return np.stack([np.ones_like(x), 2 * y * (1 - y**2)], axis=1)


def dividing(days, n, *, seed=0):
    """Cells move on and away from y = 0; those above divide, and each day has as many cells as any other."""
    rng = np.random.default_rng(seed)
    states = []
    for day in days:
        one = np.stack([rng.normal(0, 0.25, 5000), rng.choice([-1, 1], 5000) * rng.uniform(0.15, 0.5, 5000)], axis=1)
        for _ in range(round(day / 0.02)):
            one += 0.02 * motion(one)
        number = np.exp(RATE * day * (one[:, 1] > 0))
        states.append(one[rng.choice(5000, n, replace=False, p=number / number.sum())])
    states = np.concatenate(states)
    obs = pd.DataFrame({"day": np.repeat(days, n), "rate": np.where(states[:, 1] > 0, RATE, 0.0)})
    obs.index = [f"c{i}" for i in range(len(obs))]
    seen = states + rng.normal(0, 0.08, states.shape)
    return ad.AnnData(np.zeros((len(obs), 1), np.float32), obs=obs, obsm={"X_plane": seen, "true": motion(states)})


@pytest.fixture(scope="module")
def cells():
    return dividing([0.0, 1.0, 2.0], 150)


@pytest.fixture(scope="module")
def fits(cells):
    found = {}
    for kind, options in KINDS.items():
        found[kind] = cells.copy()
        scnode.tl.fit(found[kind], **FAST, **options)
    return found


def crossed(adata):
    """Share of the cells that have changed sides a day later."""
    early = (adata.obs["day"] < 2).to_numpy()
    states = torch.as_tensor(adata.obsm["X_scnode"][early], dtype=torch.float32)
    with torch.no_grad():
        ends = scnode.get.model(adata).flow(states, torch.tensor([0.0, 0.5]))[:, 0, -1].numpy()
    return ((ends[:, 1] > 0) != (adata.obs["rate"][early] > 0)).mean()


def test_balanced_transport_sends_cells_across(fits):
    assert crossed(fits["balanced"]) > 0.1


@pytest.mark.parametrize("kind", ["given", "learned"])
def test_with_growth_no_cell_crosses(fits, kind):
    adata = fits[kind]
    assert crossed(adata) < 0.02
    truth = 2 * adata.obsm["true"]
    error = [np.linalg.norm(fits[k].obsm["velocity_scnode"] - truth, axis=1).mean() for k in (kind, "balanced")]
    assert error[0] < 0.7 * error[1]
    assert cosine(adata.obsm["scnode_evidence"], truth).mean() > 0.98


def test_rates_are_written_in_the_unit_of_the_days(fits, cells):
    np.testing.assert_allclose(fits["given"].obs["scnode_growth"], cells.obs["rate"])
    assert "scnode_growth" not in fits["balanced"].obs
    assert "growth" not in fits["balanced"].uns["scnode"]["report"]
    by = [cells.obs["day"], cells.obs["rate"] > 0]
    mean, number = (
        fits["learned"].obs.groupby(by)["scnode_growth"].mean().unstack(),
        cells.obs.groupby(by).size().unstack(),
    )
    gain = np.diff(np.log(number[True] / number[False]))
    # The last day has the rates of its origins.
    np.testing.assert_allclose(mean[True] - mean[False], gain[[0, 1, 1]], atol=0.3)


def test_the_report_says_where_growth_is_from(fits):
    given, learned = (fits[k].uns["scnode"]["report"]["growth"] for k in ("given", "learned"))
    assert given["source"] == "obs['rate']"
    assert learned["source"] == "unbalanced optimal transport"
    np.testing.assert_allclose(given["deviation"], fits["given"].obs["rate"].std(ddof=0))
    np.testing.assert_array_equal(learned["numbers"], [0, 0])


def test_a_later_fit_without_growth_leaves_no_rates(fits):
    adata = fits["given"].copy()
    scnode.tl.fit(adata, **FAST | {"max_epochs": 1})
    assert "scnode_growth" not in adata.obs


def test_numbers_of_cells_and_times_held_out():
    adata = dividing([0.0, 1.0, 2.0, 4.0], 20)
    adata = adata[np.r_[0:10, 20:60, 60:80]].copy()
    scnode.tl.fit(adata, **FAST | {"max_epochs": 1}, holdout=[4.0], growth_key="rate", unbalanced=True)
    report = adata.uns["scnode"]["report"]["growth"]
    assert report["source"] == "obs['rate'] corrected by unbalanced optimal transport"
    np.testing.assert_allclose(report["numbers"], [np.log(2), 0])
    np.testing.assert_array_equal(np.isnan(adata.obs["scnode_growth"]), adata.obs["day"] == 4)


@pytest.mark.slow
def test_the_held_out_distribution_is_nearer():
    cells, energy = dividing([0.0, 0.5, 1.0, 1.5, 2.0], 300), {}
    for kind, options in KINDS.items():
        params = {"use_rep": "X_plane", "n_members": 1, "max_epochs": 60, **options}
        scored = scnode.tl.evaluate(cells, time_key="day", holdout=1.0, params=params, n_splits=20, copy=True)
        energy[kind] = scnode.get.evaluation(scored).set_index("method")["energy"]
    for kind in ("given", "learned"):
        for method in ("scnode", "scnode_forecast"):
            assert energy[kind][method] < 0.7 * energy["balanced"][method]
        # The baseline knows nothing of growth.
        assert energy[kind]["ot_interpolation"] == pytest.approx(energy["balanced"]["ot_interpolation"], rel=0.2)


@pytest.mark.parametrize(
    ("options", "error", "fix"),
    [
        ({"growth_key": "rate", "time_key": None}, EvidenceError, "growth_key='rate' is a rate per unit of time_key="),
        ({"unbalanced": True, "time_key": None}, EvidenceError, "from cells of different days. Pass time_key="),
        ({"growth_key": "rat"}, ScnodeError, r"Did you mean 'rate'\? Pass growth_key="),
        ({"unbalanced": "yes"}, ScnodeError, "unbalanced='yes' is no answer"),
        ({"unbalanced": True, "control_key": "rate"}, ScnodeError, "growth is not learned by arm. Pass growth_key="),
    ],
)
def test_growth_that_cannot_be_leaves_adata(cells, options, error, fix):
    adata = cells.copy()
    with pytest.raises(error, match=fix):
        scnode.tl.fit(adata, **FAST | options)
    assert set(adata.obsm) == set(cells.obsm)
    assert not adata.uns
