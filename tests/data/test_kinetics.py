import numpy as np
import pytest
import scipy.sparse as sp

from scnode import EvidenceError
from scnode.data import Abundance, Kinetics, kinetic_genes, portrait

BETA, GAMMA = np.array([3.0, 5.0, 8.0, 4.0]), np.array([1.0, 0.5, 2.0, 1.0])


@pytest.fixture
def waves():
    """Abundances of four genes through one pulse of transcription, none of them at rest, and their exact change."""
    time = np.linspace(0.05, 0.95, 400)[:, None]
    spliced = 1.5 + np.sin(2 * np.pi * time + np.arange(4))
    change = 2 * np.pi * np.cos(2 * np.pi * time + np.arange(4))
    # Any smooth spliced curve has the unspliced one that makes it.
    return (change + GAMMA * spliced) / BETA, spliced, change


def test_rates_of_exact_kinetics_are_exact(waves):
    found = portrait(*waves)
    assert found.usable.all()
    np.testing.assert_allclose(found.agreement, 1)
    beta, gamma = found.rates()
    np.testing.assert_allclose(beta, BETA, rtol=1e-9)
    np.testing.assert_allclose(gamma, GAMMA, rtol=1e-9)


def test_noise_of_unspliced_counts_biases_no_rate(waves):
    unspliced, spliced, change = waves
    noise = np.random.default_rng(0).normal(0, 0.5, (300, *unspliced.shape))
    found = [portrait(unspliced + draw, spliced, change) for draw in noise]
    np.testing.assert_allclose(np.mean([f.ratio for f in found], axis=0), GAMMA / BETA, rtol=0.05)
    np.testing.assert_allclose(np.mean([f.slowness for f in found], axis=0), 1 / BETA, rtol=0.05)


def test_genes_that_go_the_other_way_take_the_typical_rate(waves):
    unspliced, spliced, change = waves
    backward = np.concatenate([unspliced, unspliced[:, :1]], axis=1)
    found = portrait(backward, np.c_[spliced, spliced[:, :1]], np.c_[change, -change[:, :1]])
    assert found.usable.tolist() == [True] * 4 + [False]
    beta, gamma = found.rates()
    assert gamma[4] == pytest.approx(np.exp(np.median(np.log(GAMMA))))
    assert beta[4] > 0


def test_no_gene_that_follows_is_an_error(waves):
    unspliced, spliced, change = waves
    with pytest.raises(EvidenceError, match="runs forward in time"):
        portrait(unspliced, spliced, -change).rates()


def test_a_gene_without_change_still_has_rates():
    flat = np.ones((50, 2))
    found = portrait(0.5 * flat, flat, np.zeros((50, 2)))
    assert not found.usable.any()
    np.testing.assert_allclose(found.ratio, 0.5)


def test_chosen_genes_follow_the_kinetics(waves):
    """Of twice as many genes, those whose unspliced counts lead; scarce ones are no candidates."""
    unspliced, spliced, _ = waves
    rng, n = np.random.default_rng(0), len(unspliced)
    u = np.c_[unspliced, rng.uniform(0.5, 1, (n, 4))]
    s = np.c_[spliced, rng.uniform(0.5, 1, (n, 4))]
    u[15:, 1] = 0
    abundance = Abundance(sp.csr_matrix(u), sp.csr_matrix(s), np.arange(8).astype(str), sp.eye(n, format="csr"))
    step = 0.9 / (n - 1)
    forward = (sp.eye(n, k=1) - sp.eye(n, k=-1)).tolil() / (2 * step)
    forward[0], forward[-1] = 0, 0
    assert kinetic_genes(abundance, sp.csr_matrix(forward)).tolist() == [0, 2, 3]
    with pytest.raises(EvidenceError, match="Pass genes="):
        kinetic_genes(abundance, sp.csr_matrix(-forward))


def test_surroundings_have_the_transcription_of_the_nearest_cells(waves):
    unspliced, spliced, change = waves
    states = np.concatenate([unspliced, spliced], axis=1)
    velocity = np.concatenate([np.gradient(unspliced, axis=0) * 399 / 0.9, change], axis=1)
    found = Kinetics.of(portrait(*waves), states, velocity)
    assert (found.level > 0).all()
    outside, back = found.around(states, velocity, rng=np.random.default_rng(0))
    assert (outside >= 0).all()
    np.testing.assert_allclose(back[:, 4:], BETA * outside[:, :4] - GAMMA * outside[:, 4:], atol=1e-7)
    made = back[:, :4] + BETA * outside[:, :4]
    assert made.min() > -1e-9
    assert made.max() <= (velocity[:, :4] + BETA * unspliced).max() + 1e-6


def test_the_velocity_taught_obeys_the_kinetics(waves):
    unspliced, spliced, change = waves
    states = np.concatenate([unspliced, spliced], axis=1)
    velocity = np.concatenate([np.ones_like(unspliced), change], axis=1)
    found = Kinetics.of(portrait(*waves), states, velocity)
    np.testing.assert_allclose(found.obeyed(states, velocity), velocity, atol=1e-8)
    noisy = found.obeyed(states, velocity + 1)
    np.testing.assert_allclose(noisy[:, :4], 2)
    np.testing.assert_allclose(noisy[:, 4:], change, atol=1e-8)
