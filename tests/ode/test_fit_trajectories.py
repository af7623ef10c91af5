import math

import pytest
import torch

from scnode import SolverError, ode

TS = torch.linspace(0, 2, 21, dtype=torch.float64)


class Oscillator(torch.nn.Module):
    """Two parameters in two tensors, and one that nothing depends on."""

    def __init__(self, rate=1.0, damping=0.1):
        super().__init__()
        self.idle = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
        self.damping = torch.nn.Parameter(torch.tensor(damping, dtype=torch.float64))
        self.rate = torch.nn.Parameter(torch.tensor([rate], dtype=torch.float64))

    def forward(self, t, y):
        return torch.stack((self.rate * y[:, 1], -self.rate * y[:, 0] - self.damping * y[:, 1]), 1)


def observed(noise=0.0):
    y0 = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, 1.0], [2.0, 1.0]], dtype=torch.float64)
    with torch.no_grad():
        ys = ode.solve(Oscillator(1.7, 0.4), y0, TS, rtol=1e-10, atol=1e-12).ys
    return ys + noise * torch.randn(ys.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize(
    ("method", "solver"),
    [("auto", "auto"), ("gauss_newton", "rodas5p"), ("lbfgs", "tsit5"), ("auto", "torchdiffeq:dopri5")],
)
def test_parameters_come_back(method, solver):
    field = Oscillator()
    fit = ode.fit_trajectories(field, TS, observed(), method=method, solver=solver, rtol=1e-7, tolerance=1e-12)
    assert field.rate.item() == pytest.approx(1.7, abs=1e-4)
    assert field.damping.item() == pytest.approx(0.4, abs=1e-4)
    assert fit.loss < 1e-8
    assert fit.method == ("lbfgs" if "lbfgs" in method or ":" in solver else "gauss_newton")
    assert 0 < fit.n_steps <= fit.n_solves
    assert torch.equal(field.idle, torch.zeros(2))
    assert all(p.grad is None for p in field.parameters())


def test_gauss_newton_takes_few_solves():
    fit = ode.fit_trajectories(Oscillator(), TS, observed())
    assert fit.n_solves < 12


@pytest.mark.parametrize("method", ["gauss_newton", "lbfgs"])
def test_noisy_starts_are_fitted_too(method):
    ys, field, fixed = observed(0.1), Oscillator(1.5, 0.3), Oscillator(1.5, 0.3)
    fit = ode.fit_trajectories(field, TS, ys, free_start=True, method=method)
    rigid = ode.fit_trajectories(fixed, TS, ys, method=method)
    true = observed()[:, 0]
    assert (fit.y0 - true).norm() < (ys[:, 0] - true).norm() / 2
    assert torch.equal(rigid.y0, ys[:, 0])
    assert fit.loss < rigid.loss
    assert fit.loss * ys.var(correction=0) == pytest.approx(0.01, rel=0.35)
    assert abs(field.rate.item() - 1.7) < 0.03


def test_every_row_may_have_its_own_times():
    ts = torch.stack((TS, TS * 0.7, TS * 0.4, TS * 1.1))
    with torch.no_grad():
        ys = ode.solve(Oscillator(1.7, 0.4), observed()[:, 0], ts, rtol=1e-9, atol=1e-11).ys
    field = Oscillator()
    ode.fit_trajectories(field, ts, ys)
    assert field.rate.item() == pytest.approx(1.7, abs=1e-4)


def test_single_precision_is_fitted_in_single_precision():
    field = Oscillator().float()
    fit = ode.fit_trajectories(field, TS.float(), observed().float(), rtol=1e-5, atol=1e-6)
    assert fit.y0.dtype == torch.float32
    assert field.rate.item() == pytest.approx(1.7, abs=1e-3)


class Explosive(torch.nn.Module):
    """Runs away in finite time where the parameter is large."""

    def __init__(self, k):
        super().__init__()
        self.k = torch.nn.Parameter(torch.tensor(k, dtype=torch.float64))

    def forward(self, t, y):
        return self.k * y**2 - 4 * y


# With the last, a trial step comes that no trajectory leaves its start under.
@pytest.mark.parametrize(("method", "solver"), [("gauss_newton", "auto"), ("lbfgs", "auto"), ("lbfgs", "tsit5")])
def test_steps_into_a_field_that_runs_away_are_shortened(method, solver):
    y0 = torch.tensor([[1.0], [1.9]], dtype=torch.float64)
    with torch.no_grad():
        ys = ode.solve(Explosive(2.0), y0, TS, rtol=1e-9, atol=1e-11).ys
    field = Explosive(-3.0)
    ode.fit_trajectories(field, TS, ys, method=method, solver=solver, rtol=1e-4, atol=1e-6, tolerance=1e-12)
    assert field.k.item() == pytest.approx(2.0, abs=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"field": torch.nn.Identity()}, "nothing to fit"),
        ({"method": "newton"}, "Pass one of"),
        ({"ys": torch.zeros(2, 5, 2)}, r"pass ys \(batch, time, state\)"),
        ({"ys": observed() * math.nan}, "not finite in 4 trajectories"),
        ({"ys": torch.ones(2, 21, 2).double()}, "never moves"),
        ({"field": Explosive(50.0), "ys": observed()[..., :1].abs() + 1}, "did not arrive"),
    ],
)
def test_bad_input_is_told(change, message):
    arguments = {"field": Oscillator(), "ys": observed()} | change
    with pytest.raises(SolverError, match=message):
        ode.fit_trajectories(arguments.pop("field"), TS, arguments.pop("ys"), **arguments)
