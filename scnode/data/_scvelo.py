"""RNA velocity by scvelo, on an AnnData of its own and with its traps guarded."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
import scipy.sparse as sp

from scnode._errors import ScnodeError
from scnode._validation import near
from scnode.data._expression import as_csr, check_linear

if TYPE_CHECKING:
    from anndata import AnnData

_N_PCS = 30


def compute_velocity(adata: AnnData, *, mode: str = "deterministic", n_neighbors: int = 30) -> AnnData:
    """Moments and velocity by scvelo from ``spliced`` and ``unspliced``, in an AnnData of its own.

    Parameters
    ----------
    adata
        Cells with both layers; nothing of it is changed.
    mode
        scvelo's model: ``"deterministic"``, ``"stochastic"`` or ``"dynamical"``.
    n_neighbors
        Cells that the moments average over.

    Returns
    -------
    AnnData
        Layers ``velocity`` (NaN for genes without a fit), ``Ms`` and ``Mu``; `var` with scvelo's columns.
    """
    import scanpy as sc
    import scvelo as scv

    work = _private_copy(adata)
    before = scv.settings.verbosity
    scv.settings.verbosity = 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scv.pp.normalize_per_cell(work)
            sc.pp.log1p(work)
            sc.pp.pca(work, n_comps=min(_N_PCS, min(work.shape) - 1), random_state=0)
            _add_graph(work, k=n_neighbors)
            scv.pp.moments(work, n_neighbors=None, n_pcs=None)
            if mode == "dynamical":
                scv.tl.recover_dynamics(work, n_jobs=1, show_progress_bar=False)
            with patch("scvelo.tools.velocity.leastsq_generalized", _generalised_slopes):
                scv.tl.velocity(work, mode=mode)
    finally:
        scv.settings.verbosity = before
    velocity = np.asarray(work.layers["velocity"], dtype=np.float32)
    # scvelo leaves the column out when it holds one value only, that is when every gene passed.
    if "velocity_genes" in work.var:
        velocity[:, ~work.var["velocity_genes"].to_numpy()] = np.nan
    work.layers["velocity"] = velocity
    return work


def _private_copy(adata: AnnData) -> AnnData:
    from anndata import AnnData as New

    layers = {}
    for name in ("spliced", "unspliced"):
        if name not in adata.layers:
            raise ScnodeError(
                f"adata.layers[{name!r}] not found. {near(name, adata.layers)} RNA velocity needs the layers 'spliced' "
                "and 'unspliced', as velocyto or alevin-fry write them."
            )
        layers[name] = as_csr(adata.layers[name], f"adata.layers[{name!r}]")
    check_linear(layers["spliced"], "adata.layers['spliced']")
    if min(adata.shape) < 3:
        raise ScnodeError(f"adata has shape {adata.shape}: RNA velocity needs more cells and genes. Pass all of them.")
    total = np.asarray(layers["spliced"].sum(1)).ravel()
    if not (total > 0).all():
        empty = adata.obs_names[total == 0][:3].tolist()
        raise ScnodeError(
            f"{(total == 0).sum()} cells have no spliced counts (first: {empty}). "
            "Run scanpy.pp.filter_cells(adata, min_counts=1) first."
        )
    return New(X=layers["spliced"].copy(), layers=layers, obs=adata.obs[[]].copy(), var=adata.var[[]].copy())


def _generalised_slopes(*arguments: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Offsets of zero and slopes through the origin over first and second moments, each in units of its residual.

    scvelo 0.3.4 assigns an array of one element to a scalar in this step, which NumPy 2.4 refuses; without offsets,
    which it is always called for here, the step has a closed form. As there, first moments count in extreme cells only.
    """
    from scvelo.tools.optimization import get_weight

    first_x, first_y, second_x, second_y, first_sd, second_sd, _, _, percentiles = arguments
    extreme = max(percentiles)
    kept = get_weight(first_x, first_y, perc=extreme) | get_weight(first_x, perc=extreme)
    x = np.vstack([kept * first_x / first_sd, second_x / second_sd])
    y = np.vstack([kept * first_y / first_sd, second_y / second_sd])
    square = (x**2).sum(0)
    slopes = np.divide((x * y).sum(0), square, out=np.zeros_like(square), where=square > 0)
    return np.zeros_like(slopes), np.zeros_like(slopes), slopes


def _add_graph(work: AnnData, *, k: int) -> None:
    """A symmetric neighbour graph; scanpy's breaks with pynndescent 0.7.0 above 8192 cells (no getnnz)."""
    from sklearn.neighbors import kneighbors_graph

    distances = kneighbors_graph(work.obsm["X_pca"], min(k, work.n_obs - 1), mode="distance")
    linked = (distances > 0).astype(np.float64)
    work.obsp.update({"distances": distances, "connectivities": sp.csr_matrix(linked.maximum(linked.T))})
    work.uns["neighbors"] = {
        "connectivities_key": "connectivities",
        "distances_key": "distances",
        "params": {"n_neighbors": k, "method": "umap"},
    }
