"""That the two decisions are taken, in their order, by the noise."""

from __future__ import annotations

import numpy as np
import pytest

from scnode.datasets import branching
from scnode.datasets._branching import BRANCHING
from scnode.datasets._integrate import integrate
from scnode.datasets._observe import start_states

FATES = ["FateA", "FateB", "FateC"]


@pytest.fixture(scope="module")
def adata():
    return branching(n_cells=500, n_genes=40, rng=1)


@pytest.fixture(scope="module")
def core():
    """The network of the fifteen regulators and 200 of its start states."""
    network = BRANCHING.build(BRANCHING.n_core, np.random.default_rng(0))
    return network, start_states(network, BRANCHING.start, 200, 0.25, np.random.default_rng(1))


def run(core, duration, noise=0.05, seed=2):
    network, start = core
    return integrate(network, start, duration, noise=noise, rng=np.random.default_rng(seed))


def shares(labels, names):
    return np.array([np.mean(np.asarray(labels) == name) for name in names])


def test_every_fate_is_reached_by_a_fifth_to_under_half(core):
    share = shares(BRANCHING.fates(core[0], np.concatenate([run(core, 36.0, seed=s) for s in (2, 3, 4)])), FATES)
    assert (share > 0.2).all()
    assert (share < 0.45).all()
    assert share.sum() == pytest.approx(1)


def test_noise_decides_and_not_the_start(core):
    fates = [BRANCHING.fates(core[0], run(core, 36.0, seed=seed)) for seed in (2, 3)]
    chance = (shares(fates[0], FATES) * shares(fates[1], FATES)).sum()
    assert abs(np.mean(fates[0] == fates[1]) - chance) < 0.12


def test_cells_decide_one_after_the_other(core):
    network = core[0]
    found = {hour: BRANCHING.clusters(network, run(core, float(hour))) for hour in (3, 9, 18, 36)}
    assert shares(found[3], ["Progenitor"]) == 1
    assert shares(found[9], ["Progenitor", "Early"]).sum() > 0.9
    assert (shares(found[18], ["FateA", "Intermediate"]) > 0.25).all()
    assert shares(found[18], ["FateB", "FateC"]).sum() < 0.1
    assert shares(found[36], FATES).sum() > 0.97


def test_intermediate_cells_never_become_fate_a(core):
    network = core[0]
    state = run(core, 18.0)
    later = integrate(network, state, 24.0, noise=0.05, rng=np.random.default_rng(5))
    intermediate = np.asarray(BRANCHING.clusters(network, state)) == "Intermediate"
    fate = BRANCHING.fates(network, later)
    assert set(fate[intermediate]) == {"FateB", "FateC"}
    assert (fate[np.asarray(BRANCHING.clusters(network, state)) == "FateA"] == "FateA").all()


def test_fates_hold(core):
    network, end = core[0], run(core, 36.0)
    later = integrate(network, end, 36.0, noise=0.05, rng=np.random.default_rng(5))
    assert np.mean(BRANCHING.fates(network, end) == BRANCHING.fates(network, later)) > 0.99


def test_fated_clusters_agree_with_fate(adata):
    obs = adata.obs
    assert list(obs["clusters"].cat.categories) == ["Progenitor", "Early", "FateA", "Intermediate", "FateB", "FateC"]
    fated = obs["clusters"].isin(FATES)
    assert (obs["clusters"].astype(str) == obs["true_fate"].astype(str))[fated].mean() > 0.98
    assert obs["true_fate"].value_counts(normalize=True).between(0.2, 0.45).all()


def test_knock_outs_follow_the_two_decisions(adata):
    table = adata.uns["true_knockouts"].set_index(["gene", "fate"])["knockout"]
    control = adata.uns["true_knockouts"].groupby("fate")["control"].first()
    assert table["FateA_TF1", "FateA"] < 0.02
    assert table["FateA_TF1", "FateB"] > control["FateB"]
    assert table["Mid_TF1", "FateA"] > 0.95
    assert table["FateB_TF1", "FateC"] == pytest.approx(control["FateB"] + control["FateC"], abs=0.05)
    assert table["FateB_TF1", "FateA"] == pytest.approx(control["FateA"], abs=0.05)


def test_roles_and_masters(adata):
    assert set(adata.var["role"]) == {"regulator", "target", "marker", "inert"}
    assert (adata.var["role"] == "regulator").sum() == BRANCHING.n_core
    late, means = adata[adata.obs["clusters"] == "FateC"], {}
    for fate in FATES:
        means[fate] = late.layers["true_spliced"][:, late.var_names.get_loc(f"{fate}_Marker_1")].mean()
    assert max(means, key=means.get) == "FateC"
