"""What keeps genes at their levels: how each is read off the latent state, and the constraint of that."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from scnode._errors import ScnodeError
from scnode.tl._protocol import Course, Segment, breaks_of, read_courses

if TYPE_CHECKING:
    from torch import Tensor

    from scnode.model import LatentODE
    from scnode.nn import PCA, Hold, Readout, Regimen
    from scnode.tl._outside import Regression

_LEAST = 0.01
"""A VAE decodes expected counts, and no state of it has none: what counts as nothing, in log-normalised units."""

_FLOOR = 1e-6
"""Least variance of a direction, relative to the mean over all."""


@dataclass(frozen=True)
class Reader:
    """How genes are read off latent states.

    Parameters
    ----------
    model
        The fitted model.
    outside
        Regressions of genes that are not of the model.
    spread
        In units of which states change least, see :class:`scnode.nn.Hold`.
    """

    model: LatentODE
    outside: Mapping[str, Regression] = field(default_factory=dict)
    spread: Tensor | None = None

    @classmethod
    def of(cls, model: LatentODE, latent: np.ndarray, outside: Mapping[str, Regression] | None = None) -> Reader:
        """In units of the spread of cells (cell, latent) where the decoder is linear.

        Of principal components the last are mostly noise: along them no cell is as far off as a change of equal length
        in all of them would go. Other spaces have axes of one scale, or are the genes themselves.
        """
        from scnode.nn import PCA

        spread = _spread(latent) if isinstance(model.decoder, PCA) else None
        return cls(model, outside or {}, spread)

    def hold(self, genes: Sequence[str], level: Tensor | Callable[[Tensor], Tensor]) -> Hold:
        """Constraint that keeps genes at levels (gene,), or a function of time that returns (..., gene)."""
        from scnode.nn import Hold

        own = [gene for gene in genes if gene not in self.outside]
        further = [gene for gene in genes if gene in self.outside]
        parts = self._decoded(self.columns([own])[0], own) if own else []
        if further:
            parts.append((self._regressed(further), further))
        readout = _joined([part for part, _ in parts])
        rows = [list(genes).index(gene) for _, owners in parts for gene in owners]
        _check_apart(readout, self.model.n_latent, genes)
        return Hold(readout, self.target(level, rows), self.spread)

    def holds(self, draws: Sequence[Sequence[str]], n_rows: int, level: Tensor | Callable[[Tensor], Tensor]) -> Hold:
        """The same for each of several choices of as many genes of the model, (draw * row) in all."""
        from scnode.nn import Hold

        columns = self.columns(draws).repeat_interleave(n_rows, 0)
        parts = self._decoded(columns, draws[0])
        rows = [list(draws[0]).index(gene) for _, owners in parts for gene in owners]
        return Hold(_joined([part for part, _ in parts]), self.target(level, rows), self.spread)

    def columns(self, draws: Sequence[Sequence[str]]) -> Tensor:
        """Places of genes in the decoder, (draw, gene)."""
        import torch

        return torch.tensor([self.model.columns(genes) for genes in draws])

    def target(
        self, level: Tensor | Callable[[Tensor], Tensor], rows: Sequence[int]
    ) -> Tensor | Callable[[Tensor], Tensor]:
        """Levels of genes as those of the rows of a readout, in its units."""
        from scnode.nn import VAE, Moments

        kind = type(self.model.decoder)

        def moved(levels: Tensor) -> Tensor:
            levels = levels[..., list(rows)]
            if issubclass(kind, Moments):
                return levels.expm1()
            return levels.clamp_min(_LEAST) if issubclass(kind, VAE) else levels

        if not callable(level):
            return moved(level)
        moving = level
        return lambda t: moved(moving(t))

    def _decoded(self, columns: Tensor, genes: Sequence[str]) -> list[tuple[Readout, list[str]]]:
        """Readouts of genes of the model, places (gene,) or (row, gene), and the gene of each of their rows."""
        from scnode.nn import PCA, DecodedReadout, LinearReadout, Moments

        decoder = self.model.decoder
        if isinstance(decoder, PCA):
            return [(LinearReadout(decoder.components[columns].detach(), decoder.mean[columns]), list(genes))]
        if isinstance(decoder, Moments):
            return [(part, list(genes)) for part in _abundances(self.model, columns)]
        return [(DecodedReadout(decoder, columns), list(genes))]

    def _regressed(self, genes: Sequence[str]) -> Readout:
        import torch

        from scnode.nn import LinearReadout

        found = [self.outside[gene] for gene in genes]
        return LinearReadout(torch.stack([r.weights for r in found]), torch.stack([r.offset for r in found]))


def constraint(reader: Reader, genes: Mapping[str, float]) -> Hold:
    """What keeps genes of the model at constant levels."""
    import torch

    levels = torch.tensor([_constant(course) for course in read_courses(genes, 1.0, "initial")])
    return reader.hold(list(genes), levels)


def regimen(
    courses: Sequence[Course],
    horizon: float,
    hold: Callable[[list[int], Tensor | Callable[[Tensor], Tensor]], Hold],
) -> Regimen:
    """Constraints in turn, where `hold` makes that of some genes, by their numbers, at levels (gene,)."""
    import torch

    from scnode.nn import Regimen

    breaks = breaks_of(courses, horizon)
    pieces: list[Hold | None] = []
    for start in (0.0, *breaks):
        held = [(i, s) for i, course in enumerate(courses) if (s := course.at(start)) is not None]
        if not held:
            pieces.append(None)
        elif all(s.constant for _, s in held):
            levels = torch.tensor([float(s.coefficients[0, 0]) for _, s in held])
            pieces.append(hold([i for i, _ in held], levels))
        else:
            pieces.append(hold([i for i, _ in held], _side_by_side([s for _, s in held])))
    return Regimen(torch.tensor(breaks, dtype=torch.float64), tuple(pieces))


def linear_decoder(model: LatentODE) -> PCA:
    """The decoder, of which a gene's level is a plane of the latent space."""
    from scnode.nn import PCA

    decoder = model.decoder
    if not isinstance(decoder, PCA):
        raise ScnodeError(
            f"The level of a gene is a plane of the latent space, and decoded by {decoder.name!r} it is none. "
            "Fit with encoder='pca'."
        )
    return decoder


def _spread(latent: np.ndarray) -> Tensor:
    """Root of the covariance of cells, a lower triangle."""
    import torch

    covariance = np.atleast_2d(np.cov(latent.astype(float), rowvar=False))
    floor = _FLOOR * np.trace(covariance) / len(covariance) + np.finfo(float).tiny
    root = np.linalg.cholesky(covariance + floor * np.eye(len(covariance)))
    return torch.as_tensor(root, dtype=torch.float32)


def _side_by_side(segments: Sequence[Segment]) -> Callable[[Tensor], Tensor]:
    import torch

    return lambda t: torch.stack([segment(t) for segment in segments], -1)


def _constant(course: Course) -> float:
    return float(course.segments[0].coefficients[0, 0])


def _abundances(model: LatentODE, columns: Tensor) -> tuple[Readout, Readout]:
    r"""Spliced abundance of genes, and unspliced as that to which it belongs at rest, :math:`(\beta/\gamma) u`."""
    import torch

    from scnode.nn import LinearReadout, Moments, RNAField

    moving, decoder = model.field, model.decoder
    assert isinstance(moving, RNAField)
    assert isinstance(decoder, Moments)
    n = len(decoder.unit)
    ratio = (moving.gamma.mean(0) / moving.beta.mean(0)).detach()
    axes, unit = torch.eye(2 * n), decoder.unit[columns].unsqueeze(-1)
    none = torch.zeros(columns.shape)
    spliced = LinearReadout(axes[n + columns] * unit, none)
    return spliced, LinearReadout(axes[columns] * unit / ratio[columns].unsqueeze(-1), none)


def _joined(parts: Sequence[Readout]) -> Readout:
    """Several readouts as one, which is linear where all are."""
    import torch

    from scnode.nn import JointReadout, LinearReadout

    if len(parts) == 1:
        return parts[0]
    linear = [part for part in parts if isinstance(part, LinearReadout)]
    if len(linear) < len(parts):
        return JointReadout(tuple(parts))
    return LinearReadout(torch.cat([p.matrix for p in linear], -2), torch.cat([p.offset for p in linear], -1))


def _check_apart(readout: Readout, n_latent: int, genes: Sequence[str]) -> None:
    """The genes have gradients, and these are independent, at the centre of a curved space."""
    import torch

    slope = readout.linearised(torch.zeros(1, n_latent))[1].reshape(-1, n_latent).double()
    size = slope.norm(dim=1, keepdim=True)
    if not bool((size > torch.finfo(torch.float32).tiny).all()):
        flat = sorted({gene for gene, one in zip(genes, size, strict=False) if not float(one) > 0})
        raise ScnodeError(
            f"The latent space does not move {flat}: the gene is constant in it. Name a gene that varies."
        )
    if int(torch.linalg.matrix_rank(slope / size, rtol=1e-4)) < len(slope):
        raise ScnodeError(
            f"The latent space cannot hold {list(genes)} apart. Name fewer genes, or fit with a larger n_latent=."
        )
