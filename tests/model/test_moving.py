import pytest
import torch

from scnode import ScnodeError, ode
from scnode.model import LatentODE
from scnode.nn import Diffusion, Hold, MLPField, Regimen

AXIS = torch.eye(3)[:1]
LOW, HIGH = (Hold(AXIS, torch.tensor([level])) for level in (0.3, 1.0))
TIGHT = {"rtol": 1e-7, "atol": 1e-8}


def made(**options):
    generator = torch.Generator().manual_seed(0)
    field = MLPField(3, hidden=(8,), n_members=2, generator=generator, **options)
    return LatentODE(field, diffusion=Diffusion(3, generator=generator)).eval().requires_grad_(requires_grad=False)


def starts(n=4):
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("members", [False, True])
def test_a_pulse_is_a_held_flow_and_then_a_free_one(members):
    model, ts = made(), torch.linspace(0, 1, 6)
    pulse = Regimen(torch.tensor([0.4]), (LOW, None))
    paths = model.flow(starts(), ts, members=members, hold=pulse, **TIGHT)
    held = model.flow(starts(), ts[:3], members=members, hold=LOW, **TIGHT)
    torch.testing.assert_close(paths[:, :, :3], held, atol=1e-5, rtol=0)
    free = [model.flow(held[:, m, -1], ts[2:], members=members, **TIGHT)[:, m] for m in range(paths.shape[1])]
    torch.testing.assert_close(paths[:, :, 2:], torch.stack(free, 1), atol=1e-5, rtol=0)


def test_a_level_that_jumps_moves_the_states_at_once():
    model, ts = made(), torch.linspace(0, 1, 5)
    paths = model.flow(starts(), ts, hold=Regimen(torch.tensor([0.5]), (LOW, HIGH)), **TIGHT)[:, 0]
    expected = torch.tensor([0.3, 0.3, 1.0, 1.0, 1.0]).expand(4, 5)
    torch.testing.assert_close(paths[..., 0], expected, atol=1e-5, rtol=0)
    before = model.flow(starts(), ts[:3], hold=LOW, **TIGHT)[:, 0, -1]
    torch.testing.assert_close(paths[:, 2], HIGH.confine(before), atol=1e-5, rtol=0)


def test_a_level_counts_from_the_start_and_the_field_by_the_clock():
    """Each start at its own clock gives what it gives alone."""
    model = made(time_dependent=True)
    hold = Hold(AXIS, lambda t: (0.2 + (t.squeeze(-1) if t.ndim else t).square()).unsqueeze(-1))
    clock, elapsed = torch.tensor([[0.0], [0.3], [0.5], [0.1]]), torch.linspace(0, 0.5, 4)
    together = model.flow(starts(), clock + elapsed, members=True, hold=hold, **TIGHT)
    torch.testing.assert_close(together[..., 0], (0.2 + elapsed**2).expand(4, 2, 4), atol=1e-5, rtol=0)
    for row in range(4):
        alone = model.flow(starts()[[row]], clock[row] + elapsed, members=True, hold=hold, **TIGHT)
        torch.testing.assert_close(together[[row]], alone, atol=1e-5, rtol=0)
    with pytest.raises(ScnodeError, match="same times since"):
        model.flow(starts(2), torch.tensor([[0.0, 1.0], [0.0, 0.5]]), hold=hold)


def test_noise_moves_both_arms_alike_and_leaves_the_level():
    model, ts = made(), torch.linspace(0, 1, 5)
    path = ode.BrownianPath(2 * 4, 3)
    control = model.flow(starts(), ts, members=True, noise=path)
    again = model.flow(starts(), ts, members=True, noise=path)
    assert torch.equal(control, again)
    away = Regimen(torch.tensor([0.9]), (None, LOW))
    late = model.flow(starts(), ts, members=True, noise=path, hold=away)
    torch.testing.assert_close(late[:, :, :4], control[:, :, :4], atol=0.05, rtol=0)
    held = model.flow(starts(), ts, members=True, noise=path, hold=LOW)
    torch.testing.assert_close(held[..., 0], torch.full((4, 2, 5), 0.3), atol=1e-5, rtol=0)
    # What is not held is shaken as before.
    increments = torch.stack([(a[..., 1, 1:] - a[..., 0, 1:]).flatten() for a in (control, held)])
    assert float(torch.corrcoef(increments)[0, 1]) > 0.5


def test_noisy_members_are_those_of_the_stochastic_solver():
    model, ts = made(), torch.linspace(0, 1, 3)
    path = ode.BrownianPath(2 * 4, 3)
    found = model.flow(starts(), ts, members=True, noise=path)

    def drift(t, y):
        return model.field(t, y.unflatten(0, (2, 4))).flatten(0, 1)

    known = ode.solve_sde(
        drift, model.diffusion, starts().repeat(2, 1), ts, solver="euler_maruyama", step=1 / 40, brownian=path
    ).ys[:, 0]
    torch.testing.assert_close(found, known.unflatten(0, (2, 4)).transpose(0, 1), atol=1e-6, rtol=0)


def test_constraints_and_breaks_fit():
    with pytest.raises(ScnodeError, match="one constraint more"):
        Regimen(torch.tensor([0.5]), (LOW,))
    with pytest.raises(ScnodeError, match="increasing"):
        Regimen(torch.tensor([0.5, 0.5]), (LOW, None, HIGH))
    bare = LatentODE(made().field)
    with pytest.raises(ScnodeError, match="noise=True"):
        bare.flow(starts(), torch.tensor([0.0, 1.0]), noise=ode.BrownianPath(4, 3))
