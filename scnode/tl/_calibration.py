"""From the parts of a path to one probability, and to a radius that holds the truth."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scnode.metrics import conformal_quantile
from scnode.tl._path_parts import PARTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

COVERAGE = 0.9
_UNUSUAL = 2.0
_N_BINS = 10
_SMALLEST = 1e-6
_RIDGE, _LEAST = 1e-3, 0.1
_TRIED = 0.999
# Of a part that hardly varies among refits, it takes a change by a quarter to be one standard deviation.
_FINEST = 0.25


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

    @classmethod
    def joined(cls, examples: Sequence[Example]) -> Example:
        """All of them as one."""
        parts = {name: np.concatenate([e.parts[name] for e in examples]) for name in examples[0].parts}
        error, inside, fold = (
            np.concatenate(columns) for columns in zip(*((e.error, e.inside, e.fold) for e in examples), strict=True)
        )
        return cls(parts, error, inside, fold)


@dataclass(frozen=True)
class Calibration:
    """Plain arrays that turn parts into a score and a radius.

    Parameters
    ----------
    names
        Parts in order, shape (part,).
    center, scale, weight
        Of the standardised features, shape (part,); weights are not negative and sum to 1.
    usual_error
        Median error of states whose cells were seen, in latent units.
    index, probability
        Steps of the isotonic map from the weighted sum to the probability.
    most
        Largest standardised feature that was tried, shape (part,).
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
    most: Floats
    radius_index: Floats
    radius: Floats

    @classmethod
    def fit(cls, example: Example) -> Calibration:
        """Weights by logistic regression; probability and radius on states that the weights have not seen."""
        from sklearn.isotonic import IsotonicRegression

        x = _features(example.parts)
        usual = float(np.median(example.error[example.inside]))
        wrong = example.error > _UNUSUAL * usual
        center, scale = x.mean(0), np.maximum(x.std(0), _FINEST)
        x = (x - center) / scale
        crossed = np.empty(len(x))
        for fold in np.unique(example.fold):
            out = example.fold == fold
            crossed[out] = x[out] @ _weights(x[~out], wrong[~out])
        steps = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(crossed, wrong)
        where, radius = _radii(crossed, example.error)
        return cls(
            names=np.array(list(example.parts)),
            center=center,
            scale=scale,
            weight=_weights(x, wrong),
            usual_error=usual,
            index=steps.X_thresholds_,
            probability=steps.y_thresholds_,
            most=np.quantile(x, _TRIED, axis=0),
            radius_index=where,
            radius=radius,
        )

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Calibration:
        """From what :meth:`arrays` gave."""
        given: dict[str, Any] = {name: np.asarray(stored[name]) for name in cls.__dataclass_fields__}
        return cls(**{**given, "usual_error": float(stored["usual_error"])})

    def arrays(self) -> dict[str, Any]:
        """As `.uns` and files keep it."""
        return asdict(self)

    def score(self, parts: Mapping[str, Floats]) -> Floats:
        """Probability that the error is over twice the usual one, shape of a part."""
        features = self._standard(parts)
        known = np.interp(features @ self.weight, self.index, self.probability)
        # A part farther out than anything tried: one more standard deviation takes all belief away.
        beyond = (features - self.most).max(-1).clip(0, 1)
        return known + (1 - known) * beyond

    def reach(self, parts: Mapping[str, Floats]) -> Floats:
        """Distance within which the truth lies with the probability COVERAGE, shape of a part."""
        return np.interp(self._standard(parts) @ self.weight, self.radius_index, self.radius)

    def blame(self, parts: Mapping[str, Floats]) -> str:
        """The part that most raises the score of these states."""
        share = (self._standard(parts) * self.weight).reshape(-1, len(self.weight)).mean(0)
        return str(self.names[share.argmax()])

    def _standard(self, parts: Mapping[str, Floats]) -> Floats:
        return (_features(parts) - self.center) / self.scale


def _features(parts: Mapping[str, Floats]) -> Floats:
    """Logarithms of what is positive, shape (..., part)."""
    columns = [parts[n] if n == "ftle" else np.log(np.maximum(parts[n], _SMALLEST)) for n in PARTS if n in parts]
    return np.stack(columns, axis=-1)


def _weights(x: Floats, wrong: NDArray[np.bool_]) -> Floats:
    """Shares in the coefficients of a ridge logistic regression, each at least a tenth before they sum to 1."""
    from sklearn.linear_model import LogisticRegression

    if wrong.all() or not wrong.any():
        return np.full(x.shape[1], 1 / x.shape[1])
    # Steps of one path are nearly one observation, and parts that rise together share their weight.
    found = np.maximum(LogisticRegression(C=_RIDGE).fit(x, wrong).coef_[0], _SMALLEST)
    # No part is silent: what the refits did not meet may still happen.
    shares = np.maximum(found / found.sum(), _LEAST)
    return shares / shares.sum()


def _radii(index: Floats, error: Floats) -> tuple[Floats, Floats]:
    """Conformal quantile of the error in bins of equal numbers along the index, never falling."""
    bins = np.array_split(np.argsort(index, kind="stable"), max(1, min(_N_BINS, len(index) // 20)))
    radius = [conformal_quantile(error[rows], COVERAGE) for rows in bins]
    return np.array([np.median(index[rows]) for rows in bins]), np.maximum.accumulate(radius)
