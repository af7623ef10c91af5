"""What has to be known of a field before it is integrated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from scnode._errors import SolverError
from scnode._rows import at_rows

if TYPE_CHECKING:
    from torch import Tensor

    from scnode._typing import VectorField

_RANDOM = (torch.nn.modules.dropout._DropoutNd, torch.nn.modules.batchnorm._BatchNorm)


@dataclass(frozen=True)
class Facts:
    """A field at its initial states.

    Parameters
    ----------
    leaves
        Tensors behind the field that need gradients: parameters, inputs and whatever a closure captured.
    alone
        Whether a row's velocity is the same without the other rows, so that rows may leave the batch.
    autonomous
        Whether time plays no part.
    differentiable
        Whether gradients flow from the velocity to the state.
    row_bytes
        Memory that the graph of one evaluation keeps for each row.
    """

    leaves: list[Tensor]
    alone: bool
    autonomous: bool
    differentiable: bool
    row_bytes: int


def probe(field: VectorField, t: Tensor, t_end: Tensor, y: Tensor) -> Facts:
    """Evaluate the field at its start: all rows, and the last one alone."""
    _check_mode(field)
    with torch.no_grad():
        value = _call(field, t, y)
    if not isinstance(value, torch.Tensor) or value.shape != y.shape:
        seen = tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
        raise SolverError(
            f"The field returned shape {seen} for states of shape {tuple(y.shape)}. "
            "It must return one velocity for every row that it is given."
        )
    if value.dtype != y.dtype:
        raise SolverError(
            f"The field returned {value.dtype} for states of {y.dtype}. Convert the field or y0 so that they agree."
        )
    if not bool(torch.isfinite(value).all()):
        rows = torch.nonzero(~torch.isfinite(value).all(dim=1)).flatten()
        raise SolverError(
            f"The field is not finite at the start of {len(rows)} trajectories (first: {int(rows[0])}). "
            "Drop those rows, or mend the field at these states."
        )
    one, last = t[-1:] if t.ndim else t, at_rows(field, torch.tensor([len(y) - 1], device=y.device))
    alone = len(y) == 1 or _same_alone(last, one, y[-1:], value)
    field = last if alone else field
    at, states = (one, y[-1:]) if alone else (t, y)
    graph = _graph(field, at, states)
    autonomous = not graph.in_time and _same_later(field, at, t_end[-1:] if alone and t_end.ndim else t_end, states)
    differentiable = graph.in_state or _same_nearby(field, at, states)
    return Facts(graph.leaves, alone, autonomous, differentiable, graph.size // len(states))


def _call(field: VectorField, t: Tensor, y: Tensor) -> Tensor:
    try:
        return field(t, y)
    except Exception as error:
        error.add_note(
            f"scnode.ode.solve called field(t, y) with t of shape {tuple(t.shape)} and y of shape {tuple(y.shape)}. "
            "With control='per_cell' every row has its own time; pass control='shared' if t must be one number."
        )
        raise


def _owner(field: VectorField) -> torch.nn.Module | None:
    """The module that the field is, or is a method of."""
    owner = getattr(field, "__self__", field)
    return owner if isinstance(owner, torch.nn.Module) else None


def _check_mode(field: VectorField) -> None:
    owner = _owner(field)
    if owner is None:
        return
    for name, module in owner.named_modules():
        if module.training and isinstance(module, _RANDOM):
            raise SolverError(
                f"The field's {name or type(module).__name__} ({type(module).__name__}) is in training mode, "
                "so the field changes from call to call. Call field.eval() first."
            )


def _same_alone(field: VectorField, t: Tensor, y: Tensor, value: Tensor) -> bool:
    """Whether the last row gets the same velocity alone; a field that cannot take one row does not."""
    with torch.no_grad():
        try:
            single = field(t, y)
        except (RuntimeError, IndexError, ValueError):
            return False
    if single.shape != y.shape:
        return False
    slack = 1e4 * torch.finfo(y.dtype).eps * value[-1:].abs().amax()
    return bool(((single - value[-1:]).abs() <= slack).all())


def _same_later(field: VectorField, t: Tensor, t_end: Tensor, y: Tensor) -> bool:
    with torch.no_grad():
        now = field(t, y)
        return all(torch.equal(now, field(t + part * (t_end - t), y)) for part in (0.381966, 1.0))


def _same_nearby(field: VectorField, t: Tensor, y: Tensor) -> bool:
    with torch.no_grad():
        return torch.equal(field(t, y), field(t, y + 1e-3 * (1 + y.abs())))


@dataclass(frozen=True)
class _Graph:
    """What autograd knows of one evaluation."""

    leaves: list[Tensor]
    in_time: bool
    in_state: bool
    size: int


def _graph(field: VectorField, t: Tensor, y: Tensor) -> _Graph:
    time, states = t.detach().requires_grad_(), y.detach().requires_grad_()
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        try:
            value = field(time, states)
        except RuntimeError as error:
            if "requires grad" not in str(error):
                raise
            # The field leaves torch, which only a solve without gradients can forgive.
            return _Graph([], in_time=False, in_state=False, size=0)
    found = _leaves_behind(value)
    owner = _owner(field)
    if owner is not None:
        found |= {id(p): p for p in owner.parameters() if p.requires_grad}
    in_time, in_state = (found.pop(id(x), None) is not None for x in (time, states))
    own = {leaf.untyped_storage().data_ptr() for leaf in found.values()}
    size = sum(nbytes for pointer, nbytes in kept.items() if pointer not in own)
    return _Graph(list(found.values()), in_time, in_state, size)


def _leaves_behind(value: Tensor) -> dict[int, Tensor]:
    """Tensors that accumulate gradients at the ends of the graph of `value`."""
    found: dict[int, Tensor] = {}
    todo, seen = [value.grad_fn], set()
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found[id(node.variable)] = node.variable
        todo.extend(following for following, _ in node.next_functions)
    return found
