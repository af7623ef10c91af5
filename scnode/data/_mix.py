"""Several sources of evidence as one weighted target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scnode._errors import EvidenceError
from scnode.metrics import cosine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scnode.data._source import Evidence


@dataclass(frozen=True)
class Target:
    """Velocity that the field is fitted to.

    Parameters
    ----------
    velocity
        Precision-weighted mean of the sources, shape (cell, latent).
    precision
        Weight of each cell, mean 1, 0 where no source speaks of it, shape (cell,).
    share
        Weight of each source in the mix, by name.
    agreement
        Cosine between each pair of sources, by ``"a|b"``, shape (cell,); NaN where one stands still.
    """

    velocity: np.ndarray
    precision: np.ndarray
    share: dict[str, float]
    agreement: dict[str, np.ndarray]


def mix(sources: Sequence[Evidence], *, weights: Mapping[str, float] | None = None) -> Target:
    r"""Combine sources by inverse variance.

    Every source is first brought to one unit of time, by the factor that matches its median speed, over the cells that
    move, to that of the first. Then, per cell, :math:`\bar v = \sum_s w_s v_s/\sigma_s^2 \big/ \sum_s w_s/\sigma_s^2`.

    Parameters
    ----------
    sources
        Evidence with a velocity and its standard error per cell.
    weights
        Factor :math:`w_s` by source name, 1 where not named.
    """
    factor = _check_weights([s.name for s in sources], weights)
    unit = _speed(sources[0])
    velocity, precision = [], []
    for source in sources:
        rescale = unit / _speed(source)
        velocity.append(source.velocity * rescale)
        # Cells that stand still together have no spread; their certainty has a bound all the same.
        precision.append(factor[source.name] / np.maximum(source.se * rescale, 1e-3 * unit) ** 2)
    stacked, weight = np.stack(velocity), np.stack(precision)
    total = weight.sum(0)
    told = total > 0
    if not told.any():
        raise EvidenceError(f"weights={weights} leave no cell with evidence. Give a source that covers cells a weight.")
    mean = np.zeros_like(stacked[0])
    mean[told] = (stacked * weight[..., None]).sum(0)[told] / total[told, None]
    share = {s.name: float((w[told] / total[told]).mean()) for s, w in zip(sources, weight, strict=True)}
    agreement = {
        f"{a.name}|{b.name}": cosine(a.velocity, b.velocity) for i, a in enumerate(sources) for b in sources[i + 1 :]
    }
    # A few cells with tiny errors must not carry the whole fit.
    capped = np.minimum(total, np.quantile(total[told], 0.9))
    return Target(mean, capped / capped.mean(), share, agreement)


def _speed(source: Evidence) -> float:
    """Median speed of the cells that move."""
    speed = np.linalg.norm(source.velocity, axis=1)
    if not (speed > 0).any():
        raise EvidenceError(f"{source.source} shows no motion in any cell. Recompute it, or name another source.")
    return float(np.median(speed[speed > 0]))


def _check_weights(names: Sequence[str], weights: Mapping[str, float] | None) -> dict[str, float]:
    given = dict(weights or {})
    unknown = set(given) - set(names)
    if unknown:
        raise EvidenceError(f"weights= names {sorted(unknown)}, but the evidence in use is {list(names)}. Name those.")
    factor = {name: given.get(name, 1.0) for name in names}
    usable = all(isinstance(w, int | float | np.number) and np.isfinite(w) and w >= 0 for w in factor.values())
    if not usable or not any(factor.values()):
        raise EvidenceError(f"weights={given} must be finite, not negative and not all zero. Pass positive numbers.")
    return {name: float(w) for name, w in factor.items()}
