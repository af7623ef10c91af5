import pytest
import torch

from scnode import ScnodeError, nn, ode


@pytest.fixture
def field():
    return nn.MLPField(3, hidden=(8,), n_members=4, generator=torch.Generator().manual_seed(0))


def test_members_equal_their_own_networks(field):
    """The batched product is the loop over members."""
    y = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    together = field.members(torch.zeros(()), y)
    for m in range(4):
        h = torch.nn.functional.silu(y @ field.weights[0][m] + field.biases[0][m])
        torch.testing.assert_close(together[m], h @ field.weights[1][m] + field.biases[1][m])
    torch.testing.assert_close(field.mean(torch.zeros(()), y), together.mean(0))


def test_stacked_states_solve_every_member_on_its_own(field):
    y0 = torch.randn(2, 3, generator=torch.Generator().manual_seed(2))
    ts = torch.linspace(0, 1, 11)
    ys = ode.solve(field.stacked, y0.repeat(4, 1), ts, solver="rk4").ys.reshape(4, 2, 11, 3)
    alone = ode.solve(lambda t, y: field.members(t, y)[2], y0, ts, solver="rk4").ys
    torch.testing.assert_close(ys[2], alone)


def test_scales_move_the_field_with_the_data(field):
    y = torch.randn(5, 3, generator=torch.Generator().manual_seed(3))
    before = field.mean(torch.zeros(()), y)
    field.set_scales(center=torch.ones(3), scale=torch.tensor(2.0), speed=torch.tensor(5.0))
    torch.testing.assert_close(field.mean(torch.zeros(()), 2 * y + 1), 5 * before)


def test_sizes_must_be_positive():
    with pytest.raises(ScnodeError, match="positive integers"):
        nn.MLPField(0)
