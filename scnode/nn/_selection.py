"""Generalised least squares for the coefficients of a polynomial, and which of them the data call for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from scnode._errors import ScnodeError
from scnode.nn._weak_form import JITTER

if TYPE_CHECKING:
    from torch import Tensor

    from scnode.nn._monomials import Monomials
    from scnode.nn._weak_form import WeakForm

_REWEIGHTED = 4
_DEPENDENT = 1e-13
"""Share of the largest eigenvalue of the scaled normal matrix below which terms are taken to be dependent."""


@dataclass(frozen=True)
class Estimate:
    """Coefficients (monomial, state) of the terms in `support`, and their standard errors, zero elsewhere."""

    coefficients: Tensor
    standard_errors: Tensor
    support: Tensor
    dependent: int

    @property
    def significance(self) -> Tensor:
        """Size over standard error; infinite for what is not in the support."""
        ratio = self.coefficients.abs() / self.standard_errors.clamp_min(torch.finfo(torch.float64).tiny)
        return ratio.where(self.support, torch.inf)


def estimate(
    weak: WeakForm, monomials: Monomials, support: Tensor, start: Tensor | None = None, rounds: int = _REWEIGHTED
) -> Estimate:
    """Least squares on the weak form, reweighted by the covariance that the coefficients found imply."""
    sides = weak.right(monomials(weak.ys)), weak.left
    coefficients = _ordinary(*sides) * support if start is None else start
    for _ in range(rounds):
        jacobians = [monomials.slopes(ys, coefficients) for ys in weak.ys]
        found = _generalised(*sides, [weak.covariance(i, J) for i, J in enumerate(jacobians)], support)
        coefficients = found.coefficients
    return found


def eliminate(weak: WeakForm, monomials: Monomials, threshold: float | None, tolerance: float) -> Estimate:
    r"""Sequentially leave out terms whose :math:`|c|` is below `threshold` standard errors, the least first.

    So are terms whose integrals are below `tolerance` of the largest of their equation.
    """
    n_terms = len(monomials) * weak.ys.shape[2]
    if threshold is None:
        # Leaving out a term changes the extended criterion of Chen & Chen by z^2 - log n - 2 log p.
        threshold = math.sqrt(math.log(weak.ys.numel()) + 2 * math.log(n_terms))
    support = torch.ones(len(monomials), weak.ys.shape[2], dtype=torch.bool, device=weak.ys.device)
    found = estimate(weak, monomials, support)
    if found.dependent:
        raise ScnodeError(
            f"{found.dependent} of the {n_terms} terms are combinations of others along these trajectories, as where "
            "all of them share a conserved total. Pass trajectories from more starts, or a lower degree=."
        )
    size = weak.right(monomials(weak.ys)).square().mean((0, 1)).sqrt()[:, None]
    while True:
        part = found.coefficients.abs() * size
        small = (part < tolerance * part.amax(0)) & found.support
        weakest = _weakest(found.significance.where(~small, 0), threshold)
        if not len(weakest):
            return found
        support = found.support.flatten().index_fill(0, weakest, value=False).view_as(support)
        if not bool(support.any()):
            raise ScnodeError("No term stands out from the noise. Pass more or longer trajectories, or threshold=.")
        found = estimate(weak, monomials, support, found.coefficients * support, rounds=2)


def _weakest(significance: Tensor, threshold: float) -> Tensor:
    """The least tenth of those below the threshold: what else is there may depend on them."""
    flat = significance.flatten()
    below = int((flat < threshold).sum())
    return flat.argsort()[: math.ceil(below / 10)]


def _ordinary(right: Tensor, left: Tensor) -> Tensor:
    design, wanted = right.flatten(0, 1), left.flatten(0, 1)
    size = torch.linalg.vector_norm(design, dim=0).clamp_min(torch.finfo(design.dtype).tiny)
    return torch.linalg.pinv(design / size, rtol=1e-10) @ wanted / size[:, None]


def _generalised(right: Tensor, left: Tensor, covariances: list[Tensor], support: Tensor) -> Estimate:
    normal, moment, square, n_equations = _normal_equations(right, left, covariances, support)
    size = normal.diagonal().sqrt().clamp_min(torch.finfo(normal.dtype).tiny)
    values, vectors = torch.linalg.eigh(normal / size[:, None] / size)
    kept = values > _DEPENDENT * values[-1]
    inverse = (vectors[:, kept] / values[kept]) @ vectors[:, kept].T
    solution = inverse @ (moment / size)
    left_over = (square - solution @ (moment / size)).clamp_min(0) / max(n_equations - int(kept.sum()), 1)
    errors = (left_over * inverse.diagonal()).clamp_min(0).sqrt()
    found, spread = (support.double().masked_scatter(support, x / size) for x in (solution, errors))
    return Estimate(found, spread, support, dependent=int((~kept).sum()))


def _normal_equations(
    right: Tensor, left: Tensor, covariances: list[Tensor], support: Tensor
) -> tuple[Tensor, Tensor, Tensor, float]:
    """Of the terms in the support, the equations of each trajectory whitened by their covariance, and their number."""
    monomial, state = support.nonzero(as_tuple=True)
    n_terms = len(state)
    gram, n_equations = right.new_zeros(n_terms + 1, n_terms + 1), 0.0
    for features, wanted, covariance in zip(right, left, covariances, strict=True):
        design = right.new_zeros(*wanted.shape, n_terms)
        design[:, state, torch.arange(n_terms, device=state.device)] = features[:, monomial]
        both = torch.cat((design.flatten(0, 1), wanted.flatten()[:, None]), 1)
        factor = torch.linalg.cholesky(covariance)
        white = torch.linalg.solve_triangular(factor, both, upper=False)
        gram += white.T @ white
        # Directions that are jitter alone hold no residual, and are no equations.
        jitter = JITTER / (1 + JITTER) * covariance.diagonal().mean()
        n_equations += len(covariance) - float(jitter * torch.cholesky_inverse(factor).diagonal().sum())
    return gram[:-1, :-1], gram[:-1, -1], gram[-1, -1], n_equations
