"""A variational autoencoder of raw counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

from scnode._errors import ScnodeError
from scnode.nn._curved import Curved
from scnode.nn._likelihood import nb_log_likelihood, zinb_log_likelihood
from scnode.nn._residual import ResidualPerceptron

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

LIKELIHOODS = ("nb", "zinb")
_TARGET_SUM = 1e4
_LOG_VARIANCE = -2.0


class VAE(Curved):
    r"""Latent state of counts, free of library size and batch.

    With library size :math:`\ell` and batch :math:`b` of a cell, counts follow

    .. math:: h \sim N(0, I), \qquad x_g \sim \mathrm{NB}(\ell\,\rho_g(h, b), \theta_g),

    with :math:`\rho` the shares of the genes in the total. The posterior :math:`q(h \mid x, b)` is normal; its mean,
    standardised, is the latent state. Expression goes in and comes out as log1p of counts per 10,000.

    Parameters
    ----------
    n_genes, n_latent
        Sizes of expression and latent state.
    hidden
        Widths of the hidden layers of either network.
    likelihood
        ``"nb"``, or ``"zinb"`` with a further share of zeros.
    n_batches
        Number of batches.

    Raises
    ------
    ScnodeError
        A size below 1, or an unknown likelihood.

    References
    ----------
    :cite:p:`Lopez2018`
    """

    def __init__(
        self,
        n_genes: int,
        n_latent: int,
        *,
        hidden: Sequence[int] = (128,),
        likelihood: str = "nb",
        n_batches: int = 1,
    ) -> None:
        super().__init__(n_genes, n_latent, hidden=hidden)
        if likelihood not in LIKELIHOODS or n_batches < 1:
            raise ScnodeError(
                f"VAE(likelihood={likelihood!r}, n_batches={n_batches}) is impossible. "
                f"Pass one of {LIKELIHOODS} and at least one batch."
            )
        self.likelihood, self.n_batches = likelihood, n_batches
        extra = n_batches if n_batches > 1 else 0
        self.encoder = ResidualPerceptron(n_genes + extra, 2 * n_latent, hidden=hidden)
        n_out = n_genes * (1 + (likelihood == "zinb"))
        self.decoder = ResidualPerceptron(n_latent + extra, n_out, hidden=hidden)
        self.log_dispersion = nn.Parameter(torch.ones(n_genes))

    @property
    def name(self) -> str:
        """Key of :data:`scnode.nn.ENCODERS`."""
        return "vae" if self.likelihood == "nb" else f"vae-{self.likelihood}"

    @property
    def sizes(self) -> dict[str, Any]:
        """What the row of :data:`scnode.nn.ENCODERS` takes beyond genes and latent dimension."""
        return {"hidden": list(self.hidden), "n_batches": self.n_batches}

    def start(
        self,
        mean: Tensor,
        components: Tensor,
        *,
        unit: float,
        spread: float,
        log_share: Tensor,
        generator: torch.Generator,
    ) -> None:
        """Begin at principal components, as an autoencoder does, and at the genes' mean shares in the total."""
        self.mean.copy_(mean)
        self.unit.fill_(unit)
        bias = torch.cat((components.new_zeros(self.n_latent), components.new_full((self.n_latent,), _LOG_VARIANCE)))
        self.encoder.start(components * (unit / spread), bias, generator=generator)
        self.decoder.start(components.T * spread, log_share, generator=generator)
        if self.likelihood == "zinb":
            with torch.no_grad():
                self.decoder.bias[len(mean) :] = -3.0

    def posterior(self, x: Tensor, batch: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of :math:`q(h | x, b)`, both (cell, latent), of expression (cell, gene)."""
        mean, log_variance = self.encoder(self._with_batch((x - self.mean) / self.unit, batch)).chunk(2, -1)
        return mean, log_variance.clamp(-10, 10)

    def shares(self, h: Tensor, batch: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Log-shares of the genes in a cell's total, and dropout logits with ``"zinb"``, both (cell, gene)."""
        out = self.decoder(self._with_batch(h, batch))
        logits, dropout = out.split(len(self.mean), -1) if self.likelihood == "zinb" else (out, None)
        # One more outcome, all genes that the encoder does not see, makes these shares those of the whole total.
        return logits - torch.logsumexp(F.pad(logits, (0, 1)), -1, keepdim=True), dropout

    def encode(self, x: Tensor, batch: Tensor | None = None) -> Tensor:
        """Latent state of expression (cell, gene).

        Parameters
        ----------
        x
            log1p of counts per 10,000, shape (cell, gene).
        batch
            Number of each cell's batch, shape (cell,); without it the mean over the batches.
        """
        mean = self._over_batches(lambda b: self.posterior(x, b)[0], len(x), batch)
        return (mean - self.center) / self.scale

    def decode(self, z: Tensor, batch: Tensor | None = None) -> Tensor:
        """log1p of expected counts per 10,000 at latent states.

        Parameters
        ----------
        z
            Shape (..., latent).
        batch
            Number of each state's batch, shape (...,); without it the expected counts are the mean over the batches.
        """
        h = (z * self.scale + self.center).reshape(-1, self.n_latent)
        batch = None if batch is None else batch.reshape(-1)
        expected = self._over_batches(lambda b: self._expected_share(h, b), len(h), batch)
        return torch.log1p(_TARGET_SUM * expected).unflatten(0, z.shape[:-1])

    def log_likelihood(self, counts: Tensor, size: Tensor, h: Tensor, batch: Tensor | None = None) -> Tensor:
        """Log-probability of counts (cell, gene) of cells with total `size` (cell,), shape (cell, gene)."""
        log_share, dropout = self.shares(h, batch)
        mean, dispersion = size[:, None] * log_share.exp(), self.log_dispersion.exp()
        if dropout is None:
            return nb_log_likelihood(counts, mean, dispersion)
        return zinb_log_likelihood(counts, mean, dispersion, dropout)

    def _expected_share(self, h: Tensor, batch: Tensor | None) -> Tensor:
        log_share, dropout = self.shares(h, batch)
        return log_share.exp() if dropout is None else log_share.exp() * torch.sigmoid(-dropout)

    def _with_batch(self, values: Tensor, batch: Tensor | None) -> Tensor:
        if self.n_batches == 1:
            return values
        if batch is None:
            raise ScnodeError(f"The VAE tells {self.n_batches} batches apart. Pass batch= with a number for each cell.")
        return torch.cat((values, F.one_hot(batch, self.n_batches).to(values)), -1)

    def _over_batches(self, function: Any, n: int, batch: Tensor | None) -> Tensor:
        """Value for the given batches, else its mean over all."""
        if batch is not None or self.n_batches == 1:
            return function(batch)
        every = torch.arange(self.n_batches, device=self.mean.device)
        return sum(function(b.expand(n)) for b in every) / self.n_batches
