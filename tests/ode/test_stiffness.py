import pytest
import torch

from scnode import SolverError, ode


def linear(rates, seed=0):
    """A field with these eigenvalues in a skewed basis."""
    n = len(rates)
    v = torch.eye(n, dtype=torch.float64) + 0.3 * torch.randn(
        n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    a = v @ torch.diag(torch.tensor(rates, dtype=torch.float64)) @ torch.linalg.inv(v)
    return lambda t, y: y @ a.T


def robertson(t, y):
    a, b, c = y.unbind(1)
    slow, fast, middle = 0.04 * a, 3e7 * b**2, 1e4 * b * c
    return torch.stack([middle - slow, slow - middle - fast, fast], dim=1)


def hires(t, y):
    a, b, c, d, e, f, g, h = y.unbind(1)
    bound = 280 * f * h
    return torch.stack(
        [
            -1.71 * a + 0.43 * b + 8.32 * c + 0.0007,
            1.71 * a - 8.75 * b,
            -10.03 * c + 0.43 * d + 0.035 * e,
            8.32 * b + 1.71 * c - 1.12 * d,
            -1.745 * e + 0.43 * f + 0.43 * g,
            -bound + 0.69 * d + 1.71 * e - 0.43 * f + 0.69 * g,
            bound - 1.81 * g,
            -bound + 1.81 * g,
        ],
        dim=1,
    )


def test_ratio_and_radius_of_a_linear_field():
    y0 = torch.ones(3, 3, dtype=torch.float64)
    report = ode.stiffness_ratio(linear([-0.5, -3.0, -50.0]), y0, torch.tensor([0.0, 2.0], dtype=torch.float64))
    torch.testing.assert_close(report.ratio, torch.full((3,), 100.0, dtype=torch.float64))
    torch.testing.assert_close(report.spectral_radius, torch.full((3,), 50.0, dtype=torch.float64))
    torch.testing.assert_close(report.radius_times_interval, torch.full((3,), 100.0, dtype=torch.float64))
    assert not report.n_conserved.any()
    assert not report.stiff.any()


@pytest.mark.parametrize(
    ("rates", "end", "stiff"),
    [
        ([-1.0, -1e4], 1.0, True),
        ([-1.0, -1e4], -1e-3, False),
        ([1e4, -1.0], 1e-3, False),
        ([-1.0, -1e4], 1e-3, False),
        ([-10.0, -20.0], 100.0, False),
    ],
)
def test_the_verdict_needs_a_spread_and_a_decay_long_against_the_interval(rates, end, stiff):
    """Backward in time the fast decay is growth, which every method has to follow."""
    y0 = torch.ones(1, 2, dtype=torch.float64)
    report = ode.stiffness_ratio(linear(rates), y0, torch.tensor([0.0, end], dtype=torch.float64))
    assert report.stiff.item() is stiff


def test_a_fast_rotation_is_not_stiff():
    def rotation(t, y):
        return 600 * torch.stack([-y[:, 1], y[:, 0], -1e-3 * y[:, 2]], dim=1)

    report = ode.stiffness_ratio(rotation, torch.ones(1, 3), torch.tensor([0.0, 1.0]))
    assert report.ratio.item() == pytest.approx(1)
    assert report.radius_times_interval.item() == pytest.approx(600, rel=1e-4)
    assert not report.stiff


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_robertson_conserves_is_left_out(dtype):
    y0 = torch.tensor([[1.0, 0.0, 0.0], [0.7, 0.0, 0.3]], dtype=dtype)
    report = ode.stiffness_ratio(robertson, y0, torch.tensor([0.0, 40.0], dtype=dtype))
    assert report.n_conserved.tolist() == [1, 1]
    # At t=40 the eigenvalues are 0, -0.02 and -3.3e3.
    assert ((report.ratio > 1e4) & (report.ratio < 1e6)).all()
    assert report.stiff.all()


def test_what_hires_conserves_is_left_out():
    y0 = torch.tensor([[1.0, 0, 0, 0, 0, 0, 0, 0.0057]], dtype=torch.float64)
    report = ode.stiffness_ratio(hires, y0, torch.tensor([0.0, 321.8122], dtype=torch.float64))
    assert report.n_conserved.item() == 1
    # The slow end of the reaction drifts at 5e-5 to 1e-1, the fast one at up to 190.
    assert 1e4 < report.ratio.item() < 4e6
    assert report.stiff


def test_a_slow_component_is_not_taken_for_a_conserved_one():
    rates = torch.tensor([-1e-4, -1e5])
    report = ode.stiffness_ratio(lambda t, y: rates * y, torch.ones(1, 2), torch.tensor([0.0, 1.0]))
    assert report.n_conserved.item() == 0
    still = ode.stiffness_ratio(lambda t, y: 0 * y, torch.ones(1, 2), torch.tensor([0.0, 1.0]))
    assert still.n_conserved.item() == 2
    assert (still.ratio.item(), still.spectral_radius.item()) == (1.0, 0.0)


def test_every_trajectory_has_its_own_report_in_any_batch():
    """The middle one conserves its second component."""
    y0 = torch.tensor([[1.0, 1.0], [1.0, 0.0], [2.0, 3.0]], dtype=torch.float64)
    ts = torch.tensor([[0.0, 1.0], [0.0, 2.0], [1.0, 2.0]], dtype=torch.float64)

    def field(t, y):
        return torch.stack([-y[:, 0], -4 * y[:, 1] ** 2], dim=1)

    together = ode.stiffness_ratio(field, y0, ts)
    for i in range(3):
        alone = ode.stiffness_ratio(field, y0[i : i + 1], ts[i])
        for name in ("ratio", "spectral_radius", "radius_times_interval", "n_conserved"):
            torch.testing.assert_close(getattr(together, name)[i : i + 1], getattr(alone, name), rtol=1e-3, atol=0)
    assert together.n_conserved.tolist() == [0, 1, 0]


def test_a_pilot_that_runs_away_is_measured_as_far_as_it_came():
    report = ode.stiffness_ratio(lambda t, y: y**2, torch.ones(1, 1), torch.tensor([0.0, 2.0]))
    assert torch.isfinite(report.spectral_radius).all()
    with pytest.raises(SolverError, match="at least 2"):
        ode.stiffness_ratio(lambda t, y: y, torch.ones(1, 1), torch.tensor([0.0, 2.0]), n_points=1)
