"""A fitted model read in another process answers as it did here, bit for bit."""

import subprocess
import sys

import anndata as ad
import numpy as np
import pytest

import scnode


def ask(adata):
    scnode.tl.trajectories(adata, n_steps=7, n_samples=3)
    scnode.tl.velocity(adata, basis="umap", genes=True)
    scnode.tl.transition_matrix(adata)
    return {
        "latent": adata.uns["scnode"]["trajectories"]["latent"],
        "decoded": scnode.get.trajectories(adata).X,
        "embedded": adata.obsm["velocity_scnode_umap"],
        "genes": adata.layers["velocity_scnode"],
        "data": adata.obsp["T_fwd"].data,
        "indices": adata.obsp["T_fwd"].indices,
    }


@pytest.fixture(scope="module")
def answers(fitted, tmp_path_factory):
    """The same questions, asked here of the object in memory and elsewhere of its file."""
    folder = tmp_path_factory.mktemp("roundtrip")
    fitted.write_h5ad(folder / "fitted.h5ad")
    command = [sys.executable, __file__, str(folder / "fitted.h5ad"), str(folder / "answers.npz")]
    subprocess.run(command, check=True, timeout=120, capture_output=True)
    return ask(fitted.copy()), dict(np.load(folder / "answers.npz"))


@pytest.mark.parametrize("name", ["latent", "decoded", "embedded", "genes", "data", "indices"])
def test_answers_are_the_same_bits(answers, name):
    mine, theirs = (a[name] for a in answers)
    assert mine.dtype == theirs.dtype
    np.testing.assert_array_equal(theirs, mine)
    assert np.ptp(mine) > 0


if __name__ == "__main__":
    source, target = sys.argv[1:]
    np.savez(target, **ask(ad.read_h5ad(source)))
