import matplotlib as mpl
import numpy as np
import pytest

import scnode

mpl.use("Agg")


@pytest.fixture(scope="session")
def drawn(fitted):
    """`fitted` with everything that plots read, and a group with colours of its own."""
    adata = fitted.copy()
    scnode.tl.velocity(adata, basis="umap")
    scnode.tl.trajectories(adata, n_steps=8)
    adata.obs["stage"] = np.where(adata.obs["pseudotime"] > 0.5, "late", "early")
    adata.obs["stage"] = adata.obs["stage"].astype("category")
    adata.uns["stage_colors"] = ["#112233", "#445566"]
    return adata


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")
