"""Reactions among the columns of a representation, and what they conserve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scnode._errors import ScnodeError
from scnode._random import torch_generator
from scnode._validation import check_obsm

if TYPE_CHECKING:
    from anndata import AnnData
    from torch import Tensor

    from scnode.model import LatentODE
    from scnode.nn import Field, StoichiometricField

_MOST_CELLS = 500


def check_species(field: StoichiometricField, adata: AnnData, use_rep: str | None) -> None:
    """The states are abundances of the field's species, in its order."""
    if use_rep is None:
        raise ScnodeError(
            f"A stoichiometric field moves the species {field.species[:5]}, and use_rep= does not say where they are. "
            "Pass use_rep= with an obsm entry (cells, species) of their abundances."
        )
    values = check_obsm(adata, use_rep, argument="use_rep")
    if values.shape[1] != field.n_latent:
        raise ScnodeError(
            f"adata.obsm[{use_rep!r}] has {values.shape[1]} columns and the field {field.n_latent} species: "
            f"{field.species[:10]}. Pass one column for each, in this order."
        )
    columns = [str(c) for c in getattr(adata.obsm[use_rep], "columns", field.species)]
    if columns != field.species:
        raise ScnodeError(
            f"The columns of adata.obsm[{use_rep!r}] are {columns[:10]} and the species {field.species[:10]}. "
            "Pass scnode.pp.stoichiometry(reactions, species=list(adata.obsm[use_rep].columns))."
        )
    names = [s for s, column in zip(field.species, values.T, strict=True) if column.min() < 0]
    if names:
        raise ScnodeError(
            f"adata.obsm[{use_rep!r}] is negative in {(values < 0).any(1).sum()} cells ({names[:5]}), and abundances "
            "are not. Pass abundances that are neither scaled nor centred, or clip(0) what noise made negative."
        )


def same_reactions(field: Field, rng: np.random.Generator) -> dict[str, Field]:
    """As `field` of another fit: an untrained one of the same reactions; nothing where there are none."""
    from scnode.nn import StoichiometricField

    if not isinstance(field, StoichiometricField):
        return {}
    generator = torch_generator(rng)
    return {"field": field.fresh(n_members=field.n_members, generator=generator)}


def report_conserved(model: LatentODE, states: Tensor, control: Tensor | None) -> dict[str, Any]:
    """What the reactions conserve, how far the cells differ in it, and how well solves keep it."""
    import torch

    from scnode.nn import StoichiometricField

    field = model.field
    if not isinstance(field, StoichiometricField):
        return {}
    basis = field.conserved
    chosen = torch.linspace(0, len(states) - 1, min(len(states), _MOST_CELLS)).long()
    with torch.no_grad():
        own = None if control is None else control[chosen]
        ends = model.flow(states[chosen], torch.tensor([0.0, 1.0]), control=own)[:, 0]
    # In double precision: only the drift of the solve is to be seen, not that of the sum.
    held, of_cells = (y.double() @ basis.double().T for y in (ends, states))
    drift = (held[:, 1] - held[:, 0]).abs().amax(0)
    conserved = {
        "name": np.array(field.conserved_names(), dtype=str),
        "species": np.array(field.species, dtype=str),
        "coefficients": basis.numpy(),
        "mean": of_cells.numpy().mean(0),
        "spread": of_cells.numpy().std(0, ddof=1),
        "drift": drift.numpy(),
    }
    return {"conserved": conserved}
