"""A fitted latent ODE, to and from plain arrays."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from scnode import ode
from scnode._errors import ScnodeError
from scnode._validation import near
from scnode.model._record import read_record, write_record
from scnode.nn import Field, side_by_side
from scnode.train._losses import MOST_IMPLICIT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor

    from scnode._typing import VectorField
    from scnode.nn import Encoder, Hold


class LatentODE(nn.Module):
    r"""Encoder, ensemble field and decoder: :math:`z = E(x)`, :math:`\dot z = f(z)`, :math:`\hat x = D(z)`.

    Parameters
    ----------
    field
        Ensemble of vector fields in the latent space.
    encoder
        One of :data:`scnode.nn.ENCODERS`, or None when cells were placed by a representation of the user's.
    genes
        Names of the encoder's genes, shape (gene,).
    transform
        How counts become the encoder's input, ``"log1p_cp10k"`` or ``"none"``.
    use_rep
        `obsm` key that the latent space was read from; the encoder is then None or a linear decoder.
    batch_key, batches
        `obs` column of the batches that the encoder tells apart, and their names in its order.
    """

    def __init__(
        self,
        field: Field,
        *,
        encoder: Encoder | None = None,
        genes: np.ndarray | None = None,
        transform: str = "none",
        use_rep: str | None = None,
        batch_key: str | None = None,
        batches: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.field, self.encoder = field, encoder
        self.genes = [] if genes is None else [str(g) for g in genes]
        self.transform, self.use_rep = transform, use_rep
        self.batch_key, self.batches = batch_key, [str(b) for b in batches]

    @property
    def n_latent(self) -> int:
        """Dimension of the latent space."""
        return self.field.n_latent

    @property
    def decoder(self) -> Encoder:
        """What turns latent states into expression.

        Raises
        ------
        ScnodeError
            The latent space is a representation without a decoder.
        """
        if self.encoder is None:
            raise ScnodeError(
                f"The model lives in obsm[{self.use_rep!r}] and has no decoder. Fit with decoder='linear', or without "
                "use_rep=."
            )
        return self.encoder

    def columns(self, genes: Iterable[str]) -> list[int]:
        """Positions of genes in decoded expression.

        Raises
        ------
        ScnodeError
            A gene that the model does not have, or no decoder.
        """
        place = dict(zip(self.genes, range(len(self.decoder.mean)), strict=True))
        unknown = [gene for gene in genes if gene not in place]
        if unknown:
            raise ScnodeError(
                f"{unknown} are not among the {len(place)} genes of the model. {near(unknown[0], self.genes)}"
            )
        return [place[gene] for gene in genes]

    def velocity(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Ensemble mean (cell, latent) and its root mean square deviation (cell,)."""
        members = self.field.members(latent.new_zeros(()), latent)
        mean = members.mean(0)
        return mean, (members - mean).square().sum(-1).mean(0).sqrt()

    def flow(
        self, start: Tensor, ts: Tensor, *, members: bool = False, hold: Hold | None = None, **options: Any
    ) -> Tensor:
        """Trajectories (start, sample, time, latent): one of the ensemble mean, or one of each member.

        Where states are long, those of all members together, the default solver is dopri5: Jacobians would cost more
        than its small steps. With `hold`, the starts are confined to its constraint and the flow stays on it.
        """
        field: VectorField = self.field if members else self.field.mean
        n_samples = self.field.n_members if members else 1
        if not members and hold is None:
            options = {"jacobian": self.field.jacobian} | options
        if hold is not None:
            start, field = hold.confine(start), hold.wrap(field)
        if n_samples * self.n_latent > MOST_IMPLICIT:
            options = {"solver": "dopri5"} | options
        if members:
            start, field = start.repeat(1, n_samples), side_by_side(field, n_samples)
        ys = ode.solve(field, start, ts, **options).ys
        return ys.unflatten(2, (n_samples, -1)).transpose(1, 2)

    def to_arrays(self) -> dict[str, Any]:
        """Plain arrays and one string, as `.uns` and files keep them."""
        labels = {
            "genes": self.genes,
            "transform": self.transform,
            "use_rep": self.use_rep,
            "batch_key": self.batch_key,
            "batches": self.batches,
        }
        return write_record(self.field, self.encoder, **labels)

    @classmethod
    def from_arrays(cls, stored: dict[str, Any]) -> LatentODE:
        """Rebuild the model from :meth:`to_arrays`.

        Raises
        ------
        ScnodeError
            The record is not one of this format, or its arrays do not fit its configuration.
        """
        field, encoder, labels = read_record(stored)
        model = cls(
            field,
            encoder=encoder,
            genes=np.asarray(labels["genes"]),
            transform=labels["transform"],
            use_rep=labels["use_rep"],
            # The first models knew no batches.
            batch_key=labels.get("batch_key"),
            batches=labels.get("batches", ()),
        )
        return model.eval()

    def save(self, path: str | Path) -> None:
        """Write ``model.safetensors`` and ``model.json`` into a folder."""
        from safetensors.numpy import save_file

        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        stored = self.to_arrays()
        save_file({k: np.asarray(v, order="C") for k, v in stored["arrays"].items()}, folder / "model.safetensors")
        (folder / "model.json").write_text(stored["config"])

    @classmethod
    def load(cls, path: str | Path) -> LatentODE:
        """Read a folder written by :meth:`save`."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        folder = Path(path)
        for name in ("model.json", "model.safetensors"):
            if not (folder / name).is_file():
                raise ScnodeError(f"{folder / name} not found. Pass a folder written by LatentODE.save(path).")
        try:
            config, arrays = (folder / "model.json").read_text(), load_file(folder / "model.safetensors")
        except (SafetensorError, UnicodeDecodeError) as error:
            raise ScnodeError(
                f"{folder} holds a damaged model ({error}). Write it again with model.save(path)."
            ) from error
        return cls.from_arrays({"config": config, "arrays": arrays})
