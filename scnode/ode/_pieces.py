"""Integrate a field that changes at known times."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from scnode._errors import SolverError
from scnode.ode._solution import Solution, Stats
from scnode.ode._solve import solve

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from scnode._typing import VectorField


def solve_pieces(
    fields: Sequence[VectorField],
    breaks: Tensor,
    y0: Tensor,
    ts: Tensor,
    *,
    jacobians: Sequence[Callable[[Tensor, Tensor], Tensor]] | None = None,
    jumps: Sequence[Callable[[Tensor], Tensor]] | None = None,
    **options: Any,
) -> Solution:
    r"""Integrate :math:`\dot y = f_k(t, y)` for :math:`b_k \le t < b_{k+1}`, each piece on its own.

    A step across a jump has an error that no estimate sees: a fixed one makes it, an adaptive one is refused until it
    is tiny. Here every piece begins and ends with a step, and is smooth within, so that each method keeps its order.

    Parameters
    ----------
    fields
        One more than `breaks`: before the first, between, and after the last. Each is called at both of its ends.
    breaks
        Strictly increasing times, shape (break,), which may carry a gradient.
    y0
        Initial states, shape (batch, state).
    ts
        Strictly monotone times, forward or backward, shape (time,); without a break (batch, time) too.
    jacobians
        One for each field.
    jumps
        What becomes of the states (batch, state) at each break, before the next piece begins; a state asked for at a
        break is that after it. Forward in time only.
    **options
        Passed to :func:`scnode.ode.solve`.

    Returns
    -------
    Solution
        As of one solve; counts are sums over the pieces, `stiffness` is that of the first, and there is no
        `sensitivity`, though gradients of every method pass from piece to piece.

    Raises
    ------
    SolverError
        Numbers of fields, breaks and jumps that do not fit, breaks that do not increase, jumps backward in time, times
        for each trajectory of its own, or what :func:`scnode.ode.solve` raises.
    """
    if len(fields) == 1 and not len(breaks):
        return solve(fields[0], y0, ts, jacobian=None if jacobians is None else jacobians[0], **options)
    _check(len(fields), breaks, ts, jumps)
    breaks = breaks.to(device=y0.device, dtype=torch.float64)
    times = ts.to(device=y0.device, dtype=torch.float64)
    chain = _Chain(y0)
    for number, start, end in _legs(breaks, times):
        inside = times[_between(times, start, end)]
        leg = torch.cat([start[None], inside, end[None]])
        own: dict[str, Any] = {} if jacobians is None else {"jacobian": jacobians[number]}
        part, asked = solve(fields[number], chain.y, leg, **own, **options), bool((times == end).any())
        ends = jumps is not None and number < len(breaks) and bool(end == breaks[number])
        chain = chain.then(part, last=asked, jump=jumps[number] if jumps is not None and ends else None)
    return chain.solution(ts)


def _check(n_fields: int, breaks: Tensor, ts: Tensor, jumps: Sequence[Any] | None) -> None:
    if ts.ndim != 1 or len(ts) < 2:
        raise SolverError(f"ts has shape {tuple(ts.shape)}: pieces share their times. Pass two or more, as (time,).")
    if breaks.ndim != 1 or n_fields != len(breaks) + 1 or not bool((breaks.diff() > 0).all()):
        raise SolverError(
            f"{n_fields} fields do not go with breaks {breaks.tolist()}. Pass increasing breaks, and one field more."
        )
    if jumps is not None and (len(jumps) != len(breaks) or not bool(ts[-1] > ts[0])):
        raise SolverError(
            f"{len(jumps)} jumps do not go with {len(breaks)} breaks from {float(ts[0]):g} to {float(ts[-1]):g}. Pass "
            "one for each break, and increasing times."
        )


def _legs(breaks: Tensor, times: Tensor) -> list[tuple[int, Tensor, Tensor]]:
    """Number of the field, start and end of every piece on the way."""
    first, last = times[0], times[-1]
    low, high = (first, last) if bool(last > first) else (last, first)
    inner = torch.nonzero((breaks > low) & (breaks < high)).flatten().tolist()
    number = int((breaks <= low).sum())
    edges = [low, *(breaks[i] for i in inner), high]
    legs = [(number + k, edges[k], edges[k + 1]) for k in range(len(edges) - 1)]
    return legs if low is first else [(k, end, start) for k, start, end in reversed(legs)]


def _between(times: Tensor, start: Tensor, end: Tensor) -> Tensor:
    return (times > torch.minimum(start, end)) & (times < torch.maximum(start, end))


@dataclass(frozen=True)
class _Chain:
    """What the pieces so far have given."""

    y: Tensor
    ys: tuple[Tensor, ...] = ()
    costs: tuple[Tensor, ...] = ()
    paid: Tensor | None = None
    parts: tuple[Solution, ...] = ()

    def then(self, part: Solution, *, last: bool, jump: Callable[[Tensor], Tensor] | None) -> _Chain:
        """With one piece more, whose end is asked for where it is the `last` of its times, and what follows it."""
        # A trajectory that was lost in an earlier piece stays where it is.
        lost = self.status.bool()[:, None, None] if self.parts else None
        ys = part.ys if lost is None else torch.where(lost, self.y.unsqueeze(1), part.ys)
        if jump is not None:
            ys = torch.cat([ys[:, :-1], jump(ys[:, -1]).unsqueeze(1)], 1)
        kept = slice(1, None if last else -1)
        cost, paid = self.costs, self.paid
        if part.cost is not None:
            total = part.cost if self.paid is None else part.cost + self.paid[:, None]
            cost, paid = (*cost, total[:, kept]), total[:, -1]
        return replace(self, y=ys[:, -1], ys=(*self.ys, ys[:, kept]), costs=cost, paid=paid, parts=(*self.parts, part))

    @property
    def status(self) -> Tensor:
        """The first trouble of every trajectory."""
        status = self.parts[0].status
        for part in self.parts[1:]:
            status = torch.where(status == 0, part.status, status)
        return status

    def solution(self, ts: Tensor) -> Solution:
        """All pieces as one."""
        first = self.parts[0]
        ys = torch.cat([first.ys[:, :1], *self.ys], 1)
        cost = torch.cat([torch.zeros_like(self.costs[0][:, :1]), *self.costs], 1) if self.costs else None
        counts = {
            name: sum(getattr(part.stats, name) for part in self.parts[1:]) + value
            for name, value in vars(first.stats).items()
        }
        return Solution(ts, ys, Stats(**counts), self.status, cost=cost, stiffness=first.stiffness)
