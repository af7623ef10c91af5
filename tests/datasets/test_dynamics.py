"""That the simulated truth is the truth of the simulated system."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from scnode import ScnodeError
from scnode.datasets import _bifurcation, _limit_cycle, _stiff, bifurcation, limit_cycle, stiff
from scnode.datasets._integrate import integrate
from scnode.datasets._knockout import simulate_knockout
from scnode.datasets._observe import start_states


def as_function(network):
    shape = (1, 2, network.n_genes)
    return lambda _, y: network.drift(y.reshape(shape)).ravel()


def test_velocity_is_slope_of_the_flow():
    network = _bifurcation.build_network(40, np.random.default_rng(0))
    start = start_states(network, _bifurcation.BIFURCATION.start, 20, 0.25, np.random.default_rng(1))
    state = integrate(network, start, np.linspace(0, 30, 20))
    h = 1e-4
    slope = (integrate(network, state, h) - state) / h
    np.testing.assert_allclose(slope, network.drift(state), atol=2e-3)


@pytest.mark.parametrize(
    ("network", "begin", "step"),
    [
        (_bifurcation.build_network(20, np.random.default_rng(0)), _bifurcation.BIFURCATION.start, 0.05),
        (_stiff.build_network(20, 1e3, np.random.default_rng(0)), _stiff._START, 0.02),
    ],
    ids=["bifurcation", "stiff"],
)
def test_integrator_agrees_with_radau(network, begin, step):
    start = start_states(network, begin, 1, 0.2, np.random.default_rng(1))
    reference = solve_ivp(as_function(network), (0, 10.013), start.ravel(), method="Radau", rtol=1e-8, atol=1e-9)
    end = integrate(network, start, 10.013, step=step)
    np.testing.assert_allclose(end.ravel(), reference.y[:, -1], rtol=5e-3, atol=5e-3)


def test_integrator_is_of_second_order():
    network = _bifurcation.build_network(9, np.random.default_rng(0))
    start = start_states(network, _bifurcation.BIFURCATION.start, 1, 0.2, np.random.default_rng(1))
    fine, half, coarse = (integrate(network, start, 6.4, step=step) for step in (0.0125, 0.1, 0.2))
    assert 3 < np.abs(coarse - fine).max() / np.abs(half - fine).max() < 6


def test_noise_has_the_strength_asked_for():
    network = _bifurcation.build_network(60, np.random.default_rng(0))
    genes = network.where("inert")
    quiet = network.subnetwork(genes)
    start = start_states(quiet, {}, 1500, 0.0, np.random.default_rng(1))
    end = integrate(quiet, start, 15.0, noise=0.05, rng=np.random.default_rng(2))
    variation = end[:, 1].std(axis=0) / np.sqrt(end[:, 1].mean(axis=0) * quiet.s_max)
    np.testing.assert_allclose(variation, 0.05, rtol=0.25)


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_both_fates_are_reached(noise):
    share = (bifurcation(n_cells=400, n_genes=12, noise=noise, rng=1).obs["true_fate"] == "FateA").mean()
    assert 0.35 < share < 0.65


def test_fated_clusters_agree_with_fate():
    obs = bifurcation(n_cells=400, n_genes=12).obs
    fated = obs["clusters"].isin(["FateA", "FateB"])
    assert set(obs["clusters"]) == {"Progenitor", "Early", "FateA", "FateB"}
    assert (obs["clusters"].astype(str) == obs["true_fate"].astype(str))[fated].mean() > 0.98


def test_knock_outs_of_masters_and_bystanders():
    adata = bifurcation(n_cells=50, n_genes=60)
    table = adata.uns["true_knockouts"].set_index(["gene", "fate"])
    assert table.loc[("FateA_TF1", "FateA"), "knockout"] < 0.02
    assert table.loc[("FateB_TF1", "FateB"), "knockout"] < 0.02
    assert table.loc[("Commit_TF", "Undecided"), "knockout"] > 0.98
    role = adata.var["role"].reindex(table.index.get_level_values("gene")).to_numpy()
    assert (table.loc[role != "regulator", "log_fold_change"] == 0).all()
    assert (role == "inert").any()
    assert (role == "marker").any()
    np.testing.assert_allclose(table.groupby("gene")["knockout"].sum(), 1)


def test_bystander_knock_out_in_the_full_network_leaves_masters():
    network = _bifurcation.build_network(40, np.random.default_rng(0))
    start = start_states(network, _bifurcation.BIFURCATION.start, 30, 0.25, np.random.default_rng(1))
    masters = [network.index(name) for name in _bifurcation.BIFURCATION.masters.values()]
    ends = [
        simulate_knockout(network, genes, start, duration=10.0, noise=0.05, seed=2)
        for genes in ([], ["Inert_1", "FateA_Marker_1", "FateA_TF3"])
    ]
    np.testing.assert_array_equal(ends[0][:, :, masters], ends[1][:, :, masters])
    assert ends[1][:, 1, network.index("Inert_1")].mean() < 0.2 * ends[0][:, 1, network.index("Inert_1")].mean()


def test_unknown_gene_is_refused():
    network = _bifurcation.build_network(9, np.random.default_rng(0))
    with pytest.raises(ScnodeError, match="'Gata1'"):
        network.knock_out("Gata1")


def test_cycle_closes():
    network = _limit_cycle.build_network(12, np.random.default_rng(0))
    origin, period = _limit_cycle.find_cycle(network)
    after, half = (integrate(network, origin, t, step=0.04) for t in (period, period / 2))
    np.testing.assert_allclose(after, origin, rtol=2e-3, atol=2e-3)
    assert np.abs(half - origin).max() > 1


def test_phase_follows_time():
    adata = limit_cycle(n_cells=200, n_genes=10, noise=0.0)
    expected = adata.obs["true_time"] / adata.uns["simulation"]["period"] * 2 * np.pi
    gap = np.angle(np.exp(1j * (adata.obs["true_phase"] - expected)))
    assert np.abs(gap).max() < 0.02
    assert adata.obs["true_phase"].between(0, 2 * np.pi, inclusive="left").all()


def test_jacobian_is_as_stiff_as_asked():
    ratio = 1e3
    adata = stiff(n_cells=20, n_genes=20, ratio=ratio, counts=False)
    network = _stiff.build_network(20, ratio, np.random.default_rng(0))
    last = adata.obs["true_time"].argmax()
    end = np.stack([adata.layers["true_unspliced"][last], adata.layers["true_spliced"][last]]).astype(float).ravel()
    shift = 1e-6 * np.eye(end.size)
    field = lambda y: network.drift(y.reshape(-1, 2, 20)).reshape(len(y), -1)  # noqa: E731
    jacobian = ((field(end + shift) - field(end - shift)) / 2e-6).T
    real = np.abs(np.linalg.eigvals(jacobian).real)
    assert real.max() / real.min() >= 0.5 * ratio


@pytest.mark.parametrize("ratio", [1.0, 0.0, np.inf])
def test_stiff_needs_two_time_scales(ratio):
    with pytest.raises(ScnodeError, match=rf"ratio={ratio}.*scnode\.datasets\.stiff\("):
        stiff(ratio=ratio)
