from dataclasses import replace

import numpy as np
import pytest
import torch

from scnode.data import Evidence, Expression, Neighbors, Space, contradictions
from scnode.data._contradiction import reversed_genes
from scnode.nn import PCA


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def plane(rng):
    """A space without genes."""
    latent = rng.normal(size=(200, 3))
    return Space(latent, Neighbors.of(latent, k=30))


def source(name, velocity, rng, noise=0.3):
    velocity = velocity + rng.normal(0, noise, velocity.shape)
    return Evidence(name, f"obs['{name}']", velocity, np.full(len(velocity), noise))


def test_sources_that_agree_or_have_nothing_in_common_are_not_named(plane, rng):
    motion = np.tile([1.0, 0.0, 0.0], (200, 1))
    same, across = source("time", motion, rng), source("velocity", motion[:, ::-1], rng)
    assert contradictions([same], plane) == []
    assert contradictions([same, source("pseudotime", 9 * motion, rng)], plane) == []
    assert contradictions([same, across], plane) == []


def test_two_that_run_against_each_other_are_named_in_one_sentence(plane, rng):
    motion = np.tile([1.0, 0.0, 0.0], (200, 1))
    notes = contradictions([source("time", motion, rng), source("velocity", -2 * motion, rng)], plane)
    assert len(notes) == 1
    assert notes[0].startswith("obs['time'] and obs['velocity'] contradict each other: mean cosine -0.")
    assert float(notes[0].rstrip(".").split()[-1]) < -0.8


@pytest.mark.parametrize("odd", [0, 1, 2])
def test_of_three_the_odd_one_is_named(plane, rng, odd):
    motion = np.tile([1.0, 0.5, 0.0], (200, 1))
    names = ["time", "pseudotime", "velocity"]
    sources = [source(name, -motion if i == odd else motion, rng) for i, name in enumerate(names)]
    notes = contradictions(sources, plane)
    assert len(notes) == 1
    assert notes[0].startswith(f"obs['{names[odd]}'] contradicts the rest of the evidence: mean cosine -0.")


def test_cells_of_which_a_source_says_nothing_do_not_count(plane, rng):
    motion = np.tile([1.0, 0.0, 0.0], (200, 1))
    told = np.arange(200) < 40
    clones = Evidence("lineage", "'clone'", np.where(told[:, None], -motion, 0), np.where(told, 0.1, np.inf))
    assert contradictions([source("time", motion, rng, 0.01), clones], plane) == [
        "obs['time'] and 'clone' contradict each other: mean cosine -1.00."
    ]


@pytest.fixture
def expressed(rng):
    """Twenty genes in 1200 cells, and the rate at which each of them follows a latent motion."""
    latent, motion = rng.normal(size=(1200, 4)), rng.normal(size=(1200, 4))
    loadings = np.linalg.qr(rng.normal(size=(20, 4)))[0]
    names = np.array([f"g{i}" for i in range(25)])
    pca = PCA(torch.zeros(20, dtype=torch.float64), torch.from_numpy(loadings))
    # The encoder's genes are the last 20, in another order than the expression's.
    genes = np.arange(24, 4, -1)
    space = Space(latent, Neighbors.of(latent, k=30), Expression(None, names, "none", None), pca, genes)
    rate = motion @ loadings.T
    return space, motion, rate + rng.normal(0, 0.2 * rate.std(), rate.shape)


@pytest.mark.parametrize("flipped", [[], [3], [0, 7, 19]])
def test_genes_that_were_turned_round_are_found_and_no_others(expressed, flipped):
    space, motion, rate = expressed
    rate[:, flipped] *= -1
    found = reversed_genes(rate, 5 * motion, space)
    assert sorted(found) == sorted(space.expression.genes[space.genes[flipped]])


def test_genes_without_a_rate_or_a_relation_are_not_found(expressed, rng):
    space, motion, rate = expressed
    rate[:, 2], rate[:, 4] = 0, rng.normal(size=1200)
    assert reversed_genes(rate, motion, space) == []


def test_chunks_make_no_difference(expressed, monkeypatch):
    space, motion, rate = expressed
    rate[:, [5, 6]] *= -1
    whole = reversed_genes(rate, motion, space)
    monkeypatch.setattr("scnode.data._contradiction._CHUNK", 170)
    assert reversed_genes(rate, motion, space) == whole
    assert len(whole) == 2


def test_reversed_genes_of_a_velocity_are_counted_and_the_first_named(expressed, rng):
    space, motion, rate = expressed
    rate[:, :7] *= -1
    velocity = Evidence("velocity", "layers['velocity']", motion, np.full(1200, 0.3), gene_rate=rate)
    notes = contradictions([source("time", motion, rng), velocity], space)
    assert len(notes) == 1
    assert notes[0].startswith("7 genes of layers['velocity'] run against the other evidence: g")
    assert notes[0].endswith(" and others.")
    assert contradictions([velocity], space) == []


def test_without_an_encoder_no_gene_is_named(expressed):
    space, motion, rate = expressed
    assert reversed_genes(-rate, motion, replace(space, encoder=None)) == []
