import pytest
import torch

from scnode import ScnodeError, nn


@pytest.fixture
def moments():
    return nn.Moments(torch.zeros(2, dtype=torch.float64), torch.tensor([2.0, 5.0], dtype=torch.float64))


def test_expression_is_the_logarithm_of_spliced_abundance(moments):
    z = torch.tensor([[9.0, 9.0, 1.0, 0.4]], dtype=torch.float64)
    torch.testing.assert_close(moments.decode(z), torch.log1p(torch.tensor([[2.0, 2.0]], dtype=torch.float64)))
    unspliced, spliced = moments.abundance(z)
    torch.testing.assert_close(unspliced, torch.tensor([[18.0, 45.0]], dtype=torch.float64))
    torch.testing.assert_close(spliced, torch.tensor([[2.0, 2.0]], dtype=torch.float64))


def test_rate_of_expression_is_its_derivative(moments):
    source = torch.Generator().manual_seed(0)
    z, v = (torch.rand(3, 7, 4, generator=source, dtype=torch.float64) for _ in range(2))
    torch.testing.assert_close(moments.decode_velocity(z, v), torch.func.jvp(moments.decode, (z,), (v,))[1])


def test_a_solver_may_undershoot(moments):
    below = torch.tensor([[0.0, 0.0, -2.0, 0.0]], dtype=torch.float64)
    assert torch.equal(moments.decode(below), torch.zeros(1, 2, dtype=torch.float64))


@pytest.mark.parametrize("ask", [lambda m, x: m.encode(x), lambda m, x: m.encode_velocity(x, x)])
def test_expression_places_no_cell(moments, ask):
    with pytest.raises(ScnodeError, match=r"Pass cells with both layers to scnode\.tl\.map"):
        ask(moments, torch.zeros(1, 2))


def test_sizes_belong_together():
    assert nn.Moments.sized(3, 6).n_latent == 6
    with pytest.raises(ScnodeError, match="6 abundances"):
        nn.Moments.sized(3, 5)
