"""The door to stochastic integration."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import torch

from scnode._errors import SolverError
from scnode.ode._brownian import BrownianPath, Fresh, Increment
from scnode.ode._clock import Clock
from scnode.ode._sde_solution import SDESolution, SDEStats
from scnode.ode._sde_step import SCHEMES, Spread
from scnode.ode._solution import Status
from scnode.ode._solve import check_problem
from scnode.ode._step import Start
from scnode.ode._system import FieldSystem

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from scnode._typing import VectorField
    from scnode.ode._sde_step import Scheme

SDE_SOLVERS = tuple(SCHEMES)
"""Names of stochastic solvers."""

_LEAST_STEPS = 100


def solve_sde(
    drift: VectorField,
    diffusion: Callable[[Tensor, Tensor], Tensor] | None,
    y0: Tensor,
    ts: Tensor,
    *,
    step: float | None = None,
    solver: str = "srk2",
    n_samples: int = 1,
    generator: torch.Generator | None = None,
    brownian: BrownianPath | None = None,
    jacobian: Callable[[Tensor, Tensor], Tensor] | None = None,
    on_failure: Literal["raise", "return"] = "raise",
) -> SDESolution:
    r"""Draw trajectories of :math:`dy = f(t, y)\,dt + G(t, y)\,dW` in the sense of Itô, from :math:`y(t_0) = y_0`.

    Gradients flow through every step to the parameters of drift and diffusion and to `y0`, with the noise held fixed
    (reparametrisation). Steps are of fixed size and their error is not estimated: solve again with half the `step`
    along the same :class:`scnode.ode.BrownianPath` to see it.

    Parameters
    ----------
    drift
        :math:`f`, called as ``drift(t, y)`` with states (row, state), a row being one sample of one cell, and `t` a
        scalar or, with times of each cell, (row, 1). Returns the shape of `y`.
    diffusion
        :math:`G`, called alike. A standard deviation per square root of time, one a state (row, state), one a row
        (row,) or one for all; or a matrix (row, state, noise). None for no noise.
    y0
        Initial states, shape (batch, state).
    ts
        Strictly increasing times, shape (time,) or (batch, time); the first is that of `y0`.
    step
        Largest step, by default a hundredth of the longest interval from first to last time. Intervals between times
        are cut into equal steps.
    solver
        ``"srk2"``: of strong order 3/2 and weak order 2 where :math:`G` is constant, or diagonal with each entry a
        function of its own state. Where an entry depends on other states, the areas between noises are missing: strong
        order 1/2, weak order 1. Takes no matrix. ``"euler_maruyama"``: strong order 1/2, weak order 1, any
        :math:`G`. ``"implicit_euler"``: one Newton iteration of drift-implicit Euler, for stiff drift; the same orders.
        Without noise they are the methods ``"ralston"`` and ``"euler"`` of :func:`solve`, and linearly implicit Euler.
    n_samples
        Trajectories from each initial state.
    generator
        Source of the noise; by default a new one, seeded with 0. Torch's global one is left alone.
    brownian
        A Brownian motion to follow instead, of ``len(y0) * n_samples`` paths, the samples of a cell side by side; for
        one list of times.
    jacobian
        :math:`\partial f/\partial y` for ``"implicit_euler"``, called like `drift`; by default the drift's own method,
        else reverse sweeps.
    on_failure
        ``"raise"``, or ``"return"`` everything beside a status: a trajectory that broke off keeps its last state.

    Returns
    -------
    SDESolution
        Times, states (batch, sample, time, state), counts and one status per trajectory.

    Raises
    ------
    SolverError
        Wrong shapes, times that do not increase, an unknown name, a negative diffusion, a Brownian motion of another
        shape, or a trajectory that is not finite.

    Examples
    --------
    >>> import torch
    >>> from scnode import ode
    >>> ts = torch.tensor([0.0, 5.0])
    >>> ys = ode.solve_sde(lambda t, y: -y, lambda t, y: torch.ones_like(y), torch.zeros(1, 1), ts, n_samples=2000).ys
    >>> round(ys[0, :, -1].var().item(), 1)
    0.5

    References
    ----------
    :cite:p:`KloedenPlaten1992`, :cite:p:`Roessler2010`
    """
    check_problem(y0, ts)
    _check(ts, solver, step=step, n_samples=n_samples)
    ts = ts.to(y0.device)
    clock = Clock.of(ts if ts.ndim == 1 else ts.repeat_interleave(n_samples, 0), 1)
    system = FieldSystem(drift, closed=jacobian, scalar_time=ts.ndim == 1)
    spread = Spread(diffusion, system, n_samples)
    rows = y0.repeat_interleave(n_samples, 0)
    scheme = SCHEMES[solver]
    first = _first_values(system, spread, clock, rows)
    like = _noise_like(first[1], rows, scheme, solver)
    source = _source(brownian, generator, like, clock)
    longest = float((clock.fixed[..., -1] - clock.fixed[..., 0]).max()) / _LEAST_STEPS if step is None else step
    walk = _Walk(system, spread, scheme, clock, n_samples, raises=on_failure == "raise")
    # An implicit step differentiates, which must not leave a graph where nobody asks for one.
    wanted = torch.is_grad_enabled() and any(x.requires_grad for x in (y0, ts, *first))
    with torch.set_grad_enabled(wanted):
        states = walk.run(rows, source, longest)
    shape = (len(y0), n_samples)
    stats = SDEStats(walk.n_steps.reshape(shape), system.n_calls, spread.n_calls, walk.largest)
    return SDESolution(ts, states.reshape(*shape, *states.shape[1:]), stats, walk.status.reshape(shape))


@dataclass
class _Walk:
    """Steps of all trajectories, and how each of them fared."""

    drift: FieldSystem
    spread: Spread
    scheme: Scheme
    clock: Clock
    n_samples: int
    raises: bool
    largest: float = 0.0
    status: Tensor = field(init=False)
    n_steps: Tensor = field(init=False)

    def run(self, y0: Tensor, source: Fresh | BrownianPath, longest: float) -> Tensor:
        """States at all times, shape (row, time, state)."""
        self.status = torch.full((len(y0),), int(Status.SUCCESS), device=y0.device)
        self.n_steps = torch.zeros_like(self.status)
        self.rows, self.state = torch.arange(len(y0), device=y0.device), y0
        found = [y0]
        lengths = torch.diff(self.clock.fixed, dim=-1).reshape(-1, self.clock.n_times - 1).amax(0).tolist()
        for index, length in enumerate(lengths, start=1):
            parts = max(1, math.ceil(length / longest - 1e-9))
            self.largest = max(self.largest, length / parts)
            before, after = (self.clock.times[..., i] for i in (index - 1, index))
            h = (after - before) / parts
            for part in range(parts):
                start = before + part * h
                end = after if part + 1 == parts else before + (part + 1) * h
                self._advance(start, h, source.increment(start.detach(), end.detach()))
            found.append(self.state)
        return torch.stack(found, dim=1)

    def _advance(self, s: Tensor, h: Tensor, noise: Increment) -> None:
        """One step of the trajectories still under way."""
        rows, whole = self.rows, len(self.rows) == len(self.state)
        if not len(rows):
            return
        y = self.state if whole else self.state[rows]
        if not whole:
            noise = Increment(*(part[rows] for part in noise))
            s, h = (x[rows] if x.ndim else x for x in (s, h))
        noise = Increment(*(part.to(y) for part in noise))
        start = Start(rows, s, h, y)
        end = self.scheme.step(self.drift, self.spread, start, noise)
        sound = torch.isfinite(end.detach()).all(1)
        if bool(sound.all()):
            self.state = end if whole else self.state.index_put((rows,), end)
            self.n_steps[rows] += 1
            return
        if self.raises:
            raise SolverError(self._complaint(start, sound))
        self.rows = rows[sound]
        self.status[rows[~sound]] = int(Status.NON_FINITE)
        self._advance_rest(start, noise, sound)

    def _advance_rest(self, start: Start, noise: Increment, sound: Tensor) -> None:
        """The step again without the trajectories that broke off: their gradient would be no number."""
        if not len(self.rows):
            return
        s, h = (x[sound] if x.ndim else x for x in (start.s, start.h))
        again = Start(self.rows, s, h, start.y[sound])
        end = self.scheme.step(self.drift, self.spread, again, Increment(*(part[sound] for part in noise)))
        self.state = self.state.index_put((self.rows,), end)
        self.n_steps[self.rows] += 1

    def _complaint(self, start: Start, sound: Tensor) -> str:
        row = int(torch.nonzero(~sound).flatten()[0])
        s = start.s[row] if start.s.ndim else start.s
        cell, sample = divmod(int(start.rows[row]), self.n_samples)
        where = f"t={float(s):.6g} in {int((~sound).sum())} of {len(sound)} trajectories (first: cell {cell}"
        where += f", sample {sample})"
        with torch.no_grad():
            one = start.y[row : row + 1]
            at = start.s[row : row + 1] if start.s.ndim else start.s
            here = start.rows[row : row + 1]
            for name, part in (("drift", self.drift(at, one, here)), ("diffusion", self.spread(at, one, here))):
                if not bool(torch.isfinite(part).all()):
                    return (
                        f"The {name} is not finite at {where}, at a state of size {float(one.abs().max()):.3g}. Mend "
                        "it at these states, drop those cells or, if steps led too far, pass a smaller step= or "
                        "solver='implicit_euler'."
                    )
        size = float(start.h.max())
        return (
            f"A step of {size:.3g} overflows at {where}. Pass a smaller step=, or solver='implicit_euler' where the "
            "drift is stiff."
        )


def _first_values(drift: FieldSystem, spread: Spread, clock: Clock, y0: Tensor) -> tuple[Tensor, Tensor]:
    """Drift and diffusion at the start, of the precision of the states."""
    s = clock.fixed[..., 0]
    rows = torch.arange(len(y0), device=y0.device)
    slope = drift(s, y0, rows)
    if slope.dtype != y0.dtype:
        raise SolverError(f"The drift returned {slope.dtype} for states of {y0.dtype}. Let them agree.")
    return slope, spread(s, y0, rows)


def _noise_like(value: Tensor, y0: Tensor, scheme: Scheme, solver: str) -> Tensor:
    """A tensor of the shape of the noise."""
    if value.ndim == 2:
        return y0.detach()
    if not scheme.matrix:
        raise SolverError(
            f"The diffusion is a matrix {tuple(value.shape)}, and solver={solver!r} takes one value a state. "
            "Pass solver='euler_maruyama'."
        )
    return value.detach()[:, 0]


def _source(
    brownian: BrownianPath | None, generator: torch.Generator | None, like: Tensor, clock: Clock
) -> Fresh | BrownianPath:
    if brownian is None:
        return Fresh(torch.Generator().manual_seed(0) if generator is None else generator, like)
    if clock.fixed.ndim == 2:
        raise SolverError("brownian= follows one list of times. Pass ts of shape (time,), or generator= instead.")
    if brownian.shape != like.shape:
        raise SolverError(
            f"brownian= has the shape {brownian.shape} and the solve {tuple(like.shape)}, trajectories by noises. "
            f"Pass BrownianPath{tuple(like.shape)}."
        )
    return brownian


def _check(ts: Tensor, solver: str, *, step: float | None, n_samples: int) -> None:
    if solver not in SCHEMES:
        raise SolverError(f"solver={solver!r} is unknown. Pass one of {list(SCHEMES)}.")
    if not bool((torch.diff(ts.detach(), dim=-1) > 0).all()):
        raise SolverError("ts must increase strictly: noise has no way back. Sort it and drop repeated times.")
    if step is not None and not (math.isfinite(step) and step > 0):
        raise SolverError(f"step={step} must be positive. Leave it out for a hundredth of the time.")
    if n_samples < 1:
        raise SolverError(f"n_samples={n_samples} must be at least 1. Leave it out for one trajectory a cell.")
