import pytest
import torch

from scnode import ScnodeError
from scnode.nn._residual import ResidualPerceptron


def started(seed=0):
    generator = torch.Generator().manual_seed(seed)
    net = ResidualPerceptron(5, 3, hidden=(8, 4))
    linear, bias = torch.randn(4, 2, generator=generator), torch.randn(2, generator=generator)
    net.start(linear, bias, generator=generator)
    return net, linear, bias


def test_it_begins_at_the_linear_map_of_the_leading_inputs_and_outputs():
    net, linear, bias = started()
    x = torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(net(x)[:, :2], x[:, :4] @ linear + bias)
    assert (net(x)[:, 2] == 0).all()


def test_the_correction_can_learn_from_the_beginning():
    net, *_ = started()
    x = torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
    net(x).square().sum().backward()
    assert net.weights[-1].grad.abs().max() > 0
    assert torch.equal(started()[0].weights[0], net.weights[0])
    assert not torch.equal(started(1)[0].weights[0], net.weights[0])


def test_sizes_are_positive():
    with pytest.raises(ScnodeError, match="at least 1"):
        ResidualPerceptron(5, 3, hidden=(0,))
