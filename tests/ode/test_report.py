import pytest
import torch

from scnode import SolverError, ode

DOUBLE = torch.float64


def report(network, **options):
    y0 = torch.linspace(-1, 1, 12, dtype=DOUBLE).reshape(4, 3)
    ts = torch.linspace(0, 2, 3, dtype=DOUBLE)
    return ode.gradient_report(network, y0, ts, lambda ys: ys[:, -1].square().mean(), **options)


def test_the_bias_falls_with_the_tolerance(network):
    found = report(network, solver="tsit5", rtols=(1e-3, 1e-5, 1e-7))
    for name in ("backprop", "checkpointed", "adjoint"):
        rows = [row for row in found.rows if row.gradient == name]
        bias = [row.bias for row in rows]
        assert bias[0] > 10 * bias[1] > 100 * bias[2]
        assert bias[2] < 1e-5
        assert rows[0].evaluations < rows[2].evaluations
        assert all(row.peak_bytes > 0 and row.seconds > 0 and not row.failure for row in rows)
    assert found.reference.shape == (12 + sum(p.numel() for p in network.parameters()),)
    assert found.records()[0]["gradient"] == "backprop"


def test_the_reference_is_the_true_gradient(linear):
    field = linear([0.5, 2.0])
    y0, ts = torch.tensor([[1.0, -0.5]], dtype=DOUBLE, requires_grad=True), torch.tensor([0.0, 1.0], dtype=DOUBLE)
    found = ode.gradient_report(field, y0, ts, lambda ys: ys.pow(3).sum(), gradients=["forward"], rtols=[1e-6])
    exact = torch.autograd.grad(field.exact(y0, ts).pow(3).sum(), [y0, field.matrix])
    torch.testing.assert_close(found.reference, torch.cat([g.flatten() for g in exact]), rtol=1e-7, atol=1e-9)
    assert found.rows[0].bias < 1e-5


def test_discrete_gradients_share_their_bias_and_differ_in_memory(network):
    options = {"solver": "rk4", "step": 0.02, "gradients": ("backprop", "checkpointed"), "rtols": [1e-3]}
    found = {row.gradient: row for row in report(network, **options).rows}
    assert found["checkpointed"].bias == pytest.approx(found["backprop"].bias, rel=1e-3, abs=1e-12)
    assert found["checkpointed"].peak_bytes < 0.5 * found["backprop"].peak_bytes


def test_a_failed_row_says_why():
    """Below a tolerance this field runs away, above it the steps pass by; the reference fails, and says so."""
    with pytest.raises(SolverError, match="STALLED"):
        ode.gradient_report(
            lambda t, y: y**2, torch.ones(1, 1, dtype=DOUBLE), torch.tensor([0.0, 2.0]), lambda ys: ys.sum()
        )


@pytest.mark.parametrize(
    ("change", "fix"),
    [
        ({"gradients": ["magic"]}, "backprop"),
        ({"loss": lambda ys: ys}, "Return a scalar"),
        ({"loss": lambda ys: torch.tensor(1.0)}, "Return a scalar"),
    ],
)
def test_bad_input(network, change, fix):
    loss = change.pop("loss", lambda ys: ys.sum())
    y0, ts = torch.ones(1, 3, dtype=DOUBLE), torch.tensor([0.0, 1.0], dtype=DOUBLE)
    with pytest.raises(SolverError, match=fix):
        ode.gradient_report(network, y0, ts, loss, **change)
