"""An autoencoder of log-normalised expression."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.nn import functional as F

from scnode._errors import ScnodeError
from scnode.nn._curved import Curved
from scnode.nn._residual import ResidualPerceptron

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Generator, Tensor

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": F.mse_loss,
    "huber": F.huber_loss,
}


class Autoencoder(Curved):
    r"""Smooth encoder :math:`z = E(x)` and decoder :math:`\hat x = D(z)`, each a linear map and its correction.

    Parameters
    ----------
    n_genes, n_latent
        Sizes of expression and latent state.
    hidden
        Widths of the hidden layers of either network.
    loss
        ``"mse"``, or ``"huber"``, which large errors enter linearly.

    Raises
    ------
    ScnodeError
        A size below 1, or an unknown loss.

    References
    ----------
    :cite:p:`Hinton2006`
    """

    def __init__(self, n_genes: int, n_latent: int, *, hidden: Sequence[int] = (128,), loss: str = "mse") -> None:
        super().__init__(n_genes, n_latent, hidden=hidden)
        if loss not in LOSSES:
            raise ScnodeError(f"Autoencoder(loss={loss!r}) is unknown. Pass one of {sorted(LOSSES)}.")
        self.loss = loss
        self.encoder = ResidualPerceptron(n_genes, n_latent, hidden=hidden)
        self.decoder = ResidualPerceptron(n_latent, n_genes, hidden=hidden)

    @property
    def name(self) -> str:
        """Key of :data:`scnode.nn.ENCODERS`."""
        return "autoencoder" if self.loss == "mse" else f"autoencoder-{self.loss}"

    @property
    def sizes(self) -> dict[str, Any]:
        """What the row of :data:`scnode.nn.ENCODERS` takes beyond genes and latent dimension."""
        return {"hidden": list(self.hidden)}

    def start(self, mean: Tensor, components: Tensor, *, unit: float, spread: float, generator: Generator) -> None:
        """Begin at principal components, whose standard deviation is `spread` and that of a gene `unit`."""
        self.mean.copy_(mean)
        self.unit.fill_(unit)
        self.encoder.start(components * (unit / spread), components.new_zeros(self.n_latent), generator=generator)
        self.decoder.start(components.T * (spread / unit), mean.new_zeros(len(mean)), generator=generator)

    def encode(self, x: Tensor, batch: Tensor | None = None) -> Tensor:
        """Latent state of expression (cell, gene); batches make no difference."""
        del batch
        return (self.encoder((x - self.mean) / self.unit) - self.center) / self.scale

    def decode(self, z: Tensor, batch: Tensor | None = None) -> Tensor:
        """Expression of latent states (..., latent); batches make no difference."""
        del batch
        flat = (z * self.scale + self.center).reshape(-1, self.n_latent)
        return (self.decoder(flat) * self.unit + self.mean).reshape(*z.shape[:-1], -1)

    def decode_genes(self, z: Tensor, columns: Tensor) -> Tensor:
        """Expression (..., held) of some genes at states (..., row, latent), without that of the others."""
        return self.decoder.some(z * self.scale + self.center, columns) * self.unit + self.mean[columns]

    def error(self, x: Tensor) -> Tensor:
        """Mean loss of the reconstruction of `x` (cell, gene), in units of the genes' variance."""
        return LOSSES[self.loss](self.decode(self.encode(x)) / self.unit, x / self.unit)
