"""At which level a gene is held when: numbers, functions of time and schedules, as smooth segments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from scnode._errors import ScnodeError
from scnode.nn import Schedule

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

GeneLevel: TypeAlias = "float | Callable[[Tensor], Any] | tuple[Any, ...] | Schedule"

_N_KNOTS = 257
_N_STORED = 33
_MEND = "Pass 0.0 for a knock-out, a function of time, or (times, levels)."


@dataclass(frozen=True)
class Segment:
    r"""A level from one time until another, :math:`\sum_k c_{ki}(t - t_i)^k` from the knot :math:`t_i` on.

    Parameters
    ----------
    start, end
        Times since the start.
    knots
        Shape (knot,).
    coefficients
        The highest power first, shape (power, knot).
    """

    start: float
    end: float
    knots: np.ndarray
    coefficients: np.ndarray

    @property
    def constant(self) -> bool:
        """Whether the level stays."""
        return len(self.coefficients) == 1

    def __call__(self, t: Tensor) -> Tensor:
        """Level at times t, a scalar or a column (row, 1): a scalar or (row,)."""
        import torch

        at = t.squeeze(-1) if t.ndim else t
        knots, powers = (torch.as_tensor(a, dtype=at.dtype) for a in (self.knots, self.coefficients))
        left = (torch.searchsorted(knots, at.detach().contiguous(), right=True) - 1).clamp(0, len(knots) - 1)
        value, since = powers[0][left], at - knots[left]
        for power in powers[1:]:
            value = value * since + power[left]
        return value + 0 * at


@dataclass(frozen=True)
class Course:
    """The level of one gene over the flow, between whose segments the gene is left to itself."""

    gene: str
    segments: tuple[Segment, ...]

    @property
    def always(self) -> bool:
        """Whether the gene is held at one level throughout."""
        first = self.segments[0]
        return first.constant and first.start == 0 and first.end == np.inf

    def at(self, t: float) -> Segment | None:
        """The segment that holds from a time on."""
        return next((s for s in self.segments if s.start <= t < s.end), None)


def read_courses(genes: Mapping[str, GeneLevel], horizon: float, mode: str) -> list[Course]:
    """The level of every gene, checked over the whole flow."""
    if not isinstance(genes, Mapping) or not genes:
        raise ScnodeError(f"genes={genes!r} names no gene. Pass {{'<gene>': 0.0}} for a knock-out.")
    courses = [Course(str(gene), _segments(str(gene), level, horizon)) for gene, level in genes.items()]
    for course in courses:
        if mode == "initial" and not course.always:
            raise ScnodeError(
                f"genes={{{course.gene!r}: ...}} is a schedule, and mode='initial' moves the start alone. Pass a "
                "number, or mode='hold'."
            )
    return courses


def breaks_of(courses: Sequence[Course], horizon: float) -> list[float]:
    """Times within the flow at which what is held changes."""
    edges = {edge for course in courses for s in course.segments for edge in (s.start, s.end)}
    return sorted(edge for edge in edges if 0 < edge < horizon)


def as_table(courses: Sequence[Course], horizon: float) -> pd.DataFrame:
    """Levels over time, one row a gene and time: ends of segments, and times between them where a level moves."""
    import pandas as pd
    import torch

    rows = []
    for course in courses:
        for s in course.segments:
            end = min(s.end, horizon)
            ts = np.linspace(s.start, end, _N_STORED if len(s.knots) > 1 else 2)
            levels = s(torch.as_tensor(ts)[:, None]).numpy()
            rows += [(course.gene, s.start, t, level) for t, level in zip(ts, levels, strict=True)]
    return pd.DataFrame(rows, columns=["gene", "held_from", "t", "level"])


def _segments(gene: str, level: Any, horizon: float) -> tuple[Segment, ...]:
    if isinstance(level, Real) and not isinstance(level, bool):
        return (_constant(0.0, np.inf, _checked(gene, np.array([level], dtype=float))[0]),)
    if isinstance(level, Schedule):
        if level.values.shape[1] != 1:
            raise ScnodeError(f"The schedule of {gene!r} has {level.values.shape[1]} columns. Pass values (time, 1).")
        level = (level.times.detach().numpy(), level.values.detach().numpy()[:, 0], level.kind)
    if isinstance(level, tuple):
        return _scheduled(gene, level, horizon)
    if callable(level):
        return (_function(gene, level, horizon),)
    raise ScnodeError(f"genes={{{gene!r}: {level!r}}} is no level. {_MEND}")


def _constant(start: float, end: float, level: float) -> Segment:
    return Segment(start, end, np.array([start]), np.array([[level]]))


def _checked(gene: str, levels: np.ndarray, *, released: bool = False) -> np.ndarray:
    bad = ~(levels >= 0) | np.isinf(levels)
    bad &= ~np.isnan(levels) | (not released)
    if bad.any():
        raise ScnodeError(
            f"genes={{{gene!r}: ...}} has the level {levels[bad][0]:g}: it must be a number of at least 0 in "
            f"log-normalised units. {_MEND}"
        )
    return levels


def _function(gene: str, level: Callable[[Tensor], Any], horizon: float) -> Segment:
    """A function of time by its values on a grid, monotone cubics between them."""
    import torch
    from scipy.interpolate import PchipInterpolator

    ts = np.linspace(0, horizon, _N_KNOTS)
    try:
        values = np.array([float(level(torch.tensor(t, dtype=torch.float64))) for t in ts])
    except Exception as error:
        raise ScnodeError(
            f"The level of {gene!r} fails as a function of time ({type(error).__name__}: {error}). Pass one that takes "
            "a time, a tensor without dimensions, and returns a number."
        ) from error
    fit = PchipInterpolator(ts, _checked(gene, values))
    return Segment(0.0, np.inf, fit.x[:-1], fit.c)


def _scheduled(gene: str, schedule: tuple[Any, ...], horizon: float) -> tuple[Segment, ...]:
    times, levels, kind = _parts(gene, schedule)
    if (times < 0).any() or (times > horizon).any():
        outside = times[(times < 0) | (times > horizon)][0]
        raise ScnodeError(
            f"The schedule of {gene!r} names the time {outside:g}, and the flow goes from 0 to {horizon:g}. Pass times "
            "within it, or a longer t=."
        )
    segments = []
    for start, end, first, last in zip(times, [*times[1:], np.inf], levels, [*levels[1:], levels[-1]], strict=True):
        if kind == "constant" or end == np.inf:
            if np.isfinite(first):
                segments.append(_constant(start, end, first))
        elif np.isfinite(first) and np.isfinite(last):
            slope = (last - first) / (end - start)
            segments.append(Segment(start, end, np.array([start]), np.array([[slope], [first]])))
    if all(s.start >= horizon for s in segments):
        raise ScnodeError(f"The schedule of {gene!r} holds it at no time before t={horizon:g}. Pass a level somewhere.")
    return tuple(segments)


def _parts(gene: str, schedule: tuple[Any, ...]) -> tuple[np.ndarray, np.ndarray, str]:
    """Times, levels (NaN where the gene is left to itself) and kind of a schedule."""
    if len(schedule) not in (2, 3) or len(np.shape(schedule[0])) != 1 or len(schedule[0]) != len(schedule[1]):
        raise ScnodeError(
            f"genes={{{gene!r}: {schedule!r}}} is no schedule. Pass (times, levels) of one length, in units of the "
            "clock from the start."
        )
    kind = schedule[2] if len(schedule) == 3 else "constant"
    if kind not in ("constant", "linear"):
        raise ScnodeError(f"The schedule of {gene!r} is of kind {kind!r}. Pass 'constant' or 'linear'.")
    try:
        times = np.asarray(schedule[0], dtype=float)
        levels = np.array([np.nan if level is None else float(level) for level in schedule[1]])
    except (TypeError, ValueError) as error:
        raise ScnodeError(f"genes={{{gene!r}: {schedule!r}}} holds what is no number. {_MEND}") from error
    if not len(times) or not np.isfinite(times).all() or not (np.diff(times) > 0).all():
        twice = times[1:][np.diff(times) == 0] if len(times) else times
        what = f"gives it two levels at t={twice[0]:g}" if len(twice) else "has times that do not increase"
        raise ScnodeError(f"The schedule of {gene!r} {what}. Pass finite, increasing times, one level for each.")
    return times, _checked(gene, levels, released=True), str(kind)
