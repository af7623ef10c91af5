"""Finite-time Lyapunov exponents: how fast neighbours part."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch

from scnode._errors import SolverError
from scnode.ode._measure import jacobian as jacobian_of
from scnode.ode._measure import log_norm, spectral_norm, with_jacobian
from scnode.ode._solution import Status
from scnode.ode._solve import solve

if TYPE_CHECKING:
    from torch import Tensor

    from scnode._typing import VectorField

_NUMBERS = 2**20
# A GPU is slow by the call rather than by the number.
_NUMBERS_GPU = 2**26
_MAX_PIECES = 10_000
_MAX_TURNS = 20


def ftle(
    field: VectorField,
    y: Tensor,
    horizon: float | Tensor,
    *,
    t: float | Tensor = 0.0,
    rtol: float = 1e-4,
    atol: float = 1e-6,
    jacobian: VectorField | None = None,
    spectrum: bool = False,
    directions: Tensor | None = None,
    across: bool = False,
    on_failure: Literal["raise", "return"] = "raise",
) -> Tensor:
    r"""Finite-time Lyapunov exponent :math:`\Lambda = \frac{1}{|T|} \ln \sigma_{\max}(M)`, in 1/time.

    :math:`M = \partial\phi_t^{t+T} / \partial y` is how the flow over the horizon :math:`T` deforms a small ball
    around the state. It obeys the variational equation :math:`\dot M = J(t, y) M`, :math:`M(t) = I`, which is solved
    together with the state as :math:`M = e^s W` with

    .. math:: \dot W = (J - r) W, \quad \dot s = r, \quad r = \langle W, J W \rangle / \langle W, W \rangle,

    so that :math:`W` keeps its Frobenius norm: one solve serves any horizon, and neither growth nor decay overflows,
    underflows or slips below `atol`.

    For the whole spectrum the smaller singular values must not drown in the largest. The horizon is then cut so that
    no piece stretches one direction against another by more than the tolerances resolve, every piece starts from an
    orthonormal frame, and :math:`M = Q_K R_K \cdots R_1`. The exponents are
    :math:`\frac{1}{|T|} \ln \sigma_i(R_K \cdots R_1)` at every horizon, short or long, computed from the factors
    without forming a product that would lose them. They tend to the Lyapunov exponents as the horizon grows, and so
    do the more common :math:`\frac{1}{|T|} \sum_m \ln |(R_m)_{ii}|`, but those depend on the frame they started from.

    Parameters
    ----------
    field
        :math:`f`, called as ``field(t, y)``.
    y
        States, shape (batch, state).
    horizon
        :math:`T`, one number, or one of the same sign per state, shape (batch,). Negative: backward in time, where
        ridges attract.
    t
        Time at which the states are taken: one number, or one per state, shape (batch,).
    rtol, atol
        Tolerances of the solve.
    jacobian
        :math:`\partial f/\partial y`, called as ``jacobian(t, y)``; by default the field's own, else differentiation.
    spectrum
        Whether to return one exponent per direction.
    directions
        Independent displacements of the state to which the small ball is confined, shape (batch, state, direction);
        all by default.
    across
        Whether to leave out of :math:`M` what it moves along the flow at the end, :math:`(I - \hat f \hat f^\top) M`
        with :math:`\hat f` the direction of the field there: states that only run ahead of each other on one path do
        not part then.
    on_failure
        ``"raise"``, or ``"return"`` NaN for trajectories that do not arrive: backward in time many fields run to
        infinity.

    Returns
    -------
    Tensor
        Shape (batch,), or (batch, direction) in falling order with `spectrum`. Without gradient.

    Raises
    ------
    SolverError
        A horizon of 0 or of the wrong shape, directions of the wrong shape or not independent, `across` with
        `spectrum`, a trajectory that cannot be integrated to its end, or directions that part too fast for the
        spectrum.

    Examples
    --------
    >>> import torch
    >>> from scnode import ode
    >>> ode.ftle(lambda t, y: torch.tensor([2.0, -1.0]) * y, torch.zeros(1, 2), 1.5)
    tensor([2.0000])

    References
    ----------
    :cite:p:`Shadden2005`, :cite:p:`Benettin1980`, :cite:p:`Stewart1997`
    """
    length = torch.as_tensor(horizon, dtype=y.dtype, device=y.device).detach()
    one_sign = bool((length > 0).all()) or bool((length < 0).all())
    if y.ndim != 2 or length.shape not in {(), y.shape[:1]} or not one_sign:
        raise SolverError(
            f"horizon has shape {tuple(length.shape)} for states of shape {tuple(y.shape)}; "
            "pass one number other than 0, or one of the same sign for each state, (batch,)."
        )
    if spectrum and across:
        raise SolverError("across=True has no spectrum: it leaves one direction out. Pass one of the two.")
    frames = _identity(y.detach()) if directions is None else _frames(directions.detach(), y)
    known, options = with_jacobian(field, jacobian), {"rtol": rtol, "atol": atol, "on_failure": on_failure}
    most = _NUMBERS if y.device.type == "cpu" else _NUMBERS_GPU
    rows = max(1, most // (frames[0].numel() + y.shape[1] + 1)) if len(y) else 1
    measure = _spectrum if spectrum else partial(_largest, across=across)
    begin = torch.as_tensor(t, dtype=y.dtype, device=y.device).detach().expand(len(y))
    tangents = Tangents(known, y.shape[1], **options)
    with torch.no_grad():
        cells = (y.detach(), frames, begin, length.expand(len(y)))
        parts = [measure(tangents, *part) for part in zip(*(each.split(rows) for each in cells), strict=True)]
    return torch.cat(parts) if parts else y.new_zeros((0, frames.shape[2]) if spectrum else 0)


def _frames(directions: Tensor, y: Tensor) -> Tensor:
    """Orthonormal bases of the displacements."""
    if directions.ndim != 3 or directions.shape[:2] != y.shape or not 1 <= directions.shape[2] <= y.shape[1]:
        raise SolverError(
            f"directions has shape {tuple(directions.shape)} for states of shape {tuple(y.shape)}; "
            f"pass (batch, state, direction) with 1 to {y.shape[1]} of them."
        )
    frames, upper = torch.linalg.qr(directions.to(torch.float64))
    sizes = upper.diagonal(dim1=1, dim2=2).abs()
    if not bool((sizes.amin(1) > 1e-6 * sizes.amax(1)).all()):
        raise SolverError("directions are not finite or not independent at some states. Pass a basis of what is asked.")
    return frames.to(y.dtype)


class Tangents(torch.nn.Module):
    r"""The state, its normalised tangents :math:`W` and their log size :math:`s` as one field."""

    def __init__(self, field: VectorField, n_states: int, **options: Any) -> None:
        super().__init__()
        self.field, self.n_states, self.options = field, n_states, options

    def forward(self, t: Tensor, joint: Tensor) -> Tensor:
        """Velocity of (y, W, s), shape (batch, state + state * direction + 1)."""
        y, w = joint[:, : self.n_states], joint[:, self.n_states : -1].unflatten(1, (self.n_states, -1))
        matrix = jacobian_of(self.field, y, t=t, create_graph=torch.is_grad_enabled() and joint.requires_grad)
        turned = matrix @ w
        rate = (w * turned).sum((1, 2)) / w.square().sum((1, 2))
        turned = turned - rate[:, None, None] * w
        return torch.cat([self.field(t, y), turned.flatten(1), rate.unsqueeze(1)], dim=1)

    def carry(self, y: Tensor, frame: Tensor, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """State, normalised tangents and log size at `end`, from `y` and `frame` at `start`, and who arrived."""
        joint = torch.cat([y, frame.flatten(1), y.new_zeros(len(y), 1)], dim=1)
        ts = torch.stack([start, end], dim=1)
        ts = ts[0] if bool((ts == ts[0]).all()) else ts
        solution = solve(self, joint, ts, **self.options)
        joint = solution.ys[:, -1]
        w = joint[:, self.n_states : -1].unflatten(1, frame.shape[1:])
        return joint[:, : self.n_states], w, joint[:, -1], solution.status == Status.SUCCESS


def _largest(tangents: Tangents, y: Tensor, frame: Tensor, t: Tensor, length: Tensor, *, across: bool) -> Tensor:
    end, w, scale, arrived = tangents.carry(y, frame, t, t + length)
    if across:
        # At rest there is no along, and the direction is zero.
        along = torch.nn.functional.normalize(tangents.field(t + length, end), dim=1).unsqueeze(2)
        w = w - along @ (along.transpose(1, 2) @ w)
    return ((scale + spectral_norm(w).log()) / length.abs()).masked_fill(~arrived, torch.nan)


def _spectrum(tangents: Tangents, y: Tensor, frame: Tensor, t: Tensor, length: Tensor) -> Tensor:
    """One frame, many pieces: the fraction of the horizon that a piece may take is that of the worst state."""
    budget = -0.5 * math.log(max(tangents.options["rtol"], torch.finfo(y.dtype).eps))
    scale = torch.zeros(len(y), dtype=torch.float64, device=y.device)
    lost = torch.zeros(len(y), dtype=torch.bool, device=y.device)
    factors: list[Tensor] = []
    done, step = 0.0, _first_piece(tangents, y, t, length, budget)
    for _ in range(_MAX_PIECES):
        after = 1.0 if done + step > 1 - 1e-6 else done + step
        ahead, w, grown, arrived = tangents.carry(y, frame, t + done * length, t + after * length)
        lost |= ~arrived
        stretch, step = _log_condition(w[~lost]), after - done
        if stretch <= 2 * budget:
            y, done, scale = torch.where(lost.unsqueeze(1), y, ahead), after, scale + grown
            turned, upper = torch.linalg.qr(w.to(torch.float64))
            frame = turned.to(y.dtype)
            factors.append(upper)
        if done == 1.0:
            logs = (scale.unsqueeze(1) + _log_singular_values(factors)).masked_fill(lost.unsqueeze(1), torch.nan)
            return (logs / length.abs().unsqueeze(1)).to(y.dtype)
        step *= min(max(budget / max(stretch, 1e-3), 0.1), 2.0)
    raise SolverError(
        f"The directions part too fast: {_MAX_PIECES} pieces reached {done:.1%} of the horizon. "
        "Shorten `horizon`, or leave out `spectrum` for the largest exponent alone."
    )


def _first_piece(tangents: Tangents, y: Tensor, t: Tensor, length: Tensor, budget: float) -> float:
    r"""Fraction in which the directions part at most by the budget at the present rates, :math:`\mu(J) + \mu(-J)`."""
    matrix = jacobian_of(tangents.field, y, t=t)
    rate = ((log_norm(matrix) + log_norm(-matrix)) * length.abs()).max().item()
    return min(1.0, budget / max(rate, 1e-12))


def _identity(y: Tensor) -> Tensor:
    return torch.eye(y.shape[1], dtype=y.dtype, device=y.device).expand(len(y), -1, -1)


def _log_condition(w: Tensor) -> float:
    sizes = torch.linalg.svdvals(w.to(torch.float64))
    worst = (sizes[:, 0] / sizes[:, -1].clamp(min=torch.finfo(torch.float64).tiny)).log()
    return worst.max().item() if len(w) else 0.0


def _log_singular_values(factors: list[Tensor]) -> Tensor:
    r"""Logarithms of the singular values of :math:`R_K \cdots R_1`, falling, shape (batch, state).

    Where they lie within 16 e-folds, double precision holds the product. Beyond, :math:`P = R_K \cdots R_1` is turned
    into the triangular factors of its transpose, over and over: this is the QR iteration on :math:`P^T P`, and the
    diagonal converges the faster the farther the singular values lie apart.
    """
    product, scale = factors[0], torch.zeros_like(factors[0][:, 0, 0])
    for factor in factors[1:]:
        product = factor @ product
        size = torch.linalg.matrix_norm(product)
        product, scale = product / size[:, None, None], scale + size.log()
    sizes = torch.linalg.svdvals(product)
    held = (sizes[:, -1:] > sizes[:, :1] * math.exp(-16)).expand_as(sizes)
    logs = scale.unsqueeze(1) + sizes.clamp(min=torch.finfo(sizes.dtype).tiny).log()
    if bool(held.all()):
        return logs
    turned, last = factors, _log_diagonals(factors)
    for _ in range(_MAX_TURNS):
        turned = _transposed(turned)
        before, last = last, _log_diagonals(turned)
        if bool(((last - before).abs() < 1e-9).logical_or(held).all()):
            break
    return torch.where(held, logs, last.sort(dim=1, descending=True).values)


def _transposed(factors: list[Tensor]) -> list[Tensor]:
    """Upper triangular factors of the transposed product, up to an orthogonal matrix in front."""
    frame = torch.eye(factors[0].shape[-1], dtype=factors[0].dtype, device=factors[0].device)
    turned = []
    for factor in reversed(factors):
        frame, upper = torch.linalg.qr(factor.mT @ frame)
        turned.append(upper)
    return turned


def _log_diagonals(factors: list[Tensor]) -> Tensor:
    return torch.stack([factor.diagonal(dim1=1, dim2=2).abs().log() for factor in factors]).sum(dim=0)
