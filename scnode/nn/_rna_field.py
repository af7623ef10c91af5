"""Transcription, splicing and degradation as a vector field."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from scnode._errors import ScnodeError
from scnode.nn._field import Field
from scnode.nn._mlp_field import MLPField

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from torch import Tensor

_SOFTPLUS_IS_ONE = math.log(math.e - 1)


class RNAField(Field):
    r"""Gray box :math:`\dot u_g = \alpha_g(s) - \beta_g u_g`, :math:`\dot s_g = \beta_g u_g - \gamma_g s_g`.

    The state (u, s) holds unspliced and then spliced abundances of the same genes, those of a gene in one unit. Rates
    :math:`\beta, \gamma > 0` are learned per gene and member; transcription is :math:`\alpha_g(s) =
    a_g\,\mathrm{softplus}(\mathrm{MLP}_g(s)) > 0`, one network per member. Written with fluxes
    :math:`r = (\alpha, \beta u, \gamma s)` it is :math:`S r` of every gene, with :math:`S` the rows (1, -1, 0) and
    (0, 1, -1).

    On the face :math:`u_g = 0` the field points inward as :math:`\alpha_g > 0`, and on :math:`s_g = 0` as
    :math:`\beta_g u_g \ge 0`: abundances that start non-negative stay so. Beyond the reach R of `set_scales`
    the networks read the nearest :math:`s` within it, while splicing and degradation act everywhere; transcription is
    therefore bounded, and every trajectory with it, without a pull.

    Parameters
    ----------
    n_latent
        Dimension of the state, twice the number of genes.
    hidden
        Widths of the hidden layers.
    n_members
        Size of the ensemble.
    generator
        Source of the initial weights.
    activation
        Of the hidden layers: ``"silu"``, ``"softplus"`` or ``"tanh"``.

    Raises
    ------
    ScnodeError
        An odd dimension, a size below 1, or an unknown activation.

    References
    ----------
    :cite:p:`LaManno2018`, :cite:p:`Bergen2020`
    """

    name: ClassVar[str] = "rna"
    rates: Tensor
    level: Tensor

    def __init__(
        self,
        n_latent: int,
        *,
        hidden: Sequence[int] = (64, 64),
        n_members: int = 1,
        generator: torch.Generator | None = None,
        activation: str = "silu",
    ) -> None:
        super().__init__(n_latent, n_members=n_members)
        if n_latent % 2:
            raise ScnodeError(
                f"RNAField(n_latent={n_latent}) needs unspliced and spliced abundance of every gene. "
                "Pass twice the number of genes."
            )
        self.n_genes = n_latent // 2
        self.network = MLPField(
            self.n_genes, hidden=hidden, n_members=n_members, generator=generator, activation=activation
        )
        with torch.no_grad():
            self.network.biases[-1].fill_(_SOFTPLUS_IS_ONE)
        self.register_buffer("rates", torch.ones(2, self.n_genes))
        self.register_buffer("level", torch.ones(self.n_genes))
        # Weight decay then draws the rates to where they start, and not to one.
        self.log_fold = nn.Parameter(torch.zeros(n_members, 2, self.n_genes))

    @property
    def sizes(self) -> dict[str, Any]:
        """Widths and activation."""
        return {"hidden": list(self.network.hidden), "activation": self.network.activation}

    def fresh(self, *, n_members: int, generator: torch.Generator) -> Self:
        """An untrained field that starts from the mean rates of this one."""
        other = super().fresh(n_members=n_members, generator=generator)
        with torch.no_grad():
            other.set_rates(beta=self.beta.mean(0), gamma=self.gamma.mean(0), level=self.level)
        return other

    @property
    def beta(self) -> Tensor:
        """Splicing rates, shape (member, gene), per unit of time."""
        return self.rates[0] * self.log_fold[:, 0].exp()

    @property
    def gamma(self) -> Tensor:
        """Degradation rates, shape (member, gene), per unit of time."""
        return self.rates[1] * self.log_fold[:, 1].exp()

    def set_rates(self, *, beta: Tensor, gamma: Tensor, level: Tensor) -> None:
        """Start from these rates and this typical transcription, each (gene,) and positive."""
        self.rates.copy_(torch.stack((beta, gamma)))
        self.level.copy_(level)

    def transcription(self, y: Tensor) -> Tensor:
        r""":math:`\alpha` of every member at its own states (member, cell, latent), or (cell, latent) for one member.

        Returns
        -------
        Tensor
            Shape (member, cell, gene) or (cell, gene), abundance per unit of time.
        """
        read = self._scaled_read(y[..., self.n_genes :])
        return self.level * F.softplus(self.network.scaled(y.new_zeros(()), read))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """Velocity of every member at its own states; see :meth:`Field.forward`."""
        if y.ndim == 2 and self.n_members > 1:
            return super().forward(t, y)
        u, s = y[..., : self.n_genes], y[..., self.n_genes :]
        beta, gamma = (rate if y.ndim == 2 else rate.unsqueeze(1) for rate in (self.beta, self.gamma))
        spliced = beta * u
        return torch.cat((self.transcription(y) - spliced, spliced - gamma * s), -1)

    def scaled(self, t: Tensor, z: Tensor) -> Tensor:
        """The velocity in units of the usual speed, at states in units of the usual spread."""
        return self(t, z * self.scale + self.center) / self.speed

    def scaled_jacobian(self, t: Tensor, z: Tensor) -> Tensor:
        """Blocks of :meth:`jacobian`, scaled."""
        return self.jacobian(t, z * self.scale + self.center) * (self.scale / self.speed)

    def jacobian(self, t: Tensor, y: Tensor) -> Tensor:
        r"""Jacobian of the ensemble mean, of blocks :math:`-B, \partial\alpha/\partial s` above :math:`B, -\Gamma`.

        :math:`B` and :math:`\Gamma` are the diagonals of the mean rates.

        Parameters
        ----------
        t
            Time, which makes no difference.
        y
            States (cell, latent).

        Returns
        -------
        Tensor
            Shape (cell, latent, latent).
        """
        del t
        beta, gamma = (rate.mean(0).diag().expand(len(y), -1, -1) for rate in (self.beta, self.gamma))
        return torch.cat((torch.cat((-beta, self.regulation(y)), 2), torch.cat((beta, -gamma), 2)), 1)

    def regulation(self, y: Tensor) -> Tensor:
        r"""Response of transcription :math:`\partial\alpha_e/\partial s_r`, mean over the members.

        Parameters
        ----------
        y
            States (cell, latent).

        Returns
        -------
        Tensor
            Shape (cell, gene, gene): rows respond, columns regulate.
        """
        read, now = self._scaled_read(y[:, self.n_genes :]), y.new_zeros(())
        values = self.network.scaled(now, read.expand(self.n_members, -1, -1))
        total = torch.zeros((), dtype=y.dtype, device=y.device)
        for value, chain in zip(values, self.network.member_jacobians(now, read), strict=True):
            total = total + (self.level * torch.sigmoid(value)).unsqueeze(2) * chain
        total = total / (self.n_members * self.scale)
        return total if self.reach == math.inf else total @ self._read_jacobian(y[:, self.n_genes :])

    def _scaled_read(self, s: Tensor) -> Tensor:
        """What the networks see: the nearest spliced state within reach, centred and scaled."""
        offset = s - self.center[self.n_genes :]
        if self.reach < math.inf:
            distance = torch.linalg.vector_norm(offset, dim=-1, keepdim=True)
            offset = offset * (self.reach / distance.clamp_min(self.reach))
        return offset / self.scale

    def _read_jacobian(self, s: Tensor) -> Tensor:
        # With unspliced abundances at their centre, which then count for no distance.
        padded = torch.cat((self.center[: self.n_genes].expand_as(s), s), -1)
        same = torch.eye(self.n_latent, dtype=s.dtype, device=s.device)
        return self._within_jacobian(padded, same)[:, self.n_genes :, self.n_genes :]
