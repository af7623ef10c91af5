import numpy as np
import pytest
import torch

from scnode import ScnodeError, nn, ode


def g(seed=0, n_latent=3, **options):
    generator = torch.Generator().manual_seed(seed)
    return nn.MLPField(n_latent, hidden=(16,), activation="tanh", generator=generator, **options).double()


@pytest.fixture
def y():
    return torch.randn(8, 3, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize("kind", [nn.MLPField, nn.GradientField])
@pytest.mark.parametrize("time_dependent", [False, True])
def test_with_shared_weights_it_tends_to_the_flow_at_first_order(kind, time_dependent, y):
    field = kind(3, n_members=2, time_dependent=time_dependent, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        exact = ode.solve(field.mean, y, torch.tensor([0.0, 1.0]).double(), rtol=1e-11, atol=1e-12).ys[:, -1]
        errors = [
            float((nn.ResidualMap(field)(y, torch.linspace(0, 1, n + 1).double())[:, -1] - exact).norm())
            for n in (16, 32, 64, 128)
        ]
    orders = -np.diff(np.log2(errors))
    assert np.abs(orders - 1).max() < 0.1
    assert errors[-1] < 0.02 * float((exact - y).norm())


def test_it_is_its_formula(y):
    one, two = g(0), g(1)
    ts = torch.tensor([0.0, 0.3, 1.0]).double()
    path = nn.ResidualMap([one, two])(y, ts)
    middle = y + 0.3 * one(ts[0], y)
    expected = torch.stack([y, middle, middle + 0.7 * two(ts[1], middle)], 1)
    torch.testing.assert_close(path, expected)
    shared = nn.ResidualMap(one)(y, ts)
    torch.testing.assert_close(shared[:, :2], expected[:, :2])
    torch.testing.assert_close(shared[:, 2], middle + 0.7 * one(ts[1], middle))


def test_it_is_the_solver_that_takes_one_euler_step_between_times(y):
    ts = torch.tensor([0.0, 0.2, 0.9]).double()
    found = nn.ResidualMap(g())(y, ts)
    torch.testing.assert_close(found, ode.solve(g(), y, ts, solver="euler").ys)


def test_every_row_has_its_times(y):
    ts = torch.rand(8, 4, generator=torch.Generator().manual_seed(2)).double().cumsum(1)
    field = g(time_dependent=True)
    found = nn.ResidualMap(field)(y, ts)
    alone = torch.cat([nn.ResidualMap(field)(one[None], own) for one, own in zip(y, ts, strict=True)])
    torch.testing.assert_close(found, alone)


def test_every_step_learns_its_own_weights(y):
    field = nn.ResidualMap([g(0), g(1)])
    field(y, torch.tensor([0.0, 1.0, 2.0]).double())[:, 2].square().sum().backward()
    assert len(list(field.parameters())) == 8
    assert all(p.grad.abs().sum() > 0 for p in field.parameters())


@pytest.mark.parametrize(
    ("make", "fix"),
    [
        (lambda: nn.ResidualMap([]), "one field or more"),
        (lambda: nn.ResidualMap([g(), g(n_latent=2)]), "all of one"),
        (lambda: nn.ResidualMap([g()])(torch.zeros(1, 3).double(), torch.arange(3.0)), "Pass fewer times"),
        (lambda: nn.ResidualMap(g())(torch.zeros(1, 2).double(), torch.arange(3.0)), "states of 3 dimensions"),
    ],
)
def test_what_it_cannot_step_is_refused(make, fix):
    with pytest.raises(ScnodeError, match=fix):
        make()
