import math

import pytest
import torch

from scnode import ScnodeError, nn, ode
from scnode.model import LatentODE

ZERO = torch.zeros((), dtype=torch.float64)


def landscape(n_latent=3, reach=2.0, n_members=2, **options):
    generator = torch.Generator().manual_seed(0)
    field = nn.GradientField(n_latent, hidden=(16, 8), n_members=n_members, generator=generator, **options).double()
    two = torch.tensor(2.0, dtype=torch.float64)
    field.set_scales(center=torch.linspace(-1, 1, n_latent).double(), scale=two / 3, speed=3 * two, reach=reach)
    with torch.no_grad():
        for weights in (*field.biases, field.weights[-1]):
            weights.copy_(torch.randn(weights.shape, generator=generator))
    return field


def everywhere(n_latent=3, n=40):
    """States at the centre, within the reach of two, around its rim, and far beyond."""
    ray = torch.nn.functional.normalize(torch.randn(n, n_latent, generator=torch.Generator().manual_seed(1)).double())
    distance = torch.cat((torch.zeros(1), torch.linspace(0.1, 4, n - 3), torch.tensor([1.99999, 30.0]))).double()
    return torch.linspace(-1, 1, n_latent).double() + ray * distance[:, None]


def differentiated(function, y):
    return torch.func.vmap(torch.func.jacrev(lambda one: function(one[None])[0]))(y)


@pytest.mark.parametrize("reach", [2.0, math.inf])
@pytest.mark.parametrize("activation", ["silu", "softplus", "tanh"])
@pytest.mark.parametrize("circulation", [False, True])
def test_the_field_is_minus_the_gradient_of_its_potential(reach, activation, circulation):
    field, y = landscape(reach=reach, activation=activation, circulation=circulation), everywhere()
    slope = differentiated(field.potential, y)
    downhill, around = field.parts(ZERO, y)
    # Beyond 20 torch takes softplus for linear, which is off by 2e-9.
    torch.testing.assert_close(downhill.mean(0), -slope, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(field.members(ZERO, y), downhill + around)
    assert (around.abs().amax() > 0.1) == circulation


@pytest.mark.parametrize("hidden", [(), (8,), (16, 8, 4)])
@pytest.mark.parametrize("circulation", [False, True])
@pytest.mark.parametrize("reach", [2.0, math.inf])
def test_the_closed_jacobian_is_exact_within_at_and_beyond_reach(hidden, circulation, reach):
    generator = torch.Generator().manual_seed(3)
    field = nn.GradientField(3, hidden=hidden, n_members=2, circulation=circulation, generator=generator).double()
    torch.nn.init.normal_(field.weights[-1], generator=generator)
    one = torch.ones((), dtype=torch.float64)
    field.set_scales(center=torch.linspace(-1, 1, 3).double(), scale=0.7 * one, speed=3 * one, reach=reach)
    y = everywhere()
    exact = differentiated(lambda at: field.mean(ZERO, at), y)
    torch.testing.assert_close(field.jacobian(ZERO, y), exact, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(ode.jacobian(field.mean, y), exact, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("n_latent", [2, 3, 7])
def test_there_is_no_curl_within_or_beyond_reach(n_latent):
    field, y = landscape(n_latent), everywhere(n_latent)
    for jacobian in (field.jacobian(ZERO, y), differentiated(lambda at: field.mean(ZERO, at), y)):
        assert (jacobian - jacobian.mT).abs().max() < 1e-13 * jacobian.abs().max()


def test_the_confinement_of_other_fields_would_have_a_curl():
    field, y = landscape(), everywhere()
    beyond = (y - field.center).norm(dim=1) > 2
    rotated = nn.Field._confined_jacobian(field, ZERO, y)
    curl = (rotated - rotated.mT).abs().amax((1, 2))
    assert curl[beyond].min() > 1e-2
    assert curl[~beyond].max() < 1e-12


@pytest.mark.parametrize("n_latent", [2, 3, 7])
def test_the_circulation_has_no_divergence_within_or_beyond_reach(n_latent):
    field, y = landscape(n_latent, circulation=True), everywhere(n_latent)
    jacobian = differentiated(lambda at: field.parts(ZERO, at)[1].mean(0), y)
    size = jacobian.abs().amax()
    assert size > 0.1
    assert ode.divergence(jacobian).abs().max() < 1e-13 * size
    # With it the divergence of the field is that of the potential part, the negative Laplacian.
    laplacian = torch.func.vmap(torch.func.hessian(lambda one: field.potential(one[None])[0]))(y)
    torch.testing.assert_close(ode.divergence(field.jacobian(ZERO, y)), -ode.divergence(laplacian))


@pytest.mark.parametrize(("matrix", "share"), [([[0.0, -1.0], [1.0, 0.0]], 0.95), ([[-1.0, 0.0], [0.0, -0.5]], 0.0)])
def test_a_rotation_is_all_circulation_and_an_inflow_is_none(matrix, share):
    field = nn.GradientField(2, circulation=True, generator=torch.Generator().manual_seed(0))
    y = torch.randn(400, 2, generator=torch.Generator().manual_seed(1))
    target = y @ torch.tensor(matrix).T
    zero = torch.zeros(())
    assert field.report(zero, y)["circulation"] == 0
    optimizer = torch.optim.Adam(field.parameters(), lr=1e-2)
    for _ in range(400):
        optimizer.zero_grad()
        loss = (field.mean(zero, y) - target).square().sum(1).mean() + field.penalty(zero, y)
        loss.backward()
        optimizer.step()
    assert (field.mean(zero, y) - target).square().sum() < 0.02 * target.square().sum()
    assert field.report(zero, y)["circulation"] == pytest.approx(share, abs=0.05)


def test_the_field_is_continuous_at_the_rim_and_nothing_leaves_for_good():
    field = landscape(circulation=True, n_members=1)
    ray = torch.nn.functional.normalize(torch.randn(20, 3, generator=torch.Generator().manual_seed(5)).double())
    inside, outside = (field(ZERO, field.center + (2 + e) * ray) for e in (-1e-9, 1e-9))
    torch.testing.assert_close(inside, outside, rtol=1e-6, atol=1e-6)
    starts = field.center + torch.cat((ray, 30 * ray))
    with torch.no_grad():
        ends = ode.solve(field, starts, torch.tensor([0.0, 5.0]).double(), solver="dopri5").ys[:, -1]
    fastest = field(ZERO, field.center + 2.6 * ray).norm(dim=1).max()
    assert ((ends - field.center).norm(dim=1) < 2 + fastest / 9 + 0.3).all()


def test_the_potential_falls_along_every_trajectory():
    field, y = landscape(n_members=1), everywhere()
    with torch.no_grad():
        ys = ode.solve(field, y, torch.linspace(0, 1, 30).double(), rtol=1e-8, atol=1e-9).ys
        heights = field.potential(ys.flatten(0, 1)).unflatten(0, ys.shape[:2])
    assert (heights.diff(dim=1) <= 1e-9).all()


def test_it_is_solved_differentiated_twice_and_batched():
    field = landscape(circulation=True, n_members=1)
    y = everywhere()[:6].requires_grad_()
    assert torch.autograd.gradcheck(lambda at: field(ZERO, at), y)
    assert torch.autograd.gradgradcheck(lambda at: field(ZERO, at), y)
    assert torch.autograd.gradcheck(lambda at: field.jacobian(ZERO, at), y)
    ode.solve(field, y, torch.linspace(0, 1, 3).double()).ys.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in (y, *field.parameters()))
    joint = nn.side_by_side(landscape(n_members=3), 3)(ZERO, y.repeat(1, 3))
    torch.testing.assert_close(joint, landscape(n_members=3).members(ZERO, y).transpose(0, 1).flatten(1))


def test_time_is_an_input_but_no_direction():
    field, y = landscape(time_dependent=True, circulation=True), everywhere()
    t = torch.linspace(0, 1, len(y)).double()[:, None]
    each = torch.stack([field.mean(s, one[None])[0] for s, one in zip(t[:, 0], y, strict=True)])
    torch.testing.assert_close(field.mean(t, y), each)
    slope = torch.func.vmap(torch.func.grad(lambda one, s: field.potential(one[None], t=s)[0]))(y, t[:, 0])
    torch.testing.assert_close(field.parts(t, y)[0].mean(0), -slope, rtol=1e-10, atol=1e-10)
    assert not torch.allclose(field.mean(ZERO, y), field.mean(ZERO + 1, y))


def test_the_penalty_is_the_size_of_the_circulation_alone():
    y = everywhere()
    field = landscape(circulation=True)
    size = field.parts(ZERO, y)[1].square().sum(-1).mean(1).sqrt() / 6
    torch.testing.assert_close(field.penalty(ZERO, y), 0.1 * size.mean())
    with torch.no_grad():
        field.planes.zero_()
    field.penalty(ZERO, y).backward()
    assert all(p.grad.isfinite().all() for p in field.parameters() if p.grad is not None)
    assert landscape().penalty(ZERO, y) == 0
    assert nn.MLPField(3).penalty(ZERO, y) == 0


def test_the_shares_and_their_cosine_add_up():
    y = everywhere()
    shares = landscape(circulation=True).report(ZERO, y)
    mixed = 2 * shares["cosine"] * math.sqrt(shares["potential"] * shares["circulation"])
    assert shares["potential"] + shares["circulation"] + mixed == pytest.approx(1)
    assert landscape().report(ZERO, y) == {"potential": pytest.approx(1), "circulation": 0.0, "cosine": 0.0}
    assert nn.MLPField(3).report(ZERO, y) == {}


@pytest.mark.parametrize("kind", [nn.GradientField, nn.CirculatingField])
def test_it_is_stored_with_the_model(kind):
    field = kind(3, hidden=(8,), n_members=2, activation="tanh", n_planes=2)
    field.set_scales(center=torch.ones(3), scale=torch.tensor(2.0), speed=torch.tensor(3.0), reach=1.5)
    again = LatentODE.from_arrays(LatentODE(field).to_arrays()).field
    y = 3 * torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    assert type(again) is kind
    assert torch.equal(again.members(torch.zeros(()), y), field.members(torch.zeros(()), y))
    assert again.circulation == (kind is nn.CirculatingField)


@pytest.mark.parametrize(
    ("options", "fix"),
    [
        ({"hidden": (0,)}, "positive integers"),
        ({"n_planes": 0}, "positive integers"),
        ({"activation": "relu"}, "'silu', 'softplus', 'tanh'"),
        ({"n_latent": 1, "circulation": True}, "n_latent=2 or more"),
        ({"n_latent": 0}, "positive integers"),
    ],
)
def test_what_it_cannot_be_is_refused(options, fix):
    with pytest.raises(ScnodeError, match=fix):
        nn.GradientField(**{"n_latent": 3} | options)
