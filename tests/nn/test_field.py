import pytest
import torch

from scnode import ScnodeError, nn, ode


@pytest.fixture
def field():
    return nn.MLPField(3, hidden=(8,), n_members=4, generator=torch.Generator().manual_seed(0))


def test_side_by_side_solves_every_member_on_its_own(field):
    y0 = torch.randn(2, 3, generator=torch.Generator().manual_seed(2))
    ts = torch.linspace(0, 1, 11)
    ys = ode.solve(nn.side_by_side(field, 4), y0.repeat(1, 4), ts, solver="rk4").ys.unflatten(2, (4, 3))
    alone = ode.solve(lambda t, y: field.members(t, y)[2], y0, ts, solver="rk4").ys
    torch.testing.assert_close(ys[:, :, 2], alone)


def test_scales_move_the_field_with_the_data(field):
    y = torch.randn(5, 3, generator=torch.Generator().manual_seed(3))
    before = field.mean(torch.zeros(()), y)
    field.set_scales(center=torch.ones(3), scale=torch.tensor(2.0), speed=torch.tensor(5.0))
    torch.testing.assert_close(field.mean(torch.zeros(()), 2 * y + 1), 5 * before)


def test_an_ensemble_asks_which_member_moves_the_states(field):
    with pytest.raises(ScnodeError, match=r"Call field\.mean"):
        field(torch.zeros(()), torch.zeros(5, 3))


def confined(n_members=2):
    field = nn.MLPField(3, hidden=(16,), n_members=n_members, generator=torch.Generator().manual_seed(0)).double()
    center, one = torch.tensor([0.5, 0.0, -0.5], dtype=torch.float64), torch.ones((), dtype=torch.float64)
    field.set_scales(center=center, scale=one, speed=3 * one, reach=2.0)
    return field


def test_beyond_its_reach_the_field_is_that_of_the_rim_and_a_pull_back():
    field = confined()
    free = confined()
    free.reach = float("inf")
    inside = field.center + torch.tensor([[1.0, 0.5, 0.2], [0.0, 0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(field.members(torch.zeros(()), inside), free.members(torch.zeros(()), inside))
    ray = torch.tensor([[2.0, 2.0, 1.0]], dtype=torch.float64) / 3
    rim, outside = field.center + 2 * ray, field.center + 5 * ray
    pull = 3.0 * 3 * ray
    torch.testing.assert_close(field.mean(torch.zeros(()), outside), free.mean(torch.zeros(()), rim) - pull)


def test_the_jacobian_is_exact_within_and_beyond_reach():
    field = confined()
    states = field.center + torch.tensor([[0.3, 0.2, 0.1], [3.0, -2.0, 1.0], [0.0, 8.0, 0.0]], dtype=torch.float64)
    exact = torch.func.vmap(torch.func.jacrev(lambda y: field.mean(torch.zeros(()), y[None])[0]))(states)
    torch.testing.assert_close(field.jacobian(torch.zeros(()), states), exact)


def test_no_trajectory_leaves_for_good():
    field = confined(n_members=1)
    with torch.no_grad():
        for weight in field.weights:
            weight.mul_(5)
    starts = field.center + torch.tensor([[1.0, 0.0, 0.0], [30.0, 0.0, 0.0], [0.0, -1.0, 1.0]], dtype=torch.float64)
    with torch.no_grad():
        ends = ode.solve(field, starts, torch.tensor([0.0, 20.0], dtype=torch.float64), solver="dopri5").ys[:, -1]
        rim = field(torch.zeros(()), field.center + 2 * torch.nn.functional.normalize(ends - field.center, dim=1))
    # At rest the pull over the excess balances the outflow at the rim.
    assert ((ends - field.center).norm(dim=1) <= 2 + rim.norm(dim=1) / 3 + 0.05).all()


class Cubic(nn.Field):
    """A kind without a closed Jacobian."""

    name = "cubic"

    def scaled(self, t, z):
        return -(z**3) + t * z.roll(1, -1)


def test_a_kind_without_a_closed_jacobian_is_differentiated():
    field = Cubic(3, n_members=2).double()
    two = torch.tensor(2.0, dtype=torch.float64)
    field.set_scales(center=torch.ones(3), scale=two, speed=3 * two, reach=1.5)
    states = torch.randn(5, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    for t in (torch.tensor(0.3), torch.linspace(0, 1, 5, dtype=torch.float64)[:, None]):
        at = t.expand(5, 1).double()
        exact = torch.func.vmap(torch.func.jacrev(lambda y, s: field.mean(s, y[None])[0]))(states, at)
        torch.testing.assert_close(field.jacobian(t, states), exact)


@pytest.mark.parametrize("sizes", [{"n_latent": 0}, {"n_latent": 2, "n_members": 0}])
def test_sizes_are_at_least_one(sizes):
    with pytest.raises(ScnodeError, match="positive integers"):
        Cubic(**sizes)


def test_kinds_are_known_by_their_names():
    assert all(getattr(kind, "__self__", kind).name == name for name, kind in nn.FIELDS.items())


def test_a_fresh_field_is_of_the_same_kind_and_sizes():
    field = nn.MLPField(3, hidden=(7,), n_members=2, activation="tanh", time_dependent=True)
    fresh = field.fresh(n_members=1, generator=torch.Generator().manual_seed(0))
    known = nn.MLPField(
        3, hidden=(7,), activation="tanh", time_dependent=True, generator=torch.Generator().manual_seed(0)
    )
    assert (type(fresh), fresh.sizes, fresh.n_members) == (nn.MLPField, field.sizes, 1)
    assert all(torch.equal(a, b) for a, b in zip(fresh.weights, known.weights, strict=True))
