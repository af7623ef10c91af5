"""The door: what it takes, what it refuses, and how it fails."""

import math
import re
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scnode import SolverError, ode

DOUBLE = torch.float64
OWN = ["euler", "midpoint", "rk4", "dopri5", "tsit5", "rodas5p", "radau5", "auto"]


@pytest.mark.parametrize("solver", [*OWN, "radau", "torchdiffeq:dopri8", "bosh3", "torchdiffeq:rk4"])
def test_every_solver_reaches_the_closed_form(turning, solver):
    ts = torch.linspace(0, 1, 201, dtype=DOUBLE)
    y0 = torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=DOUBLE)
    solution = ode.solve(turning, y0, ts, solver=solver, rtol=1e-8, atol=1e-10)
    slack = {"euler": 1e-1, "midpoint": 1e-4, "bosh3": 1e-4, "torchdiffeq:dopri8": 1e-4}.get(solver, 1e-6)
    torch.testing.assert_close(solution.ys, turning.exact(y0, ts).detach(), rtol=slack, atol=slack)
    assert (solution.status == ode.Status.SUCCESS).all()
    assert (solution.stats.n_evaluations > 0).all()
    assert solution.stats.n_calls > 0


@pytest.mark.parametrize(
    ("solver", "gradient", "work"),
    [("tsit5", "auto", False), ("rodas5p", "auto", True), ("radau5", "auto", True), ("rk4", "auto", False)],
)
def test_work_is_counted(turning, solver, gradient, work):
    y0 = torch.tensor([[1.0, 0.0]], dtype=DOUBLE)
    stats = ode.solve(turning, y0, torch.linspace(0, 1, 5, dtype=DOUBLE), solver=solver, gradient=gradient).stats
    assert stats.n_steps.item() >= 4 if solver == "rk4" else stats.n_steps.item() > 0
    assert stats.n_evaluations.item() >= 2 * stats.n_steps.item()
    assert bool(stats.n_jacobians.item()) is work
    assert stats.n_factorisations.item() >= stats.n_jacobians.item()


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 5),
    state=st.integers(1, 4),
    n_times=st.integers(2, 6),
    own=st.booleans(),
    backward=st.booleans(),
    double=st.booleans(),
    solver=st.sampled_from(OWN),
    control=st.sampled_from(["per_cell", "shared"]),
    seed=st.integers(0, 1000),
)
def test_shapes_dtypes_and_times(batch, state, n_times, own, backward, double, solver, control, seed):
    """y' = -y whatever the arrangement."""
    rng = torch.Generator().manual_seed(seed)
    dtype = DOUBLE if double else torch.float32
    y0 = torch.randn(batch, state, generator=rng, dtype=dtype)
    shape = (batch, n_times) if own else (n_times,)
    ts = (0.05 + torch.rand(shape, generator=rng, dtype=dtype)).cumsum(-1) / n_times
    ts = ts.flip(-1) if backward else ts
    options = {"step": 0.01} if solver in ("euler", "midpoint", "rk4") else {}
    solution = ode.solve(lambda t, y: -y, y0, ts, solver=solver, control=control, **options)
    exact = y0.unsqueeze(1) * torch.exp(ts[..., :1] - ts).reshape(-1, n_times, 1)
    assert solution.ys.shape == (batch, n_times, state)
    assert solution.ys.dtype == dtype
    slack = 2e-2 if solver == "euler" else 1e-3
    torch.testing.assert_close(solution.ys, exact, rtol=slack, atol=slack)


def test_nothing_depends_on_a_global_seed(turning):
    y0, ts = torch.tensor([[1.0, 0.0]], dtype=DOUBLE), torch.linspace(0, 1, 3, dtype=DOUBLE)
    before = torch.get_rng_state()
    one, two = (ode.solve(turning, y0, ts).ys for _ in range(2))
    assert torch.equal(one, two)
    assert torch.equal(before, torch.get_rng_state())


def test_an_interval_without_length_returns_the_start():
    y0 = torch.tensor([[1.0], [2.0]], requires_grad=True)
    solution = ode.solve(lambda t, y: -y, y0, torch.tensor([1.0, 1.0, 1.0]), running_cost=lambda t, y: y[:, 0])
    assert torch.equal(solution.ys, y0.unsqueeze(1).expand(-1, 3, -1))
    assert (solution.cost == 0).all()


def test_a_scalar_time_reaches_fields_that_want_one():
    def field(t, y):
        assert t.ndim == 0
        return y * math.cos(t.item())

    y0, ts = torch.ones(3, 1, dtype=DOUBLE), torch.tensor([0.0, 1.0], dtype=DOUBLE)
    solution = ode.solve(field, y0, ts, control="shared", solver="tsit5", rtol=1e-8)
    torch.testing.assert_close(solution.ys[:, -1], torch.full_like(y0, math.exp(math.sin(1))), rtol=1e-6, atol=0)


class Detached(torch.nn.Module):
    def __init__(self, how):
        super().__init__()
        self.how, self.rate = how, torch.nn.Parameter(torch.tensor(2.0))

    def forward(self, t, y):
        if self.how == "numpy":
            return torch.as_tensor(-y.numpy())
        return -self.rate.detach() * y.detach()


@pytest.mark.parametrize("how", ["numpy", "detach"])
def test_a_field_without_gradients_is_solved_but_not_differentiated(how):
    y0, ts = torch.ones(2, 1), torch.tensor([0.0, 1.0])
    with torch.no_grad():
        assert torch.isfinite(ode.solve(Detached(how), y0, ts).ys).all()
    y0.requires_grad_()
    with pytest.raises(SolverError, match=r"under torch\.no_grad"):
        ode.solve(Detached(how), y0, ts)
    with pytest.raises(SolverError, match="give it a method jacobian"), torch.no_grad():
        ode.solve(Detached(how), y0.detach(), ts, solver="rodas5p")


@pytest.mark.parametrize(
    ("change", "fix"),
    [
        ({"ts": torch.tensor([0.0, 1.0, 1.0])}, "strictly monotone"),
        ({"ts": torch.tensor([0.0, 2.0, 1.0])}, "Sort it"),
        ({"ts": torch.tensor([[0.0, 1.0], [1.0, 0.0]]), "y0": torch.ones(2, 1)}, "one direction"),
        ({"ts": torch.tensor([0.0, float("nan")])}, "not finite"),
        ({"ts": torch.tensor([0.0])}, "at least two times"),
        ({"ts": torch.zeros(3, 2)}, "batch=1"),
        ({"y0": torch.ones(3)}, "shape \\(batch, state\\)"),
        ({"y0": torch.ones(3, 1, dtype=torch.int64)}, "pass floats"),
        ({"y0": torch.full((1, 1), float("nan"))}, "Drop or repair"),
        ({"solver": "dopri55"}, "dopri5"),
        ({"solver": "torchdiffeq:tsit5"}, "is unknown"),
        ({"gradient": "magic"}, "adjoint"),
        ({"control": "rms"}, "per_cell"),
        ({"on_failure": "ignore"}, "return"),
        ({"checkpoints": 3}, "gradient='checkpointed'"),
        ({"checkpoints": 0, "gradient": "checkpointed"}, "at least 1"),
        ({"step": 0.1}, "rk4"),
        ({"step": -0.1, "solver": "rk4"}, "positive step"),
        ({"rtol": -1.0}, "must not be negative"),
        ({"rtol": 0.0, "atol": 0.0}, "nor both 0"),
        ({"field": lambda t, y: y[:, :0]}, "The field returned shape"),
        ({"field": lambda t, y: None}, "NoneType"),
        ({"field": lambda t, y: y.double()}, "float64"),
        ({"field": lambda t, y: y * float("nan")}, "not finite at the start of 1"),
        ({"running_cost": lambda t, y: y}, "Return one rate each"),
        ({"jacobian": lambda t, y: y, "solver": "rodas5p"}, "The Jacobian has shape"),
        ({"field": torch.nn.Sequential(torch.nn.Dropout(0.5)), "y0": torch.ones(1, 2)}, "eval\\(\\)"),
        ({"solver": "torchdiffeq:dopri5", "gradient": "forward"}, "torchdiffeq has no gradient"),
        ({"solver": "torchdiffeq:dopri5", "gradient": "adjoint"}, "backprop"),
    ],
)
def test_bad_input_names_the_mending_call(change, fix):
    call = {"field": lambda t, y: -y, "y0": torch.ones(1, 1), "ts": torch.tensor([0.0, 1.0])} | change
    field = call.pop("field")
    if isinstance(field, torch.nn.Sequential):
        network, field = field, Wrapped(field)
        network.train()
    with pytest.raises(SolverError, match=fix):
        ode.solve(field, call.pop("y0"), call.pop("ts"), **call)


class Wrapped(torch.nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, t, y):
        return self.network(y)


def test_a_method_of_a_module_in_training_mode_is_refused_as_well():
    model = Wrapped(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout(0.5)))
    with pytest.raises(SolverError, match=r"eval\(\)"):
        ode.solve(model.forward, torch.ones(1, 2), torch.tensor([0.0, 1.0]))
    model.eval()
    assert torch.isfinite(ode.solve(model.forward, torch.ones(1, 2), torch.tensor([0.0, 1.0])).ys).all()


def test_an_error_of_the_field_says_how_it_was_called():
    def field(t, y):
        return y @ torch.ones(7, 7)

    with pytest.raises(RuntimeError) as caught:
        ode.solve(field, torch.ones(2, 3), torch.tensor([0.0, 1.0]))
    assert "t of shape (2, 1) and y of shape (2, 3)" in "".join(caught.value.__notes__)


def test_a_tolerance_below_precision_warns_and_finishes():
    with pytest.warns(UserWarning, match=r"torch\.float64"):
        solution = ode.solve(lambda t, y: -y, torch.ones(1, 1), torch.tensor([0.0, 1.0]), rtol=1e-12, atol=1e-6)
    assert solution.ys[0, -1].item() == pytest.approx(math.exp(-1), rel=1e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ode.solve(lambda t, y: -y, torch.ones(1, 1, dtype=DOUBLE), torch.tensor([0.0, 1.0]), rtol=1e-12)


FAILURES = {
    "runs away": (lambda t, y: y**2, "STALLED"),
    "breaks": (lambda t, y: torch.where(y > 1.5, torch.full_like(y, float("nan")), 1 + 0 * y), "NON_FINITE|STALLED"),
}


@pytest.mark.parametrize("solver", ["tsit5", "dopri5", "rodas5p", "radau5", "auto"])
@pytest.mark.parametrize("kind", FAILURES)
def test_a_failure_names_the_cell_the_time_and_the_remedy(kind, solver):
    field, status = FAILURES[kind]
    y0, ts = torch.tensor([[-1.0], [1.0]], dtype=DOUBLE), torch.tensor([0.0, 0.5, 2.0], dtype=DOUBLE)
    with pytest.raises(SolverError) as caught:
        ode.solve(field, y0, ts, solver=solver)
    message = str(caught.value)
    assert re.search(status, message)
    assert "1 of 2 trajectories" in message
    assert "number 1" in message
    assert "end `ts` before that time" in message
    reached = float(re.search(r"at t=([\d.]+)", message).group(1))
    assert reached == pytest.approx(1.0 if kind == "runs away" else 0.5, abs=0.05)


def test_the_others_are_returned_when_asked():
    y0, ts = torch.tensor([[-1.0], [1.0]], dtype=DOUBLE), torch.tensor([0.0, 0.5, 2.0], dtype=DOUBLE)
    solution = ode.solve(lambda t, y: y**2, y0, ts, on_failure="return", rtol=1e-6)
    assert solution.status.tolist() == [ode.Status.SUCCESS, ode.Status.STALLED]
    assert torch.isfinite(solution.ys).all()
    torch.testing.assert_close(solution.ys[0, :, 0], -1 / (1 + ts), rtol=1e-4, atol=1e-5)
    assert solution.ys[1, 1].item() == pytest.approx(2.0, rel=1e-4)


def test_an_explicit_solver_on_a_stiff_field_ends_with_advice():
    y0, ts = torch.ones(1, 1, dtype=DOUBLE), torch.tensor([0.0, 1.0], dtype=DOUBLE)
    with pytest.raises(SolverError, match="solver='auto' or 'rodas5p'"):
        ode.solve(lambda t, y: -1e6 * (y - torch.cos(t)), y0, ts, solver="tsit5")


def test_auto_reports_the_stiffness_it_found():
    rates = torch.tensor([1.0, 1e4, 0.0], dtype=DOUBLE)
    y0 = torch.ones(40, 3, dtype=DOUBLE)
    ts = torch.linspace(0, 2, 3, dtype=DOUBLE)
    solution = ode.solve(lambda t, y: -rates * y, y0, ts)
    assert solution.stiffness.stiff.all()
    torch.testing.assert_close(solution.stiffness.ratio, torch.full((8,), 1e4, dtype=DOUBLE))
    torch.testing.assert_close(solution.stiffness.radius_times_interval, torch.full((8,), 2e4, dtype=DOUBLE))
    assert (solution.stiffness.n_conserved == 1).all()
    assert (solution.stats.n_factorisations > 0).all()
    assert not ode.solve(lambda t, y: -y, y0, ts).stiffness.stiff.any()
    assert ode.solve(lambda t, y: -y, y0, ts, solver="tsit5").stiffness is None
