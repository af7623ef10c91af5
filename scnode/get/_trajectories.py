"""Trajectories as AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scnode._errors import ScnodeError
from scnode._keys import DEFAULT, Keys
from scnode.model import stored_model, stored_result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

_BYTES = 1 << 32
_ROWS = 1 << 14


def trajectories(adata: AnnData, *, genes: Sequence[str] | None = None, key_added: str = DEFAULT) -> AnnData:
    """States along the trajectories, one row each, with decoded expression.

    Parameters
    ----------
    adata
        Annotated by :func:`scnode.tl.trajectories`.
    genes
        Those to decode, all by default; many samples of every start are many states.
    key_added
        Name of the run.

    Returns
    -------
    AnnData
        `X` decoded expression (state, gene; without a decoder there are no genes), `obs` with `start`, `sample`,
        `step` and `t`, after :func:`scnode.tl.ood` also `ood` and `radius`, and ``obsm["X_scnode"]``.

    Raises
    ------
    ScnodeError
        No trajectories stored, a gene that the model does not have, or more expression than 4 GiB holds.
    """
    import pandas as pd
    import torch
    from anndata import AnnData as New

    keys = Keys(key_added)
    fitted = stored_model(adata, key_added)
    with stored_result(adata, keys.uns, "trajectories", by="scnode.tl.trajectories(adata)") as stored:
        if stored is None:
            raise ScnodeError(
                f"adata.uns[{keys.uns!r}] holds no trajectories. Run scnode.tl.trajectories(adata) first."
            )
        latent = np.asarray(stored["latent"])
        n_start, n_samples, n_steps, n_latent = latent.shape
        start, sample, step = (a.ravel() for a in np.indices((n_start, n_samples, n_steps)))
        obs = pd.DataFrame(
            {
                "start": np.asarray(stored["start"], dtype=str)[start],
                "sample": sample,
                "step": step,
                "t": np.asarray(stored["t"])[step],
            },
            index=[f"{a}-{b}-{c}" for a, b, c in zip(start, sample, step, strict=True)],
        )
        for name in ("ood", "radius"):
            if name in stored:
                obs[name] = np.asarray(stored[name]).ravel()
        flat = latent.reshape(-1, n_latent)
        if fitted.encoder is None:
            return New(obs=obs, obsm={keys.latent: flat})
        names = fitted.genes if genes is None else [str(gene) for gene in genes]
        if 4 * len(flat) * len(names) > _BYTES:
            raise ScnodeError(
                f"{len(flat)} states of {len(names)} genes are {4 * len(flat) * len(names) / 2**30:.1f} GiB. Pass "
                "genes=, or fewer samples or steps to scnode.tl.trajectories."
            )
        columns = fitted.columns(names)
        with torch.no_grad():
            parts = [fitted.decoder.decode(part)[:, columns] for part in torch.from_numpy(flat).split(_ROWS)]
        decoded = torch.cat(parts).numpy()
        return New(X=decoded, obs=obs, var=pd.DataFrame(index=names), obsm={keys.latent: flat})
