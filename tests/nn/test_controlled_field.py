import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from scnode import ScnodeError, nn, ode
from scnode.data import Controls
from scnode.data._controls import Control
from scnode.model import LatentODE

ZERO = torch.zeros((), dtype=torch.float64)
MATRIX = torch.tensor([[-1.0, 2.0], [-2.0, -0.5]], dtype=torch.float64)
DRIVE = torch.tensor([[1.0, -0.5]], dtype=torch.float64)
START = torch.tensor([[1.0, 0.0], [0.2, -1.0], [3.0, 2.0]], dtype=torch.float64)


def controlled(n_controls=2, **options):
    generator = torch.Generator().manual_seed(0)
    field = nn.ControlledField(3, n_controls=n_controls, hidden=(8, 8), generator=generator, **options).double()
    one = torch.ones((), dtype=torch.float64)
    field.set_scales(center=torch.ones(3, dtype=torch.float64), scale=2 * one, speed=5 * one, reach=6.0)
    return field


def states(n=5, width=3, seed=1):
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def linear():
    """A field without hidden layers: x' = A x + B u."""
    field = nn.ControlledField(2, n_controls=1, hidden=()).double()
    with torch.no_grad():
        field.weights[0].copy_(torch.cat([MATRIX.T, DRIVE])[None])
    return field


def model_of(field, n_controls=1):
    return LatentODE(field, controls=Controls(tuple(Control(f"u{i}") for i in range(n_controls))))


def exact(t, level, start):
    system = torch.zeros(3, 3, dtype=torch.float64)
    system[:2, :2], system[:2, 2] = MATRIX, level * DRIVE[0]
    ones = torch.ones(len(start), 1, dtype=torch.float64)
    return (torch.cat([start, ones], 1) @ torch.matrix_exp(system * t).T)[:, :2]


def test_the_input_is_one_more_input_of_the_networks():
    field, y, u = controlled(n_members=2), states(), states(5, 2, seed=2)
    z = torch.cat([(y - 1) / 2, u], 1)
    for m, found in enumerate(field.under(u).members(ZERO, y)):
        h = z
        for weight, bias in zip(field.weights[:-1], field.biases[:-1], strict=True):
            h = torch.nn.functional.silu(h @ weight[m] + bias[m])
        torch.testing.assert_close(found, 5 * (h @ field.weights[-1][m] + field.biases[-1][m]))


@pytest.mark.parametrize("time_dependent", [False, True])
def test_an_input_of_each_cell_is_its_own(time_dependent):
    field, y, u = controlled(n_members=2, time_dependent=time_dependent), states(), states(5, 2, seed=2)
    together = field.under(u)
    for i in range(5):
        alone = field.under(u[i])
        torch.testing.assert_close(alone.members(ZERO, y[i : i + 1])[:, 0], together.members(ZERO, y)[:, i])
    schedule = nn.Schedule([0.0, 1.0], u[:2])
    t = torch.tensor([[0.5], [1.5], [0.0], [2.0], [0.9]], dtype=torch.float64)
    rows = (t[:, 0] >= 1).long()
    torch.testing.assert_close(field.under(schedule).mean(t, y), field.under(u[rows]).mean(t, y))


@pytest.mark.parametrize("rest", [False, True])
@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("time_dependent", [False, True])
def test_the_jacobian_is_that_of_the_mean_by_the_state(rest, n_members, time_dependent):
    field = controlled(n_members=n_members, rest=rest, time_dependent=time_dependent)
    y, u, t = 3 * states(), states(1, 2, seed=2)[0], torch.tensor(0.3, dtype=torch.float64)
    bound = field.under(u)
    expected = torch.func.vmap(torch.func.jacrev(lambda one: bound.mean(t, one[None])[0]))(y)
    torch.testing.assert_close(bound.jacobian(t, y), expected)


def test_at_rest_nothing_moves_without_input():
    field, y = controlled(n_members=2, rest=True), states()
    assert not field.under(torch.zeros(2)).members(ZERO, y).any()
    assert field.under(torch.ones(2)).members(ZERO, y).abs().min() > 0
    assert controlled().under(torch.zeros(2)).members(ZERO, y).abs().min() > 0


def test_the_bound_field_shares_its_weights_and_leaves_the_free_one():
    field = controlled()
    policy = torch.nn.Linear(1, 2).double()
    bound = field.under(lambda t: policy(t.reshape(-1, 1)))
    before = len(list(field.parameters()))
    bound.mean(ZERO, states()).sum().backward()
    assert all(p.grad is not None for p in (*field.parameters(), *policy.parameters()))
    field.under(policy)
    assert len(list(field.parameters())) == before
    with pytest.raises(ScnodeError, match=r"Call field\.under\(u\)"):
        field.mean(ZERO, states())


SOLVERS = ("auto", "dopri5", "tsit5", "rodas5p", "radau5", "torchdiffeq:dopri5")


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_step_input_is_solved_exactly(solver):
    ts = torch.tensor([0.0, 0.2, 0.5, 1.0], dtype=torch.float64)
    schedule = nn.Schedule([0.0, 0.37], torch.tensor([[2.0], [-1.0]], dtype=torch.float64))
    found = model_of(linear()).flow(START, ts, control=schedule, solver=solver, rtol=1e-8, atol=1e-9)[:, 0]
    jump = exact(0.37, 2.0, START)
    expected = torch.stack([START, exact(0.2, 2.0, START), exact(0.13, -1.0, jump), exact(0.63, -1.0, jump)], 1)
    # The break is in the schedule's own precision.
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("solver", ["tsit5", "rodas5p", "rk4"])
def test_a_ramp_and_a_callable_of_it_agree(solver):
    ts = torch.tensor([0.0, 1.0], dtype=torch.float64)
    options = {"solver": solver} | ({"step": 0.01} if solver == "rk4" else {"rtol": 1e-9, "atol": 1e-11})
    ramp = nn.Schedule([0.0, 0.5], torch.tensor([[0.0], [2.0]], dtype=torch.float64), "linear")
    model = model_of(linear())
    one = model.flow(START, ts, control=ramp, **options)
    two = model.flow(START, ts, control=lambda t: (4 * t).clamp(max=2.0), **options)
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("members", [False, True])
def test_cells_under_their_own_inputs_flow_as_alone(members):
    field, y, u = controlled(n_members=3), states(), states(5, 2, seed=2)
    model, ts = model_of(field, 2), torch.linspace(0, 0.3, 4, dtype=torch.float64)
    options = {"rtol": 1e-9, "atol": 1e-11, "members": members}
    together = model.flow(y, ts, control=u, **options)
    for i in range(5):
        torch.testing.assert_close(together[i], model.flow(y[i : i + 1], ts, control=u[i], **options)[0])


@pytest.mark.parametrize("gradient", sorted(ode.GRADIENTS))
@pytest.mark.parametrize("kind", ["shared", "each", "schedule"])
def test_gradients_to_input_and_weights_are_those_of_finite_differences(gradient, kind):
    generator = torch.Generator().manual_seed(3)
    field = nn.ControlledField(2, n_controls=1, hidden=(3,), rest=True, generator=generator).double()
    model, ts = model_of(field), torch.tensor([0.0, 0.3, 0.8], dtype=torch.float64)
    level = {"shared": [0.7], "each": [[0.7], [-0.3], [1.2]], "schedule": [[0.7], [-0.5]]}[kind]

    def loss(u, **options):
        control = nn.Schedule([0.0, 0.4], u) if kind == "schedule" else u
        ys = model.flow(START, ts, control=control, solver="tsit5", rtol=1e-9, atol=1e-11, **options)
        return ys.square().mean()

    u = torch.tensor(level, dtype=torch.float64, requires_grad=True)
    weight = field.weights[0]
    to_u, to_weight = torch.autograd.grad(loss(u, gradient=gradient), (u, weight))
    assert float(to_u.abs().min()) > 1e-4
    for tensor, found in ((u, to_u), (weight, to_weight)):
        for place in np.ndindex(*tensor.shape):
            sides = []
            with torch.no_grad():
                for step in (1e-5, -2e-5):
                    tensor[place] += step
                    sides.append(float(loss(u)))
                tensor[place] += 1e-5
            assert float(found[place]) == pytest.approx((sides[0] - sides[1]) / 2e-5, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("u", [torch.zeros(3), torch.zeros(1, 2, 2), torch.tensor([0.0, float("nan")]), [1.0]])
def test_what_is_no_input_is_told(u):
    with pytest.raises(ScnodeError, match=r"Pass \(2,\), or \(cell, 2\)"):
        controlled().under(u)


def test_a_callable_of_the_wrong_width_is_told():
    bound = controlled().under(lambda t: torch.zeros(3))
    with pytest.raises(ScnodeError, match=r"Return \(\.\.\., 2\)"):
        bound.mean(ZERO, states())


def test_there_is_at_least_one_control():
    with pytest.raises(ScnodeError, match="Pass at least 1"):
        nn.ControlledField(2, n_controls=0)


def test_a_model_and_its_controls_belong_together():
    with pytest.raises(ScnodeError, match="2 controls, and 1 are named"):
        model_of(controlled())
    with pytest.raises(ScnodeError, match="takes no input"):
        LatentODE(nn.MLPField(2)).flow(START.float(), torch.tensor([0.0, 1.0]), control=torch.ones(1))
    with pytest.raises(ScnodeError, match=r"is under \['u0'\]\. Pass their values as control="):
        model_of(linear()).flow(START, torch.tensor([0.0, 1.0]))


def test_a_record_brings_field_and_controls_back(tmp_path):
    field = controlled(n_members=2, rest=True).float()
    columns = (Control("dose", scale=4.0), Control("drug", levels=("none", "a")))
    model = LatentODE(field, controls=Controls(columns))
    model.save(tmp_path)
    for again in (LatentODE.from_arrays(model.to_arrays()), LatentODE.load(tmp_path)):
        assert again.controls == model.controls
        assert again.field.sizes == field.sizes
        y, u = states().float(), torch.tensor([0.3, 1.0])
        assert torch.equal(again.under(u).mean(ZERO.float(), y), field.under(u).mean(ZERO.float(), y))


def test_an_input_counts_from_an_origin_of_each_cell():
    field, y, u = controlled(time_dependent=True), states(), states(2, 2, seed=2)
    t, origin = torch.linspace(0, 1, 5, dtype=torch.float64)[:, None], torch.full((5, 1), 0.4, dtype=torch.float64)
    found = field.under(nn.Schedule([0.0, 0.3], u), origin=origin).mean(t, y)
    # The field is at its own time, whatever that of the input.
    torch.testing.assert_close(found, field.under(u[(t[:, 0] >= 0.7).long()]).mean(t, y))


def test_some_rows_are_under_their_own_inputs():
    field, y, u = controlled(n_members=2), states(), states(5, 2, seed=2)
    rows, policy = torch.tensor([3, 0]), nn.Schedule([0.0, 1.0], u[:2])
    torch.testing.assert_close(field.under(u).at_rows(rows).mean(ZERO, y[rows]), field.under(u).mean(ZERO, y)[rows])
    torch.testing.assert_close(
        field.under(policy).at_rows(rows).mean(ZERO, y[rows]), field.under(u[0]).mean(ZERO, y[rows])
    )
    assert controlled().at_rows(rows).input is None


@pytest.mark.parametrize("members", [False, True])
def test_a_schedule_counts_from_the_start_and_the_field_by_the_clock(members):
    """x' = A x + B u(t - t0) + t: two starts of one state, at clocks of their own."""
    field = nn.ControlledField(2, n_controls=1, hidden=(), time_dependent=True).double()
    with torch.no_grad():
        field.weights[0].copy_(torch.cat([MATRIX.T, torch.ones(1, 2, dtype=torch.float64), DRIVE])[None])
    clock = torch.tensor([[0.0], [0.4]], dtype=torch.float64)
    schedule = nn.Schedule([0.0, 0.25], torch.tensor([[2.0], [-1.0]], dtype=torch.float64))
    since = torch.tensor([0.0, 0.2, 0.6], dtype=torch.float64)
    options = {"control": schedule, "members": members, "rtol": 1e-9, "atol": 1e-11}
    found = model_of(field).flow(START[:1].expand(2, -1), clock + since, **options)[:, 0]
    for row, began in enumerate(clock[:, 0].tolist()):

        def velocity(t, x, began=began):
            return MATRIX.numpy() @ x + DRIVE[0].numpy() * (2.0 if t - began < 0.25 else -1.0) + t

        way, state = [START[0].numpy()], START[0].numpy()
        for start, end in [(0.0, 0.2), (0.2, 0.25), (0.25, 0.6)]:
            leg = solve_ivp(velocity, (began + start, began + end - 1e-12), state, rtol=1e-11, atol=1e-12)
            state = leg.y[:, -1]
            way += [] if end == 0.25 else [state]
        np.testing.assert_allclose(found[row].detach(), np.stack(way), atol=1e-6)


def noisy_model(field, level, n_controls=1):
    diffusion = nn.Diffusion(2, generator=torch.Generator().manual_seed(0)).double()
    one = torch.ones((), dtype=torch.float64)
    diffusion.set_scales(center=torch.zeros(2).double(), scale=one, level=level * one)
    controls = Controls(tuple(Control(f"u{i}") for i in range(n_controls)))
    return LatentODE(field, controls=controls, diffusion=diffusion).requires_grad_(requires_grad=False)


@pytest.mark.parametrize("solver", ["srk2", "euler_maruyama", "implicit_euler"])
def test_noise_goes_with_an_input_of_each_cell_and_with_a_schedule(solver):
    model, ts = noisy_model(linear(), 1e-3), torch.tensor([0.0, 0.3, 0.8], dtype=torch.float64)
    each = torch.tensor([[0.7], [-0.3], [1.2]], dtype=torch.float64)
    for control in (each, nn.Schedule([0.0, 0.41], torch.tensor([[2.0], [-1.0]], dtype=torch.float64))):
        drawn = model.sample(START, ts, n_samples=3, control=control, solver=solver, step=0.002)
        assert drawn.shape == (3, 3, 3, 2)
        assert drawn[:, :, -1].std(1).min() > 1e-5
        smooth = model.flow(START, ts, control=control, rtol=1e-8, atol=1e-9)
        torch.testing.assert_close(drawn, smooth.expand(3, 3, 3, 2), atol=2e-2, rtol=0)


def test_noise_of_a_field_of_time_and_input_spreads_as_theory_says():
    """Without drift but the input's, the variance is that of Brownian motion and the mean that of the input."""
    field = nn.ControlledField(2, n_controls=1, hidden=(), time_dependent=True).double()
    with torch.no_grad():
        field.weights[0].zero_()
        field.weights[0][:, 2], field.weights[0][:, 3] = 1.0, DRIVE[0]
    model, clock = noisy_model(field, 0.5), torch.tensor([[0.1], [0.6]], dtype=torch.float64)
    model.diffusion.weights[-1].zero_()
    level = float(model.diffusion(ZERO, START[:1])[0, 0])
    step = nn.Schedule([0.0, 0.25], torch.tensor([[2.0], [0.0]], dtype=torch.float64))
    ends = model.sample(START[:2], clock + torch.tensor([0.0, 0.5]), n_samples=4000, control=step)[:, :, -1]
    t = clock + 0.5
    mean = START[:2] + (t**2 - clock**2) / 2 + 0.25 * 2.0 * DRIVE
    torch.testing.assert_close(ends.mean(1), mean, atol=4 * level * (0.5 / 4000) ** 0.5, rtol=0)
    torch.testing.assert_close(ends.var(1), torch.full((2, 2), 0.5 * level**2, dtype=torch.float64), rtol=0.1, atol=0)
