import numpy as np
import pytest
import scipy.sparse as sp

from scnode.data import variable_genes

LOUD = np.arange(5, 4000, 100)


def matrix(n_genes, loud):
    """Poisson genes of many levels; the loud ones are on in the first half of the cells only."""
    rng = np.random.default_rng(0)
    level = np.tile(rng.uniform(1, 3, n_genes), (60, 1))
    level[:30, loud] *= 2
    level[30:, loud] = 0
    counts = rng.poisson(level)
    return sp.csr_matrix(np.log1p(counts).astype(np.float32))


def test_few_genes_are_all_taken():
    np.testing.assert_array_equal(variable_genes(matrix(50, [3])), np.arange(50))


def test_of_many_genes_the_most_variable_are_taken():
    chosen = variable_genes(matrix(4000, LOUD))
    assert len(chosen) == pytest.approx(2000, abs=20)
    assert np.isin(LOUD, chosen).mean() > 0.9
    assert (np.diff(chosen) > 0).all()


def test_genes_that_vary_between_batches_only_lead_no_more():
    chosen = variable_genes(matrix(4000, LOUD), batch=np.repeat([0, 1], 30))
    assert np.isin(LOUD, chosen).mean() < 0.75
