"""Pointwise measures of a vector field by its Jacobian."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from scnode._errors import SolverError
from scnode._rows import at_rows

if TYPE_CHECKING:
    from torch import Tensor

    from scnode._typing import VectorField


_HIDDEN = (
    "The field changes with the state but torch cannot see how. Write it in torch operations without "
    ".detach(), .data, no_grad() or numpy, or give it a method jacobian(t, y)."
)


def jacobian(field: VectorField, y: Tensor, *, t: float | Tensor = 0.0, create_graph: bool = False) -> Tensor:
    r"""Jacobian :math:`J_{ij} = \partial f_i / \partial y_j` at every state, in units of 1/time.

    Parameters
    ----------
    field
        :math:`f`, called as ``field(t, y)`` on a batch; rows must not depend on each other. A method
        ``jacobian(t, y)`` of this object is used in place of differentiation.
    y
        States, shape (batch, state).
    t
        Time at which a time-dependent field is taken: one number, or one per state, shape (batch,) or (batch, 1).
    create_graph
        Whether the result can be differentiated, by `y` and by the parameters of the field.

    Returns
    -------
    Tensor
        Shape (batch, state, state).

    Raises
    ------
    SolverError
        A state, value or Jacobian of the wrong shape, or a field that torch cannot differentiate.

    Examples
    --------
    >>> import torch
    >>> from scnode import ode
    >>> ode.jacobian(lambda t, y: y**2, torch.tensor([[3.0]]))
    tensor([[[6.]]])
    """
    if y.ndim != 2 or not y.is_floating_point():
        raise SolverError(f"y has shape {tuple(y.shape)} and dtype {y.dtype}; pass floats of shape (batch, state).")
    time = torch.as_tensor(t, dtype=y.dtype, device=y.device)
    time = time.unsqueeze(1) if time.ndim == 1 else time
    closed = getattr(field, "jacobian", None)
    if closed is None:
        return _sweeps(field, time, y, create_graph=create_graph)
    with torch.set_grad_enabled(create_graph and torch.is_grad_enabled()):
        value = closed(time, y)
    if value.shape != (*y.shape, y.shape[1]):
        raise SolverError(
            f"The Jacobian has shape {tuple(value.shape)} for states of shape {tuple(y.shape)}. "
            f"Return (batch, state, state), here {(*y.shape, y.shape[1])}."
        )
    return value


def divergence(jacobians: Tensor) -> Tensor:
    r"""Rate of volume growth :math:`\nabla\cdot f = \mathrm{tr} J` in 1/time, shape (batch,)."""
    return jacobians.diagonal(dim1=-2, dim2=-1).sum(-1)


def spectral_norm(jacobians: Tensor) -> Tensor:
    r"""Largest singular value :math:`\|J\|_2 = \sqrt{\lambda_{\max}(J^T J)}` in 1/time, shape (batch,).

    It is the local Lipschitz constant of the field. Squaring costs the small singular values their digits, not this
    one, so it is as exact as a singular value decomposition.
    """
    exact = _exact(jacobians)
    # The scale keeps the square in range; the norm is homogeneous, so the gradient does not see it.
    scale = exact.detach().abs().amax((-2, -1), keepdim=True)
    scaled = exact / scale.clamp(min=torch.finfo(exact.dtype).tiny)
    squared = torch.linalg.eigvalsh(scaled.mT @ scaled)[..., -1].clamp(min=torch.finfo(exact.dtype).tiny)
    return (scale[..., 0, 0] * squared.sqrt()).to(jacobians.dtype)


def eigenvalues(jacobians: Tensor) -> Tensor:
    r"""Eigenvalues :math:`\lambda` of :math:`J` in 1/time, complex, shape (batch, state).

    Sorted by falling real part, and by falling imaginary part among equal ones: first what grows fastest, or decays
    slowest. :math:`1 / |\mathrm{Re} \lambda|` is the time to change e-fold, :math:`2 \pi / |\mathrm{Im} \lambda|` a
    period.
    """
    values = torch.linalg.eigvals(_exact(jacobians))
    values = values.gather(-1, values.imag.argsort(dim=-1, descending=True, stable=True))
    values = values.gather(-1, values.real.argsort(dim=-1, descending=True, stable=True))
    return values.to(jacobians.dtype.to_complex())


def log_norm(jacobians: Tensor) -> Tensor:
    r"""Logarithmic norm :math:`\mu_2(J) = \lambda_{\max}((J + J^T) / 2)` in 1/time, shape (batch,).

    Neighbours part no faster than at this rate; where it is negative, they approach. :math:`|\mu_2| \le \|J\|_2`.

    References
    ----------
    :cite:p:`Soderlind2006`
    """
    exact = _exact(jacobians)
    return torch.linalg.eigvalsh((exact + exact.mT) / 2)[..., -1].to(jacobians.dtype)


class WithJacobian(torch.nn.Module):
    """A field with the Jacobian that the caller brought."""

    def __init__(self, field: VectorField, jacobian: VectorField) -> None:
        super().__init__()
        self.field, self.jacobian = field, jacobian

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """Velocity, shape (batch, state)."""
        return self.field(t, y)

    def at_rows(self, rows: Tensor) -> WithJacobian:
        """Both, of some rows alone."""
        return WithJacobian(at_rows(self.field, rows), at_rows(self.jacobian, rows))


def with_jacobian(field: VectorField, jacobian: VectorField | None) -> VectorField:
    """The field, with `jacobian` in place of its own where one is given."""
    return field if jacobian is None else WithJacobian(field, jacobian)


def jacobians_along(field: VectorField, ts: Tensor, ys: Tensor) -> Tensor:
    """Jacobians at states (batch, time, state) and times (time,) or (batch, time), (batch, time, state, state)."""
    times = ts.expand(ys.shape[:2]).reshape(-1, 1)
    return jacobian(field, ys.flatten(0, 1), t=times).unflatten(0, ys.shape[:2])


def conserved(jacobians: Tensor) -> tuple[Tensor, Tensor]:
    r"""Directions :math:`w` with :math:`w^T J = 0` in all the Jacobians of one trajectory.

    Rows are brought to unit length before the rank is judged, so that a slow component is not taken for a constant
    one.

    Parameters
    ----------
    jacobians
        Shape (batch, point, state, state).

    Returns
    -------
    tuple
        How many there are, shape (batch,), and an orthonormal basis in double precision, shape (batch, state, state),
        whose last columns they are.
    """
    aside = _exact(jacobians).transpose(1, 2).flatten(2)
    length = aside.norm(dim=2, keepdim=True)
    length = torch.where(length > 0, length, torch.ones_like(length))
    left, sizes, _ = torch.linalg.svd(aside / length, full_matrices=False)
    null = sizes <= rank_tolerance(jacobians) * sizes[:, :1]
    directions = left / length
    # Null directions are the last: turned to the front, a QR decomposition makes them orthonormal first.
    basis = torch.linalg.qr((directions / directions.norm(dim=1, keepdim=True)).flip(2)).Q.flip(2)
    return null.sum(dim=1), basis


def rank_tolerance(jacobians: Tensor) -> float:
    """Size, relative to the largest, below which a singular value or an eigenvalue is rounding."""
    return 16 * jacobians.shape[-1] * torch.finfo(jacobians.dtype).eps


def _exact(jacobians: Tensor) -> Tensor:
    """In double precision, which costs little beside the decomposition that follows."""
    if not bool(torch.isfinite(jacobians).all()):
        bad = torch.nonzero(~torch.isfinite(jacobians).flatten(1).all(dim=1)).flatten()
        raise SolverError(
            f"{len(bad)} of {len(jacobians)} Jacobians are not finite (first: {int(bad[0])}). "
            "The field or its derivative overflows there: drop those states or rescale the field."
        )
    return jacobians.to(torch.float64)


def _sweeps(field: VectorField, t: Tensor, y: Tensor, *, create_graph: bool) -> Tensor:
    """One reverse sweep per output: on a CPU this beats vmap over the same sweeps."""
    with torch.enable_grad():
        states = y if create_graph and y.requires_grad else y.detach().requires_grad_()
        try:
            value = field(t, states)
        except RuntimeError as error:
            if "requires grad" not in str(error):
                raise
            raise SolverError(_HIDDEN) from error
        if value.shape != y.shape:
            raise SolverError(f"The field returned shape {tuple(value.shape)} for states of shape {tuple(y.shape)}.")
        if not value.requires_grad:
            return _constant(field, t, y, value)
        last = value.shape[1] - 1
        rows = []
        for i in range(last + 1):
            (row,) = torch.autograd.grad(
                value[:, i].sum(), states, retain_graph=create_graph or i < last, create_graph=create_graph,
                allow_unused=True,
            )  # fmt: skip
            if row is None:
                return _constant(field, t, y, value)
            rows.append(row)
    return torch.stack(rows, dim=1)


def _constant(field: VectorField, t: Tensor, y: Tensor, value: Tensor) -> Tensor:
    """Zeros for a field that does not depend on the state; one that does, behind torch's back, is refused."""
    moved = field(t, y.detach() + 1e-3 * (1 + y.detach().abs()))
    if not torch.equal(value.detach(), moved.detach()):
        raise SolverError(_HIDDEN)
    return y.new_zeros(*y.shape, y.shape[1])
