import pytest
import torch

from scnode import SolverError, ode


def starts(n, dim, *, low=0.0, high=3.0, dtype=torch.float64):
    return torch.rand(n, dim, dtype=dtype, generator=torch.Generator().manual_seed(0)) * (high - low) + low


def toggle(t, y):
    """Two genes that repress each other: two stable states and the saddle between them."""
    return torch.stack([3 / (1 + y[:, 1] ** 4) - y[:, 0], 3 / (1 + y[:, 0] ** 4) - y[:, 1]], dim=1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_toggle_switch_has_two_stable_states_and_a_saddle(dtype):
    found = ode.fixed_points(toggle, starts(200, 2, dtype=dtype))
    assert sorted(found.kind) == ["saddle", "stable node", "stable node"]
    saddle = found.position[found.kind.index("saddle")]
    # x^5 + x = 3 on the diagonal.
    assert (saddle**5 + saddle - 3).abs().max() < 1e-4
    assert found.position.dtype == dtype
    assert (found.residual < 1e-5).all()
    assert int(found.n_starts.sum()) + found.n_failed == 200
    assert found.n_failed < 20
    matrices = ode.jacobian(toggle, found.position)
    torch.testing.assert_close(found.eigenvalues, ode.eigenvalues(matrices))


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_units_of_state_and_time_do_not_matter(scale):
    here = torch.tensor([scale, scale * 1e-3], dtype=torch.float64)

    def field(t, y):
        return toggle(t, y / here) * here * 1e5

    found = ode.fixed_points(field, starts(100, 2) * here)
    reference = ode.fixed_points(toggle, starts(100, 2))
    assert found.kind == reference.kind
    torch.testing.assert_close(found.position / here, reference.position, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("matrix", "kind"),
    [
        ([[-1.0, 0.0], [0.0, -2.0]], "stable node"),
        ([[-1.0, -2.0], [2.0, -1.0]], "stable focus"),
        ([[1.0, 0.3], [0.0, 2.0]], "unstable node"),
        ([[1.0, -2.0], [2.0, 1.0]], "unstable focus"),
        ([[1.0, 0.0], [0.0, -1.0]], "saddle"),
        ([[0.0, -2.0], [2.0, 0.0]], "centre"),
    ],
)
def test_kinds_of_linear_fields(matrix, kind):
    a = torch.tensor(matrix, dtype=torch.float64)
    at = torch.tensor([1.0, -2.0], dtype=torch.float64)
    found = ode.fixed_points(lambda t, y: (y - at) @ a.T, starts(10, 2))
    assert found.kind == (kind,)
    assert found.n_starts.tolist() == [10]
    torch.testing.assert_close(found.position[0], at)


def test_a_double_root_is_degenerate_and_found_once():
    found = ode.fixed_points(lambda t, y: torch.stack([y[:, 0] ** 2, -y[:, 1]], dim=1), starts(20, 2, low=-1.0))
    assert found.kind == ("degenerate",)
    assert found.n_starts.tolist() == [20]
    assert found.position.abs().max() < 1e-9


def test_conserved_totals_are_kept_and_do_not_spoil_the_kind():
    """A <-> B at rates 2 and 1 beside C' = 1 - C: the total of A and B is that of each start."""

    def field(t, y):
        flux = 2 * y[:, 0] - y[:, 1]
        return torch.stack([-flux, flux, 1 - y[:, 2]], dim=1)

    begin = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 5.0], [3.0, 3.0, 2.0]], dtype=torch.float64)
    found = ode.fixed_points(field, begin)
    expected = torch.tensor([[1 / 3, 2 / 3, 1.0], [2.0, 4.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(found.position, expected)
    assert found.kind == ("stable node", "stable node")
    assert found.n_starts.tolist() == [2, 1]
    torch.testing.assert_close(found.eigenvalues[0].real, torch.tensor([0.0, -1.0, -3.0], dtype=torch.float64))


def test_singular_starts_are_survived():
    """At the start the Jacobian is 0 in one direction, yet nothing is conserved."""
    found = ode.fixed_points(
        lambda t, y: torch.stack([1 - y[:, 0] ** 2, y[:, 0] - y[:, 1]], dim=1),
        torch.tensor([[1e-12, 1.0], [2.0, 2.0]], dtype=torch.float64),
    )
    assert found.n_failed == 0
    torch.testing.assert_close(found.position.abs(), torch.ones_like(found.position))


def test_starts_caught_where_the_residual_is_least_follow_the_flow_instead():
    """-(x^3 - 3 x + 5) has its only zero at -2.28, and a residual of 3 that is least at x = 1."""
    found = ode.fixed_points(lambda t, y: -(y**3) + 3 * y - 5, starts(20, 1, low=1.5, high=4.0))
    assert found.n_failed == 0
    assert found.kind == ("stable node",)
    assert found.position.item() == pytest.approx(-2.2790187)


def test_starts_that_come_to_nothing_are_counted():
    assert ode.fixed_points(lambda t, y: 1 + y**2, starts(7, 1)).n_failed == 7
    assert ode.fixed_points(lambda t, y: torch.ones_like(y), starts(7, 2)).n_failed == 7
    assert ode.fixed_points(lambda t, y: torch.exp(-y), starts(7, 1)).n_failed == 7
    partly = ode.fixed_points(lambda t, y: torch.log(y), torch.tensor([[-1.0], [0.5], [2.0]]))
    assert partly.n_failed == 1
    assert partly.n_starts.tolist() == [2]
    none = ode.fixed_points(lambda t, y: -y, torch.zeros(0, 3))
    assert none.position.shape == none.eigenvalues.shape == (0, 3)
    assert (none.kind, none.n_failed) == ((), 0)


def test_a_time_dependent_field_is_frozen_and_the_caller_s_jacobian_used():
    def jacobian(t, y):
        return -torch.eye(1, dtype=y.dtype).expand(len(y), 1, 1)

    found = ode.fixed_points(lambda t, y: (t - y).detach(), starts(3, 1), t=2.0, jacobian=jacobian)
    assert found.position.item() == pytest.approx(2.0)


def test_a_field_that_is_zero_stands_still_everywhere():
    found = ode.fixed_points(lambda t, y: 0 * y, starts(4, 2))
    assert found.kind == ("degenerate",) * 4
    assert found.n_failed == 0


def test_bad_starts_name_the_mending_call():
    with pytest.raises(SolverError, match="pass finite floats"):
        ode.fixed_points(toggle, torch.full((2, 2), float("inf")))
