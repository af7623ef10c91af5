"""Checks of AnnData that several floors share; each error names the mending call."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

import numpy as np

from scnode._errors import ScnodeError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData


def near(name: object, known: Iterable[object]) -> str:
    """Near names, else the first few, as the tail of an error message."""
    names = [str(k) for k in known]
    close = get_close_matches(str(name), names, n=3, cutoff=0.5)
    if close:
        return f"Did you mean {', '.join(map(repr, close))}?"
    return f"Present: {names[:10]}." if names else "There is none."


def check_layer(adata: AnnData, layer: str | None) -> None:
    """The layer exists."""
    if layer is not None and layer not in adata.layers:
        raise ScnodeError(f"adata.layers[{layer!r}] not found. {near(layer, adata.layers)} Pass layer=.")


def check_obsm(adata: AnnData, key: str, *, argument: str) -> np.ndarray:
    """A finite two-dimensional `obsm` entry, as an array."""
    if key not in adata.obsm:
        raise ScnodeError(f"adata.obsm[{key!r}] not found. {near(key, adata.obsm)} Pass {argument}=.")
    values = np.asarray(adata.obsm[key], dtype=np.float64)
    if values.ndim != 2 or len(values) != adata.n_obs:
        raise ScnodeError(f"adata.obsm[{key!r}] has shape {values.shape} for {adata.n_obs} cells. Recompute it.")
    if not np.isfinite(values).all():
        raise ScnodeError(
            f"adata.obsm[{key!r}] is not finite in {(~np.isfinite(values).all(1)).sum()} cells. "
            f"Recompute it or drop those cells, then pass {argument}=."
        )
    return values


def check_genes(adata: AnnData) -> None:
    """Gene names are unique."""
    if not adata.var_names.is_unique:
        twice = adata.var_names[adata.var_names.duplicated()][:3].tolist()
        raise ScnodeError(f"adata.var_names are not unique (first: {twice}). Run adata.var_names_make_unique().")


def check_cells(adata: AnnData) -> None:
    """Cell names are unique and there are cells."""
    if adata.n_obs < 2:
        raise ScnodeError(f"adata has {adata.n_obs} cells; a field needs many. Pass the whole data set.")
    check_names(adata)


def check_names(adata: AnnData) -> None:
    """Cell names are unique."""
    if not adata.obs_names.is_unique:
        twice = adata.obs_names[adata.obs_names.duplicated()][:3].tolist()
        raise ScnodeError(f"adata.obs_names are not unique (first: {twice}). Run adata.obs_names_make_unique().")


def numeric_obs(adata: AnnData, key: str, *, argument: str) -> np.ndarray:
    """A numeric, finite, non-constant `obs` column."""
    numeric = [str(c) for c in adata.obs.columns if adata.obs[c].dtype.kind in "iuf"]
    if key not in adata.obs:
        raise ScnodeError(
            f"adata.obs[{key!r}] not found. {near(key, adata.obs.columns)} "
            f"Pass {argument}=; numeric columns: {numeric}."
        )
    if adata.obs[key].dtype.kind not in "iuf":
        raise ScnodeError(
            f"adata.obs[{key!r}] is {adata.obs[key].dtype}, not numeric. Pass {argument}= with one of {numeric}, "
            "or turn labels such as 'E15.5' into numbers with scnode.pp.time(adata, key)."
        )
    values = adata.obs[key].to_numpy(dtype=np.float64, na_value=np.nan)
    bad = ~np.isfinite(values)
    if bad.any():
        raise ScnodeError(
            f"adata.obs[{key!r}] is NaN or infinite in {bad.sum()} cells (first: {adata.obs_names[bad][:3].tolist()}). "
            f"Drop them: adata = adata[numpy.isfinite(adata.obs[{key!r}])].copy()."
        )
    if np.ptp(values) == 0:
        raise ScnodeError(f"adata.obs[{key!r}] is constant ({values[0]:g}). Pass a column that varies as {argument}=.")
    return values
