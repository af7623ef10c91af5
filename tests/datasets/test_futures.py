"""Fate probabilities against independent simulations of whole runs."""

from __future__ import annotations

import numpy as np
import pytest

from scnode.datasets import bifurcation
from scnode.datasets._bifurcation import BIFURCATION
from scnode.datasets._branching import BRANCHING
from scnode.datasets._collection import collect, run
from scnode.datasets._futures import fate_probability
from scnode.datasets._integrate import integrate

NOISE = 0.05
N_FUTURES = 60


@pytest.fixture(scope="module", params=[BIFURCATION, BRANCHING], ids=lambda kind: kind.name)
def cells(request):
    kind, rng = request.param, np.random.default_rng(3)
    network = kind.build(kind.n_core, rng)
    state = run(network, kind.start, collect(kind.duration, 150, None, None, rng), NOISE, rng)
    probability = fate_probability(kind, network, state, n_futures=N_FUTURES, noise=NOISE, seed=1)
    return kind, network, state, probability


def test_rows_sum_to_one_and_order_the_fates(cells):
    kind, _, state, probability = cells
    assert probability.shape == (len(state), len(kind.masters))
    np.testing.assert_allclose(probability.sum(axis=1), 1)
    assert probability.min() >= 0


def test_fated_cells_are_certain_of_their_fate(cells):
    kind, network, state, probability = cells
    fate, cluster = kind.end_fates(network, state), np.asarray(kind.clusters(network, state))
    for k, name in enumerate(kind.masters):
        assert (probability[cluster == name, k] > 0.98).all()
    certain = probability.max(axis=1) > 0.95
    best = np.array(list(kind.masters))[probability.argmax(axis=1)]
    assert 0.3 < certain.mean() < 0.9
    assert np.mean(best[certain] == fate[certain]) > 0.98


def test_uncertain_cells_agree_with_whole_fine_runs(cells):
    kind, network, state, probability = cells
    uncertain = np.flatnonzero(probability.max(axis=1) < 0.9)[:60]
    start = np.repeat(state[uncertain], N_FUTURES, axis=0)
    end = integrate(network, start, kind.duration, noise=NOISE, rng=np.random.default_rng(7))
    fate = kind.fates(network, end).reshape(len(uncertain), N_FUTURES)
    found = np.stack([(fate == name).mean(axis=1) for name in kind.masters], axis=1)
    p = probability[uncertain]
    error = np.sqrt((p * (1 - p) + found * (1 - found)) / N_FUTURES)
    z = ((p - found) / np.maximum(error, 1 / N_FUTURES))[:, 0]
    assert abs(z.mean()) < 4 / np.sqrt(len(z))
    assert 0.6 < z.std() < 1.4


def test_single_noisy_fates_are_drawn_with_the_probabilities(cells):
    kind, network, state, probability = cells
    end = integrate(network, state, kind.duration, noise=NOISE, rng=np.random.default_rng(8))
    fate = kind.fates(network, end)
    for k, name in enumerate(kind.masters):
        p = probability[:, k]
        assert abs(np.mean(fate == name) - p.mean()) < 4 * np.sqrt((p * (1 - p)).sum() + 1) / len(p)


def test_intermediate_cells_have_given_up_one_fate():
    rng = np.random.default_rng(4)
    network = BRANCHING.build(BRANCHING.n_core, rng)
    state = run(network, BRANCHING.start, collect(20.0, 80, 2, None, rng), NOISE, rng)
    probability = fate_probability(BRANCHING, network, state, n_futures=40, noise=NOISE, seed=1)
    intermediate = np.asarray(BRANCHING.clusters(network, state)) == "Intermediate"
    assert intermediate.sum() > 5
    assert probability[intermediate, 0].max() == 0
    np.testing.assert_allclose(probability[intermediate].mean(axis=0), [0, 0.5, 0.5], atol=0.2)


def test_without_noise_fate_is_that_of_the_flow():
    rng = np.random.default_rng(3)
    network = BIFURCATION.build(BIFURCATION.n_core, rng)
    state = run(network, BIFURCATION.start, collect(30.0, 60, None, None, rng), NOISE, rng)
    probability = fate_probability(BIFURCATION, network, state, n_futures=5, noise=0.0, seed=1)
    best = np.array(list(BIFURCATION.masters))[probability.argmax(axis=1)]
    assert set(np.unique(probability)) <= {0.0, 1.0}
    assert (best == BIFURCATION.end_fates(network, state)).all()


def test_cells_that_reach_no_fate_have_equal_shares():
    network = BRANCHING.build(BRANCHING.n_core, np.random.default_rng(0)).knock_out("Commit_TF", "Prog_TF2")
    state = np.zeros((3, 2, BRANCHING.n_core))
    probability = fate_probability(BRANCHING, network, state, n_futures=10, noise=0.01, seed=1)
    np.testing.assert_allclose(probability, 1 / 3)


def test_probabilities_leave_the_cells_as_they_are():
    plain, told = (bifurcation(n_cells=80, n_genes=12, n_futures=n, rng=5) for n in (0, 10))
    assert "true_fate_probability" not in plain.obsm
    assert (plain.X != told.X).nnz == 0
    np.testing.assert_array_equal(plain.layers["true_spliced"], told.layers["true_spliced"])
    table = told.obsm["true_fate_probability"]
    assert list(table.columns) == ["FateA", "FateB"]
    assert (table.index == told.obs_names).all()
