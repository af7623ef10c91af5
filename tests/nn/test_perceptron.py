import functools
import itertools

import pytest
import torch
from torch.autograd import forward_ad

from scnode.nn import _perceptron
from scnode.nn._perceptron import ACTIVATIONS, perceptron, perceptron_jacobian

DOUBLE = {"dtype": torch.float64}


def network(*widths, seed=0, dtype=torch.float32):
    """Weights and biases."""
    source = torch.Generator().manual_seed(seed)
    weights = [torch.randn(i, o, generator=source) / i**0.5 for i, o in itertools.pairwise(widths)]
    biases = [torch.randn(o, generator=source) for o in widths[1:]]
    return [w.to(dtype).requires_grad_() for w in weights], [b.to(dtype).requires_grad_() for b in biases]


def states(n, d, *, seed=1, dtype=torch.float32):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)).to(dtype)


def written_out(x, weights, biases, activation):
    """The definition, by torch's own functions."""
    act = torch.tanh if activation == "tanh" else getattr(torch.nn.functional, activation)
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        x = act(x @ weight + bias)
    return x @ weights[-1] + biases[-1]


def jacobian_of(function, x):
    return torch.func.vmap(torch.func.jacrev(lambda one: function(one[None])[0]))(x)


@pytest.fixture(params=["fused", "plain"])
def path(request, monkeypatch):
    """Both ways through the code, whatever the processor."""
    if request.param == "fused" and not _perceptron.onednn_works():
        pytest.skip("torch has no oneDNN here")
    monkeypatch.setattr(_perceptron, "onednn_pays", lambda: request.param == "fused")
    monkeypatch.setattr(_perceptron, "_SMALLEST", 1)
    monkeypatch.setattr(_perceptron, "_FEW", 0)
    return request.param


@pytest.fixture
def calls(monkeypatch):
    """How often oneDNN multiplied."""
    counted = []
    original = _perceptron._onednn
    monkeypatch.setattr(_perceptron, "_onednn", lambda *args: counted.append(1) or original(*args))
    return counted


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("n", [0, 1, 7, 8, 130])
def test_values_and_gradients_are_those_of_the_definition(path, activation, n):
    weights, biases = network(3, 64, 70, 4)
    x = states(n, 3).requires_grad_()
    results = []
    for function in (perceptron, written_out):
        value = function(x, weights, biases, activation)
        results.append([value, *torch.autograd.grad(value.square().sum(), [x, *weights, *biases])])
    for found, expected in zip(*results, strict=True):
        assert found.shape == expected.shape
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(perceptron(x, weights, biases, activation), results[1][0], rtol=1e-5, atol=2e-6)


def test_the_path_asked_for_is_the_one_taken(path, calls):
    weights, biases = network(3, 16, 3)
    perceptron(states(20, 3).requires_grad_(), weights, biases, "tanh").sum().backward()
    assert bool(calls) == (path == "fused")


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("unneeded", ["x", "weights", "biases"])
def test_only_what_requires_a_gradient_gets_one(unneeded):
    weights, biases = network(3, 16, 3)
    inputs = {"x": [states(20, 3).requires_grad_()], "weights": weights, "biases": biases}
    for p in inputs.pop(unneeded):
        p.requires_grad_(requires_grad=False)
    perceptron(states(20, 3) if unneeded == "x" else inputs["x"][0], weights, biases, "silu").sum().backward()
    assert all(p.grad is not None for group in inputs.values() for p in group)


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_second_derivatives_are_exact_where_inputs_depend_on_parameters(activation):
    """Two layers of the same network, so that the inputs of the second depend on its weights."""
    weights, biases = network(3, 16, 16, 3)
    start = states(20, 3).requires_grad_()
    results = []
    for function in (perceptron, written_out):
        run = functools.partial(function, weights=weights, biases=biases, activation=activation)
        value = run(run(start))
        first = torch.autograd.grad(value.square().mean(), [start, *weights], create_graph=True)
        penalty = sum(g.square().sum() for g in first)
        results.append(torch.autograd.grad(penalty, [start, *weights, *biases[:-1]]))
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_of_every_order_in_double_precision(activation):
    weights, biases = network(2, 3, 3, 2, **DOUBLE)
    x = states(2, 2, **DOUBLE).requires_grad_()
    for function in (perceptron, perceptron_jacobian):

        def run(x, *parameters, function=function):
            return function(x, parameters[:3], parameters[3:], activation)

        assert torch.autograd.gradcheck(run, (x, *weights, *biases))
        assert torch.autograd.gradgradcheck(run, (x, *weights, *biases))


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("widths", [(3, 64, 48, 3), (2, 16, 8, 5), (5, 8, 2), (3, 3)])
@pytest.mark.parametrize("differentiated", [True, False])
def test_the_jacobian_is_that_of_the_definition(activation, dtype, widths, differentiated):
    weights, biases = network(*widths, dtype=dtype)
    x = states(40, widths[0], dtype=dtype)
    expected = jacobian_of(lambda x: written_out(x, weights, biases, activation), x)
    with torch.set_grad_enabled(differentiated):
        found = perceptron_jacobian(x, weights, biases, activation)
    assert found.requires_grad == differentiated
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 if dtype == torch.float32 else 1e-12)


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("n", [0, 1, 15, 16, 17, 33, 64, 65, 81])
def test_rows_do_not_depend_on_where_chunks_end(n, monkeypatch):
    weights, biases = network(2, 8, 8, 2)
    x = states(n, 2)
    expected = perceptron(x, weights, biases, "tanh"), perceptron_jacobian(x, weights, biases, "tanh")
    monkeypatch.setattr(_perceptron, "_CACHE", 1024)
    assert _perceptron._cached_rows(weights) == 16
    with torch.no_grad():
        found = perceptron(x, weights, biases, "tanh"), perceptron_jacobian(x, weights, biases, "tanh")
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-6)


@pytest.mark.usefixtures("path")
def test_transforms_see_through(calls):
    weights, biases = ([p.detach() for p in group] for group in network(3, 16, 3))
    x = states(20, 3)
    expected = perceptron_jacobian(x, weights, biases, "tanh")
    calls.clear()
    torch.testing.assert_close(jacobian_of(lambda x: perceptron(x, weights, biases, "tanh"), x), expected)
    tangent = torch.ones(20, 3)
    _, forward = torch.func.jvp(lambda x: perceptron(x, weights, biases, "tanh"), (x,), (tangent,))
    torch.testing.assert_close(forward, expected.sum(-1))
    with forward_ad.dual_level():
        dual = perceptron(forward_ad.make_dual(x, tangent), weights, biases, "tanh")
        torch.testing.assert_close(forward_ad.unpack_dual(dual).tangent, expected.sum(-1))
    hessian = torch.func.jacfwd(lambda x: perceptron_jacobian(x, weights, biases, "tanh"))(x[:2])
    assert hessian.shape == (2, 3, 3, 2, 3)
    assert not calls


@pytest.mark.usefixtures("path")
def test_gradients_come_in_batches():
    weights, biases = network(3, 16, 3)
    x = states(20, 3).requires_grad_()
    value = perceptron(x, weights, biases, "tanh")
    directions = torch.eye(3)[:, None].expand(3, 20, 3)
    (rows,) = torch.autograd.grad(value, x, directions, is_grads_batched=True)
    torch.testing.assert_close(rows.transpose(0, 1), perceptron_jacobian(x, weights, biases, "tanh"))


def test_an_ensemble_is_a_batched_product():
    members = [network(3, 8, 3, seed=m) for m in range(2)]
    weights = [torch.stack(layer) for layer in zip(*(w for w, _ in members), strict=True)]
    biases = [torch.stack(layer).unsqueeze(1) for layer in zip(*(b for _, b in members), strict=True)]
    together = perceptron(states(5, 3).expand(2, 5, 3), weights, biases, "tanh")
    for m, one in enumerate(members):
        torch.testing.assert_close(together[m], perceptron(states(5, 3), *one, "tanh"))


@pytest.mark.parametrize(("x", "smallest"), [(states(20, 3, **DOUBLE), 1), (states(20, 3), 10**9)])
def test_onednn_is_for_large_networks_in_single_precision(x, smallest, monkeypatch):
    monkeypatch.setattr(_perceptron, "onednn_pays", lambda: True)
    monkeypatch.setattr(_perceptron, "_SMALLEST", smallest)
    assert not _perceptron.fusable(x, network(3, 16, 3, dtype=x.dtype)[0])


@pytest.mark.parametrize("failure", ["absent", "raises", "wrong"])
def test_an_operator_that_is_missing_or_wrong_is_never_used(failure, monkeypatch):
    def broken(x, weight, *_):
        if failure == "absent":
            raise AttributeError
        if failure == "raises":
            raise RuntimeError
        return torch.zeros(len(x), len(weight))

    monkeypatch.setattr(_perceptron, "_onednn", broken)
    monkeypatch.setattr(_perceptron, "onednn_works", _perceptron.onednn_works.__wrapped__)
    assert not _perceptron.onednn_works()
    assert not _perceptron.onednn_pays.__wrapped__()


@pytest.mark.skipif(not _perceptron.onednn_works(), reason="torch has no oneDNN here")
@pytest.mark.parametrize(("gain", "pays"), [(0.0, True), (float("inf"), False)])
def test_onednn_must_be_faster(gain, pays, monkeypatch):
    monkeypatch.setattr(_perceptron, "_GAIN", gain)
    assert _perceptron.onednn_pays.__wrapped__() == pays


def test_padding_keeps_the_sizes_few():
    sizes = {len(_perceptron._padded(torch.empty(n, 1))) for n in range(1, 1025)}
    assert len(sizes) < 60
    assert all(len(_perceptron._padded(torch.empty(n, 1))) <= max(1.125 * n, n + 7) for n in range(1, 1025))
