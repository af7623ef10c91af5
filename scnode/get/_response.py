"""Expression over time with and without a perturbation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from scnode._errors import ScnodeError
from scnode._keys import DEFAULT
from scnode.get._perturbation import stored_perturbation
from scnode.model import stored_model

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


def response(
    adata: AnnData, name: str, *, genes: Sequence[str] | None = None, key_added: str = DEFAULT
) -> pd.DataFrame:
    """How genes respond to a perturbation over time, by the decoder along both arms.

    Parameters
    ----------
    adata
        Annotated by :func:`scnode.tl.perturb`.
    name
        Name of the perturbation.
    genes
        Genes of the model, all by default.
    key_added
        Name of the run.

    Returns
    -------
    pandas.DataFrame
        One row a gene and time: `gene`, `t` since the start in units of the clock, mean expression `control` and
        `perturbed` (log-normalised units) over at most 100 starts and all members of the ensemble, their
        `difference`, and its standard deviation `sd` over the members, 0 where there is one.

    Raises
    ------
    ScnodeError
        No fitted model, no perturbation of that name, or a gene that the model does not have.
    """
    import pandas as pd

    model = stored_model(adata, key_added)
    if isinstance(genes, str):
        raise ScnodeError(f"genes={genes!r} is one name. Pass a list: genes=[{genes!r}].")
    names = model.genes if genes is None else [str(gene) for gene in genes]
    columns = model.columns(names)
    with stored_perturbation(adata, name, key_added) as stored:
        t = np.asarray(stored["path_t"], dtype=float)
        control, perturbed, sd = (
            np.asarray(stored[f"response_{part}"], dtype=float)[:, columns] for part in ("control", "perturbed", "sd")
        )
    return pd.DataFrame(
        {
            "gene": np.repeat(np.asarray(names, dtype=str), len(t)),
            "t": np.tile(t, len(names)),
            "control": control.T.ravel(),
            "perturbed": perturbed.T.ravel(),
            "difference": (perturbed - control).T.ravel(),
            "sd": sd.T.ravel(),
        }
    )
