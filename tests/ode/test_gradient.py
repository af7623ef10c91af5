"""All ways of differentiating agree with each other, with finite differences and with closed forms."""

import math

import pytest
import torch

from scnode import SolverError, ode

DOUBLE = torch.float64
EXACT = ["backprop", "checkpointed", "forward"]
SOLVERS = ["rk4", "tsit5", "dopri5", "rodas5p", "radau5", "auto"]


def problem(field, *, own_times=False, end=2.0):
    rng = torch.Generator().manual_seed(5)
    y0 = torch.randn(4, 3, generator=rng, dtype=DOUBLE, requires_grad=True)
    ts = torch.linspace(0, end, 5, dtype=DOUBLE)
    if own_times:
        ts = torch.rand(4, 5, generator=rng, dtype=DOUBLE).cumsum(1) * 0.7
    ts.requires_grad_()
    weight = torch.randn(4, 5, 3, generator=rng, dtype=DOUBLE)
    return y0, ts, weight, [y0, ts, *field.parameters()]


def gradients(field, case, **options):
    y0, ts, weight, inputs = case
    if options["solver"] == "rk4":
        options["step"] = 0.05
    ys = ode.solve(field, y0, ts, **options).ys
    return torch.autograd.grad((ys * weight).sum() + ys[:, -1].square().mean(), inputs)


def distance(found, expected):
    return max(((a - b).norm() / b.norm()).item() for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("own_times", [False, True])
@pytest.mark.parametrize("solver", SOLVERS)
def test_discrete_gradients_are_one(network, solver, own_times):
    """Checkpointed equals backprop to rounding; times are differentiated through f in forward mode."""
    case = problem(network, own_times=own_times)
    backprop, checkpointed, forward = (
        gradients(network, case, solver=solver, gradient=g, rtol=1e-5, atol=1e-7) for g in EXACT
    )
    assert distance(checkpointed, backprop) < 1e-11
    without_times = [0, *range(2, len(backprop))]
    assert distance([forward[i] for i in without_times], [backprop[i] for i in without_times]) < 1e-8
    assert distance(forward[1:2], backprop[1:2]) < 2e-3


@pytest.mark.parametrize("own_times", [False, True])
@pytest.mark.parametrize("solver", SOLVERS)
def test_the_adjoint_meets_them_as_the_tolerance_tightens(network, solver, own_times):
    case = problem(network, own_times=own_times)
    tight = gradients(network, case, solver="tsit5", gradient="backprop", rtol=1e-11, atol=1e-13)
    found = gradients(network, case, solver=solver, gradient="adjoint", rtol=1e-7, atol=1e-9)
    assert distance(found, tight) < (1e-5 if solver == "radau5" else 3e-6)


@pytest.mark.parametrize("gradient", ["backprop", "checkpointed", "adjoint", "forward"])
@pytest.mark.parametrize("solver", ["tsit5", "rodas5p"])
def test_finite_differences(network, gradient, solver):
    y0, ts, weight, inputs = problem(network, end=0.5)

    def loss(**options):
        return (ode.solve(network, y0, ts, solver=solver, rtol=1e-9, atol=1e-11, **options).ys * weight).sum()

    grads = torch.autograd.grad(loss(gradient=gradient), inputs)
    for tensor, grad in zip(inputs, grads, strict=True):
        place = (0,) * tensor.ndim
        with torch.no_grad():
            tensor[place] += 1e-5
            up = loss()
            tensor[place] -= 2e-5
            down = loss()
            tensor[place] += 1e-5
        assert grad[place].item() == pytest.approx(((up - down) / 2e-5).item(), rel=2e-5, abs=1e-6)


@pytest.mark.parametrize("gradient", ["backprop", "checkpointed", "adjoint", "forward"])
def test_the_gradient_jumps_at_every_observation(linear, gradient):
    """One loss over times is the sum of losses at single times, the first and the last among them."""
    field = linear([0.5, 2.0])
    ts = torch.tensor([0.0, 0.7, 1.5], dtype=DOUBLE)
    y0 = torch.tensor([[1.0, -0.5]], dtype=DOUBLE, requires_grad=True)

    def grads(times):
        ys = ode.solve(field, y0, ts, gradient=gradient, rtol=1e-9, atol=1e-11).ys[:, times]
        return torch.cat(
            [
                g.flatten()
                for g in torch.autograd.grad(
                    ys.pow(3).sum(), [y0, field.matrix], allow_unused=True, materialize_grads=True
                )
            ]
        )

    torch.testing.assert_close(grads([0, 1, 2]), sum(grads([i]) for i in range(3)), rtol=1e-7, atol=1e-9)
    exact = torch.cat([g.flatten() for g in torch.autograd.grad(field.exact(y0, ts).pow(3).sum(), [y0, field.matrix])])
    torch.testing.assert_close(grads([0, 1, 2]), exact, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("gradient", ["backprop", "checkpointed", "adjoint", "forward"])
@pytest.mark.parametrize("solver", ["tsit5", "rodas5p", "rk4"])
def test_running_cost_and_its_gradient_have_their_closed_form(gradient, solver):
    """y' = -k y, r = y^2: C = (1 - exp(-2 k T)) / (2 k)."""
    k = torch.tensor(0.7, dtype=DOUBLE, requires_grad=True)
    end = torch.tensor([0.0, 0.4, 1.0], dtype=DOUBLE)
    options = {"step": 0.02} if solver == "rk4" else {"rtol": 1e-9, "atol": 1e-11}
    cost = ode.solve(
        lambda t, y: -k * y,
        torch.ones(1, 1, dtype=DOUBLE),
        end,
        solver=solver,
        gradient=gradient,
        running_cost=lambda t, y: y[:, 0] ** 2,
        **options,
    ).cost
    torch.testing.assert_close(cost[0], (1 - torch.exp(-2 * k * end)) / (2 * k), rtol=1e-6, atol=1e-8)
    (slope,) = torch.autograd.grad(cost[0, -1], k)
    expected = (math.exp(-1.4) * (1 + 1.4) - 1) / (2 * 0.49)
    assert slope.item() == pytest.approx(expected, rel=1e-5)


def test_a_captured_tensor_gets_its_gradient_without_a_module():
    """The input u(t) is a table that a closure holds, and the network before it is reached as well."""
    table = torch.tensor([0.5, 1.5, 0.7, 1.2], dtype=DOUBLE, requires_grad=True)

    def field(t, y):
        place = (t * 3).clamp(0, 2.999)
        low = place.detach().floor().long().squeeze(-1)
        part = place - low.unsqueeze(-1)
        doubled = table * 2
        u = doubled[low].unsqueeze(-1) * (1 - part) + doubled[low + 1].unsqueeze(-1) * part
        return u - y

    y0, ts = torch.zeros(2, 1, dtype=DOUBLE), torch.linspace(0, 1, 3, dtype=DOUBLE)
    grads = [
        torch.autograd.grad(ode.solve(field, y0, ts, gradient=g, rtol=1e-8, atol=1e-10).ys.sum(), table)[0]
        for g in ("backprop", "checkpointed", "adjoint", "forward")
    ]
    backprop, checkpointed, adjoint, forward = grads
    torch.testing.assert_close(checkpointed, backprop, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(forward, backprop, rtol=1e-9, atol=1e-11)
    # Hat functions are rough integrands, for the discrete gradient and for the adjoint's quadrature alike.
    torch.testing.assert_close(adjoint, backprop, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("gradient", ["backprop", "checkpointed", "adjoint", "forward"])
def test_a_start_that_the_field_holds_too_gets_both_its_gradients(gradient):
    """y' = a (y0 - y) / 2 with y(0) = y0 stays; its derivative by y0 is 1 and by a is 0."""
    a = torch.tensor(0.8, dtype=DOUBLE, requires_grad=True)
    y0 = torch.tensor([[1.5]], dtype=DOUBLE, requires_grad=True)
    ys = ode.solve(lambda t, y: a * (y0 - y) / 2, y0, torch.tensor([0.0, 2.0], dtype=DOUBLE), gradient=gradient).ys
    by_start, by_rate = torch.autograd.grad(ys[:, -1].sum(), [y0, a])
    assert by_start.item() == pytest.approx(1.0, abs=1e-6)
    assert by_rate.item() == pytest.approx(0.0, abs=1e-9)


def test_backprop_gives_second_derivatives(linear):
    field = linear([0.5, 2.0])
    y0 = torch.tensor([[1.0, -0.5]], dtype=DOUBLE, requires_grad=True)
    ts = torch.tensor([0.0, 1.0], dtype=DOUBLE)

    def curvature(ys):
        (slope,) = torch.autograd.grad(ys[:, -1].pow(3).sum(), field.matrix, create_graph=True)
        return torch.autograd.grad(slope.pow(2).sum(), y0)[0]

    found = curvature(ode.solve(field, y0, ts, gradient="backprop", rtol=1e-9, atol=1e-11).ys)
    torch.testing.assert_close(found, curvature(field.exact(y0, ts)), rtol=1e-5, atol=1e-7)
    ys = ode.solve(field, y0, ts, gradient="checkpointed").ys
    (slope,) = torch.autograd.grad(ys.sum(), y0, create_graph=True)
    with pytest.raises(RuntimeError, match=r"once_differentiable|does not require grad"):
        torch.autograd.grad(slope.sum(), y0)


def test_weights_changed_before_the_gradient_are_refused(network):
    y0, ts, _, _ = problem(network)
    ys = ode.solve(network, y0, ts, gradient="checkpointed").ys
    with torch.no_grad():
        network.first.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        ys.sum().backward()


@pytest.mark.parametrize("gradient", ["backprop", "checkpointed", "adjoint"])
def test_gradient_through_stiffness(linear, gradient):
    """Ratio 1e4, where an adjoint that re-integrates the state backward is off by 100 %."""
    field = linear([1.0, 30.0, 1e4])
    y0 = torch.randn(8, 3, generator=torch.Generator().manual_seed(1), dtype=DOUBLE, requires_grad=True)
    ts = torch.tensor([0.0, 1.0], dtype=DOUBLE)
    ys = ode.solve(field, y0, ts, solver="rodas5p", gradient=gradient, rtol=1e-5, atol=1e-7).ys
    found = torch.autograd.grad(ys[:, -1].square().mean(), [y0, field.matrix])
    exact = torch.autograd.grad(field.exact(y0, ts)[:, -1].square().mean(), [y0, field.matrix])
    # The adjoint decides its steps by itself, so that its error is that of the tolerance.
    assert distance(found, exact) < (1e-3 if gradient == "adjoint" else 2e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("gradient", ["backprop", "checkpointed", "adjoint", "forward"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_cuda_device_gives_the_same(network, solver, gradient):
    y0, ts, weight, _ = problem(network)
    found = []
    for device in ("cpu", "cuda"):
        field, start = network.to(device), y0.detach().to(device).requires_grad_()
        options = {"step": 0.05} if solver == "rk4" else {"rtol": 1e-6, "atol": 1e-8}
        ys = ode.solve(field, start, ts.detach().to(device), solver=solver, gradient=gradient, **options).ys
        grads = torch.autograd.grad((ys * weight.to(device)).sum(), [start, *field.parameters()])
        found.append([ys.detach().cpu(), *(grad.cpu() for grad in grads)])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-6, atol=1e-8)


def test_sensitivities_of_a_trajectory_that_does_not_arrive_are_those_of_where_it_stays():
    k = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    y0 = torch.tensor([[0.1], [3.0]], dtype=torch.float64)
    ts = torch.linspace(0, 1, 5, dtype=torch.float64)
    options = {"gradient": "forward", "solver": "tsit5"}
    found = ode.solve(lambda t, y: k * y**2, y0, ts, on_failure="return", **options)
    assert found.status.tolist() == [0, found.status[1].item()]
    assert found.status[1] > 0
    alone = ode.solve(lambda t, y: k * y**2, y0[:1], ts, **options)
    torch.testing.assert_close(found.sensitivity[:1], alone.sensitivity)
    assert torch.equal(found.sensitivity[1, 2:], found.sensitivity[1, 2:3].expand(3, -1, -1))
    with pytest.raises(SolverError, match="did not arrive"):
        ode.solve(lambda t, y: k * y**2, y0, ts, **options)
