"""The discrete-time counterpart of a flow: one residual step between successive times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from scnode._errors import ScnodeError
from scnode.nn._field import Field

if TYPE_CHECKING:
    from torch import Tensor


class ResidualMap(nn.Module):
    r"""States :math:`x_{k+1} = x_k + h_k\,g_k(x_k)` with :math:`h_k = t_{k+1} - t_k`, a residual network.

    With one :math:`g` for all steps and ever more of them it tends to the flow of :math:`\dot x = g(x)`, at first order
    in the step (:cite:p:`Chen2018`); with few it is a model of its own, which knows states at its steps alone.

    Parameters
    ----------
    g
        One field whose weights all steps share, or one for each step; of an ensemble the mean moves the states.

    Raises
    ------
    ScnodeError
        No field, or fields of several dimensions.

    Examples
    --------
    >>> import torch
    >>> from scnode import nn
    >>> nn.ResidualMap(nn.MLPField(2))(torch.zeros(5, 2), torch.tensor([0.0, 0.5, 2.0])).shape
    torch.Size([5, 3, 2])

    References
    ----------
    :cite:p:`He2016`, :cite:p:`Chen2018`
    """

    def __init__(self, g: Field | Sequence[Field]) -> None:
        super().__init__()
        self.shared = isinstance(g, Field)
        self.g = nn.ModuleList([g] if isinstance(g, Field) else g)
        sizes = sorted({field.n_latent for field in self._fields})
        if len(sizes) != 1:
            raise ScnodeError(f"ResidualMap(g=) has fields of {sizes} dimensions. Pass one field or more, all of one.")

    @property
    def _fields(self) -> list[Field]:
        return [field for field in self.g if isinstance(field, Field)]

    def forward(self, y0: Tensor, ts: Tensor) -> Tensor:
        """States at all times, one step apart.

        Parameters
        ----------
        y0
            States at the first time, shape (batch, state).
        ts
            Times, shape (time,) or (batch, time).

        Returns
        -------
        Tensor
            Shape (batch, time, state).

        Raises
        ------
        ScnodeError
            States of another dimension, or more steps than there are fields of their own.
        """
        n_steps, fields = ts.shape[-1] - 1, self._fields
        if y0.shape[-1] != fields[0].n_latent:
            raise ScnodeError(f"y0 has shape {tuple(y0.shape)}. Pass states of {fields[0].n_latent} dimensions.")
        if not self.shared and n_steps > len(fields):
            raise ScnodeError(
                f"ts has {n_steps} steps and the map {len(fields)}, each with weights of its own. Pass fewer times, or "
                "one field for all steps."
            )
        path = [y0]
        for k in range(n_steps):
            now, after = (ts[..., i].reshape(-1, 1).to(y0) for i in (k, k + 1))
            path.append(path[-1] + (after - now) * fields[0 if self.shared else k].mean(now, path[-1]))
        return torch.stack(path, 1)
