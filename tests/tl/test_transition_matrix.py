import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import scnode
from scnode import ScnodeError
from scnode.tl import _transition_matrix
from scnode.tl._transition_matrix import transitions


def test_rows_are_probabilities_that_move_forward(fitted):
    out = scnode.tl.transition_matrix(fitted, copy=True)
    matrix = out.obsp["T_fwd"]
    assert sp.issparse(matrix)
    assert matrix.data.min() >= 0
    np.testing.assert_allclose(matrix.sum(1), 1)
    time = fitted.obs["pseudotime"].to_numpy()
    step = matrix @ time - time
    assert (step[20:-20] > 0).mean() > 0.95
    assert "T_fwd" not in fitted.obsp


@settings(deadline=None, max_examples=25)
@given(n=st.integers(2, 30), k=st.integers(1, 40), twins=st.booleans(), seed=st.integers(0, 5))
def test_probabilities_match_their_formula(n, k, twins, seed):
    rng = np.random.default_rng(seed)
    latent, velocity = rng.normal(size=(n, 2)), rng.normal(size=(n, 2))
    velocity[0] = 0
    if twins:
        latent[n // 2 :] = latent[n // 2]
    matrix = transitions(latent, velocity, n_neighbors=k, sharpness=3.0)
    assert np.diff(matrix.indptr).tolist() == [min(k, n - 1)] * n
    assert not matrix.diagonal().any()
    np.testing.assert_allclose(matrix.sum(1), 1)
    for i in range(n):
        targets = matrix[[i]].indices
        move = latent[targets] - latent[i]
        length = np.linalg.norm(move, axis=1) * np.linalg.norm(velocity[i])
        cosine = np.divide(move @ velocity[i], length, out=np.zeros(len(move)), where=length > 0)
        np.testing.assert_allclose(matrix[[i]].data, np.exp(3 * cosine) / np.exp(3 * cosine).sum())


def test_parts_of_the_cells_make_one_matrix(monkeypatch):
    latent, velocity = np.random.default_rng(0).normal(size=(2, 50, 3))
    whole = transitions(latent, velocity, n_neighbors=7)
    monkeypatch.setattr(_transition_matrix, "_PAIRS", 60)
    np.testing.assert_array_equal(transitions(latent, velocity, n_neighbors=7).toarray(), whole.toarray())


def test_runs_are_told_apart(fitted):
    with pytest.raises(ScnodeError, match=r"Did you mean 'scnode'.*Run scnode.tl.fit"):
        scnode.tl.transition_matrix(fitted, key_added="scnod")
