import pytest
import torch

from scnode import ScnodeError, nn, ode
from scnode.model import LatentODE
from scnode.nn import _perceptron


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


def test_sizes_must_be_positive():
    with pytest.raises(ScnodeError, match="positive integers"):
        nn.MLPField(0)


ZERO = torch.zeros(())


def alone(**options):
    field = nn.MLPField(3, hidden=(8, 8), generator=torch.Generator().manual_seed(0), **options)
    field.set_scales(center=torch.ones(3), scale=torch.tensor(2.0), speed=torch.tensor(5.0))
    return field


def by_transform(function, y):
    return torch.func.vmap(torch.func.jacrev(lambda one: function(one[None])[0]))(y)


def test_weights_of_a_seed_stay_as_they_were(field):
    """Bound times the generator's stream, layer after layer."""
    source = torch.Generator().manual_seed(0)
    first, second = (torch.rand(4, i, o, generator=source) * 2 - 1 for i, o in ((3, 8), (8, 3)))
    assert torch.equal(field.weights[0], first * 1.0)
    assert torch.equal(field.weights[1], second * (3 / 8) ** 0.5)


def test_one_member_is_a_field_of_its_own():
    field, y = alone(activation="tanh"), torch.randn(5, 3)
    h = (y - 1) / 2
    for weight, bias in zip(field.weights[:-1], field.biases[:-1], strict=True):
        h = torch.tanh(h @ weight[0] + bias[0])
    expected = 5 * (h @ field.weights[-1][0] + field.biases[-1][0])
    for result in (field(ZERO, y), field(ZERO, y[None])[0], field.mean(ZERO, y), field.members(ZERO, y)[0]):
        torch.testing.assert_close(result, expected)
    torch.testing.assert_close(ode.solve(field, y, torch.linspace(0, 1, 3), solver="rk4").ys[:, 0], y)


@pytest.mark.parametrize("n_members", [1, 4])
@pytest.mark.parametrize("activation", ["silu", "softplus", "tanh"])
@pytest.mark.parametrize("time_dependent", [False, True])
@pytest.mark.parametrize("differentiated", [False, True])
def test_the_jacobian_is_that_of_the_mean(n_members, activation, time_dependent, differentiated):
    field, y = alone(n_members=n_members, activation=activation, time_dependent=time_dependent), torch.randn(5, 3)
    t = torch.tensor(0.3)
    expected = by_transform(lambda y: field.mean(t, y), y)
    with torch.set_grad_enabled(differentiated):
        found = field.jacobian(t, y)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found, ode.jacobian(field.mean, y, t=0.3), rtol=1e-5, atol=1e-5)
    assert found.requires_grad == differentiated


def test_gradients_pass_through_the_jacobian():
    field = alone(n_members=2).double()
    y = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda y: field.jacobian(ZERO, y), y)
    field.jacobian(ZERO, y).square().sum().backward()
    assert all(w.grad.abs().sum() > 0 for w in field.weights)


def test_time_is_one_more_input():
    field, y = alone(n_members=2, time_dependent=True), torch.randn(5, 3)
    clock = torch.linspace(0, 1, 5)[:, None]
    each = torch.stack([field.members(t, one[None])[:, 0] for t, one in zip(clock[:, 0], y, strict=True)], 1)
    torch.testing.assert_close(field.members(clock, y), each)
    joint = nn.side_by_side(field, 2)(clock, y.repeat(1, 2))
    torch.testing.assert_close(joint, each.transpose(0, 1).flatten(1))
    torch.testing.assert_close(field.jacobian(clock, y)[2], field.jacobian(clock[2, 0], y)[2])
    assert not torch.allclose(field.mean(ZERO, y), field.mean(ZERO + 1, y))


@pytest.mark.skipif(not _perceptron.onednn_works(), reason="torch has no oneDNN here")
@pytest.mark.parametrize("activation", ["silu", "tanh"])
def test_the_fused_ensemble_is_the_batched_one(activation, monkeypatch):
    field, y = alone(n_members=4, activation=activation), torch.randn(20, 3, requires_grad=True)
    results = []
    monkeypatch.setattr(_perceptron, "_SMALLEST", 1)
    for fused in (False, True):
        monkeypatch.setattr(_perceptron, "onednn_pays", lambda fused=fused: fused)
        value = field.members(ZERO, y)
        results.append((value, *torch.autograd.grad(value.square().sum(), [y, *field.parameters()])))
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-3)


def test_choices_are_stored_with_the_model():
    model = LatentODE(alone(activation="tanh", time_dependent=True))
    again = LatentODE.from_arrays(model.to_arrays())
    y = torch.randn(5, 3)
    torch.testing.assert_close(again.field(ZERO + 1, y), model.field(ZERO + 1, y))


def test_models_stored_before_there_was_a_choice_are_silu():
    model = LatentODE(alone())
    stored = model.to_arrays()
    for entry in (', "time_dependent": false', '"activation": "silu", '):
        assert entry in stored["config"]
        stored["config"] = stored["config"].replace(entry, "")
    assert LatentODE.from_arrays(stored).field.activation == "silu"


def test_an_unknown_activation_names_the_known():
    with pytest.raises(ScnodeError, match="'silu', 'softplus', 'tanh'"):
        nn.MLPField(3, activation="relu")
