"""RNA velocity through scvelo, from counts to a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from scnode._errors import ScnodeError
from scnode._settings import logger
from scnode._write import written
from scnode.data import compute_velocity

if TYPE_CHECKING:
    from anndata import AnnData

Mode = Literal["deterministic", "stochastic", "dynamical"]


def velocity(
    adata: AnnData, *, mode: Mode = "deterministic", n_neighbors: int = 30, copy: bool = False
) -> AnnData | None:
    r"""Moments and RNA velocity by scvelo, from spliced and unspliced counts.

    The steady-state modes take :math:`v = u - \gamma s` of the moments, with :math:`\gamma` the slope of unspliced
    over spliced abundance in the cells at the extremes; the dynamical mode fits the full splicing kinetics.

    Parameters
    ----------
    adata
        With layers ``spliced`` and ``unspliced``, counts; both and `X` are left as they are.
    mode
        scvelo's model.
    n_neighbors
        Cells that the moments average over.
    copy
        Return a changed copy and leave `adata` as it is.

    Returns
    -------
    AnnData or None
        Writes ``layers["velocity"]`` (cell, gene; NaN throughout for genes without a fit), the moments
        ``layers["Ms"]`` and ``layers["Mu"]`` (counts normalised to the median total), ``var["velocity_genes"]``
        (whether the gene has a fit), ``var["velocity_gamma"]`` and ``var["velocity_r2"]``; in the dynamical mode
        ``var["fit_likelihood"]`` in place of the last two.

    Raises
    ------
    ScnodeError
        A layer is missing, negative or not finite, a cell is empty, or no gene can be fitted.

    Examples
    --------
    >>> import scnode
    >>> adata = scnode.datasets.bifurcation(n_cells=100, n_genes=30)
    >>> scnode.pp.velocity(adata)
    >>> bool(adata.var["velocity_genes"].any())
    True

    References
    ----------
    :cite:p:`LaManno2018`, :cite:p:`Bergen2020`
    """
    if mode not in get_args(Mode):
        raise ScnodeError(f"mode={mode!r} is unknown. Pass one of {list(get_args(Mode))}.")
    if n_neighbors < 2:
        raise ScnodeError(f"n_neighbors={n_neighbors} averages nothing. Pass at least 2, or leave it out for 30.")
    work = compute_velocity(adata, mode=mode, n_neighbors=n_neighbors)
    fitted = np.isfinite(work.layers["velocity"]).all(0)
    if not fitted.any():
        raise ScnodeError(
            "No gene has a velocity: unspliced counts do not follow spliced ones. Pass more cells or genes."
        )
    with written(adata, copy=copy) as result:
        for name in ("velocity", "Ms", "Mu"):
            result.layers[name] = np.asarray(work.layers[name], dtype=np.float32)
        result.var["velocity_genes"] = fitted
        for name in ("velocity_gamma", "velocity_r2", "fit_likelihood"):
            if name in work.var:
                result.var[name] = work.var[name].to_numpy()
    logger.info("RNA velocity of %d of %d genes (scvelo, %s).", fitted.sum(), len(fitted), mode)
    return result if copy else None
