"""Likelihoods of molecule counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from torch import Tensor

_SMALLEST = 1e-10


def nb_log_likelihood(counts: Tensor, mean: Tensor, dispersion: Tensor) -> Tensor:
    r"""Log-probability of counts with mean :math:`\mu` and variance :math:`\mu + \mu^2/\theta`.

    .. math:: \log\frac{\Gamma(x+\theta)}{\Gamma(\theta)\,x!} + \theta\log\frac{\theta}{\theta+\mu}
        + x\log\frac{\mu}{\theta+\mu}

    Parameters
    ----------
    counts
        :math:`x`, shape (cell, gene).
    mean
        :math:`\mu > 0`, shape (cell, gene).
    dispersion
        Inverse dispersion :math:`\theta > 0`, shape (gene,).

    Returns
    -------
    Tensor
        Shape (cell, gene).
    """
    log_share = -torch.log1p(mean / dispersion)
    absent = dispersion * log_share
    # Most counts are zero, and the gamma functions cost most: they are taken where a molecule is.
    seen = counts > 0
    x, theta = counts.masked_select(seen), dispersion.expand_as(counts).masked_select(seen)
    log_mean, log_rest = mean.masked_select(seen).clamp_min(_SMALLEST).log(), log_share.masked_select(seen)
    present = torch.lgamma(x + theta) - torch.lgamma(theta) - torch.lgamma(x + 1)
    present = present + x * (log_mean - theta.log() + log_rest)
    return absent + torch.zeros_like(absent).masked_scatter(seen, present)


def zinb_log_likelihood(counts: Tensor, mean: Tensor, dispersion: Tensor, dropout_logit: Tensor) -> Tensor:
    r"""As :func:`~scnode.nn.nb_log_likelihood`, with a further share of zeros :math:`\pi = \sigma(\ell)`.

    .. math:: P(0) = \pi + (1 - \pi)\,\mathrm{NB}(0), \qquad P(x) = (1 - \pi)\,\mathrm{NB}(x)

    Parameters
    ----------
    counts, mean, dispersion
        As for :func:`nb_log_likelihood`.
    dropout_logit
        :math:`\ell`, shape (cell, gene).

    Returns
    -------
    Tensor
        Shape (cell, gene).
    """
    counted = nb_log_likelihood(counts, mean, dispersion) + F.logsigmoid(-dropout_logit)
    return torch.where(counts > 0, counted, torch.logaddexp(F.logsigmoid(dropout_logit), counted))
