"""Find the evidence of motion in an AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from scnode._errors import EvidenceError, ScnodeError
from scnode._settings import logger
from scnode._validation import near, numeric_obs
from scnode.data._chunks import taken
from scnode.data._lineage import lineage_evidence
from scnode.data._pseudotime import pseudotime_tangents
from scnode.data._repeat import check_said_once
from scnode.data._scvelo import compute_velocity
from scnode.data._source import Evidence, Space
from scnode.data._time_course import time_course_evidence
from scnode.data._velocity import latent_velocity, tangent_velocity

if TYPE_CHECKING:
    from anndata import AnnData

    from scnode.data._snapshots import Snapshots

PSEUDOTIME_COLUMNS = (
    "dpt_pseudotime",
    "palantir_pseudotime",
    "latent_time",
    "velocity_pseudotime",
    "monocle_pseudotime",
    "pseudotime",
)
_VELOCITY_LAYER = "velocity"
_FEWEST_MAPS = 3


def find_evidence(
    adata: AnnData,
    space: Space,
    *,
    rng: np.random.Generator,
    snapshots: Snapshots | None = None,
    lineage_key: str | None = None,
    coupling_key: str | None = None,
    pseudotime_key: str | None = None,
    velocity_key: str | None = None,
    growth_key: str | None = None,
    unbalanced: bool = False,
) -> list[Evidence]:
    """Named evidence, else the first that is found: velocity, spliced/unspliced, a pseudotime, `uns["iroot"]`.

    The first source sets the unit of time: real days where they are known.
    """
    found = []
    if snapshots is None and coupling_key is not None:
        raise EvidenceError(f"coupling_key={coupling_key!r} joins cells of different days. Pass time_key= as well.")
    if snapshots is None and growth_key is not None:
        raise EvidenceError(f"growth_key={growth_key!r} is a rate per unit of time_key=. Pass time_key= as well.")
    if snapshots is None and unbalanced:
        raise EvidenceError("unbalanced=True learns growth from cells of different days. Pass time_key= as well.")
    if snapshots is not None:
        if pseudotime_key is not None:
            check_said_once(adata, pseudotime_key, snapshots)
        found.append(
            time_course_evidence(
                adata,
                snapshots,
                space,
                coupling_key=coupling_key,
                growth_key=growth_key,
                unbalanced=unbalanced,
                rng=rng,
            )
        )
    if lineage_key is not None:
        found.append(lineage_evidence(adata, lineage_key, snapshots, space))
    if pseudotime_key is not None:
        found.append(_pseudotime(adata, pseudotime_key, space))
    if velocity_key is not None:
        found.append(_velocity(adata, velocity_key, space))
    if not found:
        found.append(_first_found(adata, space))
    logger.info("Evidence of motion: %s.", " and ".join(e.source for e in found))
    return found


def _first_found(adata: AnnData, space: Space) -> Evidence:
    if _VELOCITY_LAYER in adata.layers and space.encoder is not None:
        return _velocity(adata, _VELOCITY_LAYER, space)
    if {"spliced", "unspliced"} <= set(adata.layers) and space.encoder is not None:
        return _from_counts(adata, space)
    for key in PSEUDOTIME_COLUMNS:
        if key in adata.obs:
            return _pseudotime(adata, key, space)
    if "iroot" in adata.uns:
        return _diffusion_pseudotime(adata, space)
    raise EvidenceError(
        "No evidence of motion found. Looked for adata.layers['velocity'], adata.layers['spliced'] with ['unspliced'], "
        f"adata.obs columns {list(PSEUDOTIME_COLUMNS)} and adata.uns['iroot']. Name one with pseudotime_key= or "
        "velocity_key=, or set a root cell: adata.uns['iroot'] = <index of a root cell>."
    )


def _pseudotime(adata: AnnData, key: str, space: Space) -> Evidence:
    time = numeric_obs(adata, key, argument="pseudotime_key")
    return _timed(time, f"obs[{key!r}] (pseudotime)", space)


def _timed(time: np.ndarray, source: str, space: Space) -> Evidence:
    unit = (time - time.min()) / np.ptp(time)
    velocity, se = pseudotime_tangents(space.latent, unit, space.neighbors)
    return Evidence("pseudotime", source, velocity, se, unit)


def _diffusion_pseudotime(adata: AnnData, space: Space) -> Evidence:
    import scanpy as sc
    from anndata import AnnData as New

    root = adata.uns["iroot"]
    if not isinstance(root, int | np.integer) or not 0 <= int(root) < adata.n_obs:
        raise EvidenceError(f"adata.uns['iroot']={root!r} is no cell index below {adata.n_obs}. Set it to one.")
    work = New(obs=adata.obs[[]].copy(), obsm={"X_latent": space.latent.astype(np.float32)}, uns={"iroot": int(root)})
    # pynndescent 0.7.0 breaks scanpy 1.11.5 above 8192 cells (csr_array has no getnnz); scikit-learn's search does not.
    k, n_comps = min(15, adata.n_obs - 1), min(15, adata.n_obs - 2)
    if n_comps < _FEWEST_MAPS:
        raise EvidenceError(f"Diffusion pseudotime of {adata.n_obs} cells has no meaning. Pass pseudotime_key=.")
    sc.pp.neighbors(work, use_rep="X_latent", n_neighbors=k, transformer="sklearn", random_state=0)
    sc.tl.diffmap(work, n_comps=n_comps, random_state=0)
    sc.tl.dpt(work, n_dcs=min(10, n_comps))
    time = work.obs["dpt_pseudotime"].to_numpy(dtype=float)
    if not np.isfinite(time).all():
        raise EvidenceError(
            f"{(~np.isfinite(time)).sum()} cells are not connected to the root adata.uns['iroot']={root}. "
            "Drop them or pass pseudotime_key=."
        )
    return _timed(time, "diffusion pseudotime from uns['iroot']", space)


def _from_counts(adata: AnnData, space: Space) -> Evidence:
    work = compute_velocity(adata)
    velocity, abundance = (np.asarray(work.layers[name]) for name in ("velocity", "Ms"))
    return _gene_velocity(velocity, abundance, "layers['spliced'] and ['unspliced'] (RNA velocity by scvelo)", space)


def _velocity(adata: AnnData, key: str, space: Space) -> Evidence:
    if key in adata.obsm:
        return _latent_velocity(adata, key, space)
    if key not in adata.layers:
        raise ScnodeError(
            f"{key!r} is in neither adata.layers nor adata.obsm. {near(key, [*adata.layers, *adata.obsm])} "
            "Pass velocity_key=, or run scnode.pp.velocity(adata) first."
        )
    velocity = adata.layers[key]
    velocity = np.asarray(velocity.toarray() if sp.issparse(velocity) else velocity, dtype=np.float32)
    _check_gene_velocity(velocity, key)
    abundance = adata.layers.get("Ms")
    if abundance is None:
        if space.expression is None:
            raise EvidenceError(f"adata.layers[{key!r}] cannot be projected with use_rep=. Leave use_rep= out.")
        linear = taken(space.expression.matrix).expm1()
        abundance = space.neighbors.first(30).mean(linear.toarray())
    return _gene_velocity(velocity, np.asarray(abundance, dtype=np.float32), f"layers[{key!r}] (RNA velocity)", space)


def _check_gene_velocity(velocity: np.ndarray, key: str) -> None:
    fitted = ~np.isnan(velocity).all(0)
    bad = ~np.isfinite(velocity[:, fitted])
    if bad.any():
        raise EvidenceError(
            f"adata.layers[{key!r}] is NaN or infinite in {bad.sum()} entries of {bad.any(0).sum()} genes that have "
            "other values. Set those genes to NaN throughout, or recompute with scnode.pp.velocity(adata)."
        )


def _gene_velocity(velocity: np.ndarray, abundance: np.ndarray, source: str, space: Space) -> Evidence:
    if space.expression is None or space.encoder is None or space.genes is None:
        raise EvidenceError("A gene velocity needs an encoder. Leave use_rep= out, or pass obsm velocity.")
    projected, rate = latent_velocity(
        velocity, abundance, space.expression, space.encoder, space.genes, batch=space.batch
    )
    return Evidence("velocity", source, *tangent_velocity(space.latent, projected, space.neighbors), gene_rate=rate)


def _latent_velocity(adata: AnnData, key: str, space: Space) -> Evidence:
    values = np.asarray(adata.obsm[key], dtype=float)
    if values.shape != space.latent.shape:
        raise EvidenceError(
            f"adata.obsm[{key!r}] has shape {values.shape}, the latent space {space.latent.shape}. "
            "Pass use_rep= with the representation that this velocity belongs to."
        )
    if not np.isfinite(values).all():
        bad = (~np.isfinite(values).all(1)).sum()
        raise EvidenceError(f"adata.obsm[{key!r}] is NaN or infinite in {bad} cells. Drop or recompute them.")
    return Evidence("velocity", f"obsm[{key!r}]", *tangent_velocity(space.latent, values, space.neighbors))
