"""From the parts of a path to one probability, and to a radius that holds the truth."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scnode.metrics import conformal_quantile
from scnode.tl._path_parts import PARTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

COVERAGE = 0.9
_UNUSUAL = 2.0
_N_BINS = 10
_SMALLEST = 1e-6


@dataclass(frozen=True)
class Example:
    """Parts of states and the error of each.

    Parameters
    ----------
    parts
        Each of shape (state,).
    error
        Distance from what is taken for the truth, shape (state,).
    inside
        Whether the field had seen the cell that the state comes from, shape (state,).
    fold
        Which refit it comes from, shape (state,).
    """

    parts: dict[str, Floats]
    error: Floats
    inside: NDArray[np.bool_]
    fold: NDArray[np.int64]


@dataclass(frozen=True)
class Calibration:
    """Plain arrays that turn parts into a score and a radius.

    Parameters
    ----------
    names
        Parts in order, shape (part,).
    center, scale, weight
        Of the standardised features, shape (part,); weights are not negative.
    usual_error
        Median error of states whose cells were seen, in latent units.
    index, probability
        Steps of the isotonic map from the weighted sum to the probability.
    radius_index, radius
        Steps of the conformal radius over the weighted sum, in latent units.
    """

    names: NDArray[np.str_]
    center: Floats
    scale: Floats
    weight: Floats
    usual_error: float
    index: Floats
    probability: Floats
    radius_index: Floats
    radius: Floats

    @classmethod
    def fit(cls, example: Example) -> Calibration:
        """Weights by logistic regression; probability and radius on states that the weights have not seen."""
        from sklearn.isotonic import IsotonicRegression

        x = _features(example.parts)
        usual = float(np.median(example.error[example.inside]))
        wrong = example.error > _UNUSUAL * usual
        center, scale = x.mean(0), x.std(0) + np.finfo(float).tiny
        x = (x - center) / scale
        crossed = np.empty(len(x))
        for fold in np.unique(example.fold):
            out = example.fold == fold
            crossed[out] = x[out] @ _weights(x[~out], wrong[~out])
        steps = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(crossed, wrong)
        where, radius = _radii(crossed, example.error)
        # Farther out than anything tried, one more standard deviation takes all belief away.
        edge = float(max(steps.X_thresholds_[-1], crossed.max()))
        return cls(
            names=np.array(list(example.parts)),
            center=center,
            scale=scale,
            weight=_weights(x, wrong),
            usual_error=usual,
            index=np.append(steps.X_thresholds_, edge + crossed.std() + _SMALLEST),
            probability=np.append(steps.y_thresholds_, 1.0),
            radius_index=where,
            radius=radius,
        )

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Calibration:
        """From what :meth:`arrays` gave."""
        given = {name: np.asarray(stored[name]) for name in cls.__dataclass_fields__}
        return cls(**{**given, "usual_error": float(stored["usual_error"])})

    def arrays(self) -> dict[str, Any]:
        """As `.uns` and files keep it."""
        return asdict(self)

    def score(self, parts: Mapping[str, Floats]) -> Floats:
        """Probability that the error is over twice the usual one, shape of a part."""
        return np.interp(self._index(parts), self.index, self.probability)

    def reach(self, parts: Mapping[str, Floats]) -> Floats:
        """Distance within which the truth lies with the probability COVERAGE, shape of a part."""
        return np.interp(self._index(parts), self.radius_index, self.radius)

    def blame(self, parts: Mapping[str, Floats]) -> str:
        """The part that most raises the score of these states."""
        share = ((_features(parts) - self.center) / self.scale * self.weight).reshape(-1, len(self.weight)).mean(0)
        return str(self.names[share.argmax()])

    def _index(self, parts: Mapping[str, Floats]) -> Floats:
        return ((_features(parts) - self.center) / self.scale) @ self.weight


def _features(parts: Mapping[str, Floats]) -> Floats:
    """Logarithms of what is positive, shape (..., part)."""
    columns = [parts[n] if n == "ftle" else np.log(np.maximum(parts[n], _SMALLEST)) for n in PARTS if n in parts]
    return np.stack(columns, axis=-1)


def _weights(x: Floats, wrong: NDArray[np.bool_]) -> Floats:
    """Coefficients of a logistic regression, without those that would say that more is better."""
    from sklearn.linear_model import LogisticRegression

    weights, kept = np.zeros(x.shape[1]), np.arange(x.shape[1])
    while len(kept) and wrong.any() and not wrong.all():
        found = LogisticRegression().fit(x[:, kept], wrong).coef_[0]
        if (found >= 0).all():
            weights[kept] = found
            return weights
        kept = np.delete(kept, found.argmin())
    return np.full(x.shape[1], 1 / x.shape[1])


def _radii(index: Floats, error: Floats) -> tuple[Floats, Floats]:
    """Conformal quantile of the error in bins of equal numbers along the index, never falling."""
    bins = np.array_split(np.argsort(index, kind="stable"), max(1, min(_N_BINS, len(index) // 20)))
    radius = [conformal_quantile(error[rows], COVERAGE) for rows in bins]
    return np.array([np.median(index[rows]) for rows in bins]), np.maximum.accumulate(radius)
