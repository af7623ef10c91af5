"""What a call of `tl.fit` asks for, held against the cells before anything is computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scnode._errors import ScnodeError
from scnode._validation import check_cells

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from anndata import AnnData

    from scnode._typing import RandomState
    from scnode.data import Snapshots

_ANSWERS = ("noise", "unbalanced", "restore", "rescale_clock")
_POSITIVE = ("n_members", "max_epochs", "batch_size", "lr")


def check_request(adata: AnnData, params: Mapping[str, Any]) -> None:
    """Refuse parameters of a fit that are no answers or numbers, or contradict each other or the cells."""
    from scnode.data import check_rescaling

    for name in _ANSWERS:
        if not isinstance(params[name], bool):
            raise ScnodeError(f"{name}={params[name]!r} is no answer. Pass True or False, or leave it out.")
    if params["noise"] and params["field"] == "rna":
        raise ScnodeError(
            "noise=True: no diffusion is fitted to a field 'rna' of abundances, which it would make negative. Leave it "
            "out."
        )
    if params["unbalanced"] and params["control_key"] is not None:
        raise ScnodeError(
            f"unbalanced=True with control_key={params['control_key']!r}: growth is not learned by arm. Pass "
            "growth_key=, or leave unbalanced= out."
        )
    for name in _POSITIVE:
        if params[name] is not None and not params[name] > 0:
            raise ScnodeError(f"{name}={params[name]} must be positive. Leave it out for the default.")
    check_cells(adata)
    if params["rescale_clock"]:
        clocks = {name: params[name] for name in ("velocity_key", "time_key", "time_dependent")}
        check_rescaling(adata, params["pseudotime_key"], **clocks)


def asked_folder(resume: str | Path | None, rng: RandomState) -> Path | None:
    """Folder in which stages of a fit are kept, made if it is not there."""
    from scnode.train import resume_folder

    if resume is None:
        return None
    if rng is None:
        raise ScnodeError("resume= needs the same randomness at every call. Pass a number as rng=, not None.")
    return resume_folder(resume)


def asked_snapshots(
    adata: AnnData, time_key: str | None, holdout: Sequence[float] | None, batch_key: str | None
) -> Snapshots | None:
    """Cells in days, where there are such; batches that tell the days apart are warned of."""
    from scnode.data import read_snapshots, warn_of_confounded_batches

    if time_key is None:
        if holdout is not None:
            raise ScnodeError(f"holdout={holdout!r} names times. Pass the column that they are in as time_key=.")
        return None
    snapshots = read_snapshots(adata, time_key, holdout=holdout)
    if batch_key is not None and batch_key in adata.obs:
        warn_of_confounded_batches(adata, snapshots, batch_key)
    return snapshots
