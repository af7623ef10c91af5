import math

import numpy as np
import pytest
import torch
from scipy.linalg import expm, solve_continuous_lyapunov, solve_discrete_lyapunov

from scnode import SolverError, ode

A = np.array([[-1.0, 2.0, 0.0], [-2.0, -1.0, 0.5], [0.0, 0.0, -0.5]])
G = np.array([0.5, 0.3, 0.8])
DOUBLE = torch.float64
UNIT = torch.tensor([0.0, 1.0], dtype=DOUBLE)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def drift(t, y):
    return y @ torch.tensor(A.T)


def diffusion(t, y):
    return torch.tensor(G).expand_as(y)


def known(solver, h):
    """Mean at time 1 from a unit start, and stationary covariance: of the equation, or of the recursion of a method."""
    same = np.eye(3)
    if solver == "srk2":
        return expm(A), solve_continuous_lyapunov(A, -np.diag(G**2))
    turn, kick = (same + h * A, same) if solver == "euler_maruyama" else 2 * (np.linalg.inv(same - h * A),)
    return np.linalg.matrix_power(turn, round(1 / h)), solve_discrete_lyapunov(turn, h * kick @ np.diag(G**2) @ kick.T)


@pytest.mark.parametrize("solver", ode.SDE_SOLVERS)
def test_a_linear_equation_has_its_mean_and_stationary_variance(solver):
    """z-scores against the matrix exponential and the Lyapunov equation, the methods of order 1 against their own."""
    n, h = 4000, 0.02
    y0 = torch.tensor([[2.0, -1.0, 1.0]], dtype=DOUBLE)
    ts = torch.tensor([0.0, 1.0, 16.0], dtype=DOUBLE)
    ys = ode.solve_sde(drift, diffusion, y0, ts, step=h, solver=solver, n_samples=n, generator=seeded(1)).ys[0]
    middle, end = ys[:, 1].numpy(), ys[:, 2].numpy()
    turned, stationary = known(solver, h)
    z = (middle.mean(0) - turned @ y0[0].numpy()) / (middle.std(0) / math.sqrt(n))
    assert np.abs(z).max() < 3.5
    # The variance of a sample covariance is (s_ii s_jj + s_ij^2) / n.
    size = np.diag(stationary)
    z = (np.cov(end.T) - stationary) / np.sqrt((np.outer(size, size) + stationary**2) / n)
    assert np.abs(z).max() < 3.5


@pytest.mark.parametrize("form", ["scalar", "row", "state"])
def test_forms_of_a_diagonal_diffusion_agree(form):
    forms = {
        "scalar": lambda t, y: torch.tensor(0.4, dtype=DOUBLE),
        "row": lambda t, y: y.new_full((len(y),), 0.4),
        "state": lambda t, y: torch.full_like(y, 0.4),
    }
    y0 = torch.ones(3, 2, dtype=DOUBLE)
    whole = ode.solve_sde(lambda t, y: -y, lambda t, y: 0.4 * torch.ones_like(y), y0, UNIT, generator=seeded()).ys
    assert torch.equal(ode.solve_sde(lambda t, y: -y, forms[form], y0, UNIT, generator=seeded()).ys, whole)


def test_same_seed_same_path_and_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    y0 = torch.zeros(4, 3, dtype=DOUBLE)
    runs = [
        ode.solve_sde(drift, diffusion, y0, UNIT, n_samples=2, generator=g).ys
        for g in (seeded(3), seeded(3), seeded(4), None, None)
    ]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
    assert torch.equal(runs[3], runs[4])
    assert not torch.equal(runs[0][:, 0], runs[0][:, 1])
    assert torch.equal(torch.get_rng_state(), before)


def test_a_finer_solve_follows_the_same_path():
    """Half the step halves the error along one path; along another there is nothing to compare."""
    y0 = torch.ones(500, 3, dtype=DOUBLE)
    path = ode.BrownianPath(500, 3, generator=seeded(5))
    ends = [
        ode.solve_sde(drift, diffusion, y0, UNIT, step=h, solver="euler_maruyama", brownian=path).ys[:, 0, -1]
        for h in (0.1, 0.05, 0.00625)
    ]
    coarse, fine = ((end - ends[2]).norm(dim=1).mean() for end in ends[:2])
    assert 1.5 < coarse / fine < 3
    other = ode.solve_sde(drift, diffusion, y0, UNIT, step=0.1, solver="euler_maruyama", generator=seeded(6)).ys[
        :, 0, -1
    ]
    assert (other - ends[2]).norm(dim=1).mean() > 5 * coarse


def test_every_cell_may_have_its_own_times():
    """Variance of Brownian motion at the end of each cell's own interval."""
    ts = torch.tensor([[0.0, 1.0], [1.0, 1.25], [0.0, 4.0]], dtype=DOUBLE)
    y0 = torch.zeros(3, 1, dtype=DOUBLE)
    seen = []

    def still(t, y):
        seen.append(t.shape)
        return 0 * y

    found = ode.solve_sde(still, lambda t, y: torch.ones_like(y), y0, ts, n_samples=4000, generator=seeded(1), step=1.0)
    assert found.ys.shape == (3, 4000, 2, 1)
    assert found.ys[:, :, -1, 0].var(1).tolist() == pytest.approx([1.0, 0.25, 4.0], rel=0.08)
    assert seen[0] == (12_000, 1)
    assert found.stats.n_steps.unique().tolist() == [4]
    assert found.stats.largest_step == 1.0


class Both(torch.nn.Module):
    """A drift and a diffusion with one parameter each."""

    def __init__(self):
        super().__init__()
        self.rate = torch.nn.Parameter(torch.tensor(0.8, dtype=DOUBLE))
        self.strength = torch.nn.Parameter(torch.tensor(0.4, dtype=DOUBLE))

    def drift(self, t, y):
        return torch.sin(y * self.rate) - 0.1 * y

    def diffusion(self, t, y):
        return self.strength * torch.cosh(0.3 * y)

    def loss(self, y0, solver):
        ts = torch.tensor([0.0, 0.4, 1.0], dtype=DOUBLE)
        options = {"step": 0.1, "solver": solver, "n_samples": 3, "generator": seeded(9)}
        return ode.solve_sde(self.drift, self.diffusion, y0, ts, **options).ys.square().sum()


@pytest.mark.parametrize("solver", ode.SDE_SOLVERS)
def test_gradients_agree_with_differences_along_fixed_noise(solver):
    both, y0 = Both(), torch.tensor([[0.5, -1.0], [1.5, 0.2]], dtype=DOUBLE, requires_grad=True)
    gradients = torch.autograd.grad(both.loss(y0, solver), [both.rate, both.strength, y0])
    for tensor, gradient in zip([both.rate, both.strength, y0], gradients, strict=True):
        flat = tensor.data.reshape(-1)
        for i, value in enumerate(flat.tolist()):
            sides = []
            for shift in (1e-5, -1e-5):
                flat[i] = value + shift
                sides.append(both.loss(y0, solver).item())
            flat[i] = value
            assert gradient.reshape(-1)[i].item() == pytest.approx((sides[0] - sides[1]) / 2e-5, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("solver", ode.SDE_SOLVERS)
def test_there_is_a_graph_only_where_one_is_asked_for(solver):
    y0 = torch.ones(2, 3, dtype=DOUBLE)
    assert not ode.solve_sde(drift, diffusion, y0, UNIT, solver=solver).ys.requires_grad
    strength = torch.tensor(0.3, dtype=DOUBLE, requires_grad=True)
    assert ode.solve_sde(drift, lambda t, y: strength, y0, UNIT, solver=solver).ys.requires_grad
    with torch.no_grad():
        assert not ode.solve_sde(drift, lambda t, y: strength, y0, UNIT, solver=solver).ys.requires_grad


def explode(t, y):
    """Infinite in a finite time, but not from below."""
    return torch.where(y > 0, y**3, -y)


def test_a_trajectory_that_breaks_off_names_time_cell_and_remedy():
    y0 = torch.tensor([[-1.0], [2.0]], dtype=DOUBLE)
    with pytest.raises(
        SolverError, match=r"at t=0\.\d+ in 2 of 4 trajectories \(first: cell 1, sample 0\).*smaller step="
    ):
        ode.solve_sde(explode, None, y0, UNIT, step=0.05, n_samples=2)
    huge = torch.tensor([[1e200]], dtype=DOUBLE)
    with pytest.raises(SolverError, match=r"A step of 0\.5 overflows at t=0 in 1 of 1 .*solver='implicit_euler'"):
        ode.solve_sde(lambda t, y: -1e108 * y, None, huge, UNIT, step=0.5)


def test_what_broke_off_keeps_its_last_state_and_no_gradient_is_spoilt():
    y0 = torch.tensor([[-1.0], [2.0], [-0.5]], dtype=DOUBLE, requires_grad=True)
    ts = torch.tensor([0.0, 0.05, 1.0], dtype=DOUBLE)
    found = ode.solve_sde(explode, None, y0, ts, step=0.05, on_failure="return")
    assert found.status[:, 0].tolist() == [ode.Status.SUCCESS, ode.Status.NON_FINITE, ode.Status.SUCCESS]
    assert torch.isfinite(found.ys).all()
    steps = found.stats.n_steps[:, 0]
    assert steps[0] == steps[2] == 20
    assert steps[1] < 20
    assert found.ys[0, 0, -1].item() == pytest.approx(-math.exp(-1), rel=1e-2)
    (gradient,) = torch.autograd.grad(found.ys[:, 0, -1].sum(), y0)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("broken", "fix"),
    [
        (lambda t, y: -torch.ones_like(y), r"negative at t=0 in 2 of 2 .*cell 0, sample 0.*softplus"),
        (lambda t, y: torch.where(y > 10, 1.0, y.new_tensor(math.nan)), "The diffusion is not finite at t=0 "),
        (lambda t, y: torch.ones(len(y), 5, dtype=DOUBLE), "one\n? ?standard|standard deviation a state"),
        (lambda t, y: torch.ones_like(y).float(), "torch.float32 for states of torch.float64"),
        (lambda t, y: torch.ones(len(y), 2, 3, dtype=DOUBLE), "Pass solver='euler_maruyama'"),
    ],
    ids=["negative", "nan", "shape", "dtype", "matrix"],
)
def test_a_diffusion_that_cannot_be_is_told(broken, fix):
    with pytest.raises(SolverError, match=fix):
        ode.solve_sde(lambda t, y: -y, broken, torch.ones(2, 2, dtype=DOUBLE), UNIT)


@pytest.mark.parametrize("ndim", [1, 2])
def test_a_diffusion_that_turns_negative_on_the_way_names_time_and_cell(ndim):
    def turning(t, y):
        level = torch.where(y[:, 0] > 1.5, 0.75 - t, 1.0)
        return level if ndim == 1 else level[:, None].expand_as(y)

    y0 = torch.tensor([[0.0, 0.0], [0.0, 0.0], [2.0, 0.0]], dtype=DOUBLE)
    options = {"n_samples": 2, "solver": "euler_maruyama", "step": 0.1}
    with pytest.raises(SolverError, match=r"negative at t=0\.8 in \d of 6 trajectories \(first: cell \d, sample"):
        ode.solve_sde(lambda t, y: 0 * y, turning, 100 * y0, UNIT, **options)


@pytest.mark.parametrize(
    ("options", "fix"),
    [
        ({"solver": "euler"}, "'euler_maruyama'"),
        ({"ts": torch.tensor([1.0, 0.0])}, "noise has no way back"),
        ({"ts": torch.tensor([[0.0, 0.0], [0.0, 1.0]])}, "increase strictly"),
        ({"y0": torch.ones(2, 2, dtype=torch.int64)}, "pass floats"),
        ({"step": 0.0}, "must be positive"),
        ({"n_samples": 0}, "at least 1"),
        ({"brownian": ode.BrownianPath(3, 2)}, r"Pass BrownianPath\(2, 2\)"),
        ({"brownian": ode.BrownianPath(2, 2), "ts": torch.tensor([[0.0, 1.0], [0.0, 2.0]])}, "generator= instead"),
        ({"y0": torch.full((2, 2), math.nan)}, "not finite in 2 rows"),
    ],
)
def test_bad_options_name_the_mending_call(options, fix):
    given = {"y0": torch.ones(2, 2), "ts": torch.tensor([0.0, 1.0])} | options
    with pytest.raises(SolverError, match=fix):
        ode.solve_sde(lambda t, y: -y, None, **given)


def test_a_drift_that_is_not_finite_is_told_from_a_long_step():
    with pytest.raises(SolverError, match=r"The drift is not finite at t=0\.5 in 1 of 1"):
        ode.solve_sde(lambda t, y: y / (t < 0.5), None, torch.ones(1, 1), torch.tensor([0.0, 1.0]), step=0.25)
