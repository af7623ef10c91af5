import math

import pytest
import torch

from scnode import SolverError, ode

TIMES = torch.linspace(0, 2, 41, dtype=torch.float64)


def pendulum(t, y):
    return torch.stack([y[:, 1], -torch.sin(y[:, 0]) - 0.5 * y[:, 1]], dim=1)


@pytest.fixture(scope="module")
def swings():
    y0 = torch.randn(12, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return ode.solve(pendulum, y0, TIMES, rtol=1e-9, atol=1e-11).ys


def test_linear_fields_reach_their_closed_form():
    matrix = torch.tensor([[1.0, 3.0], [0.0, -1.0]], dtype=torch.float64)
    ys = torch.stack([torch.matrix_exp(matrix * t) @ torch.ones(2, dtype=torch.float64) for t in TIMES])[None]
    along = ode.measure_along(lambda t, y: y @ matrix.T, TIMES, ys, defect=0.1, initial_error=0.02)
    exact = torch.stack([torch.linalg.svdvals(torch.matrix_exp(matrix * t))[0].log() / t for t in TIMES[1:]])
    rate = torch.linalg.eigvalsh((matrix + matrix.T) / 2)[-1]
    torch.testing.assert_close(along.ftle[0, 1:], exact)
    torch.testing.assert_close(along.ftle[0, 0], rate)
    torch.testing.assert_close(along.bound[0], 0.02 * torch.exp(rate * TIMES) + 0.1 * torch.expm1(rate * TIMES) / rate)
    torch.testing.assert_close(along.spectral_norm, torch.linalg.svdvals(matrix)[0].expand(1, len(TIMES)))


def test_measures_are_those_of_a_solve(swings):
    along = ode.measure_along(pendulum, TIMES, swings, defect=1e-2, initial_error=1e-3)
    for k in (10, 40):
        solved = ode.ftle(pendulum, swings[:, 0], float(TIMES[k]), rtol=1e-8, atol=1e-10)
        torch.testing.assert_close(along.ftle[:, k], solved, atol=1e-3, rtol=0)
    bound = ode.gronwall_bound(pendulum, swings[:, 0], TIMES, defect=1e-2, initial_error=1e-3, n_between=1, rtol=1e-9)
    torch.testing.assert_close(along.bound, bound.log_norm, rtol=1e-5, atol=1e-8)


def test_the_exponents_converge_to_second_order(swings):
    exact = ode.ftle(pendulum, swings[:, 0], 2.0, rtol=1e-10, atol=1e-12)
    errors = []
    for stride in (4, 8):
        found = ode.measure_along(pendulum, TIMES[::stride], swings[:, ::stride]).ftle[:, -1]
        errors.append((found - exact).abs().max().item())
    assert 1.7 < math.log2(errors[1] / errors[0]) < 2.5


def test_a_defect_counts_where_it_is(swings):
    early, late = torch.zeros(2, 12, 41, dtype=torch.float64)
    early[:, :10], late[:, 30:] = 0.1, 0.1
    before, after = (ode.measure_along(pendulum, TIMES, swings, defect=d).bound for d in (early, late))
    assert (before[:, 10] > 0).all()
    assert (after[:, :29] == 0).all()
    assert (after[:, -1] > 0).all()


def test_time_reaches_the_field_and_its_own_jacobian():
    ys = torch.ones(3, 41, 1, dtype=torch.float64)
    along = ode.measure_along(lambda t, y: t * y, TIMES, ys, jacobian=lambda t, y: t[:, :, None].expand(len(y), 1, 1))
    torch.testing.assert_close(along.log_norm, TIMES.expand(3, -1))
    # The integral of t over the time, t / 2.
    torch.testing.assert_close(along.ftle[:, 1:], (TIMES[1:] / 2).expand(3, -1))


def test_long_ways_do_not_overflow():
    ts = torch.linspace(0, 1000, 11)
    along = ode.measure_along(lambda t, y: 2 * y, ts, torch.ones(1, 11, 3))
    torch.testing.assert_close(along.ftle[0], torch.full((11,), 2.0))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"ts": TIMES[:5]}, "pass increasing times"),
        ({"ts": TIMES.flip(0)}, "pass increasing times"),
        ({"defect": -1.0}, "defect has shape"),
        ({"initial_error": torch.ones(3)}, "initial_error has shape"),
    ],
)
def test_what_does_not_fit_is_refused(swings, options, told):
    given = {"ts": TIMES} | options
    with pytest.raises(SolverError, match=told):
        ode.measure_along(pendulum, given.pop("ts"), swings, **given)


def test_directions_confine_the_tangents_to_a_plane_that_the_flow_keeps():
    """Two of three coordinates do not hear of the third, which parts from them."""
    matrix = torch.tensor([[0.5, 2.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 4.0]], dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))).Q
    turned = turn @ matrix @ turn.T
    ys = torch.ones(2, len(TIMES), 3, dtype=torch.float64)
    confined = ode.measure_along(lambda t, y: y @ turned.T, TIMES, ys, defect=0.1, directions=turn[:, :2])
    small = ode.measure_along(lambda t, y: y @ matrix[:2, :2].T, TIMES, ys[..., :2], defect=0.1)
    for found, known in zip(vars(confined).values(), vars(small).values(), strict=True):
        torch.testing.assert_close(found, known)


@pytest.mark.parametrize(
    ("directions", "message"),
    [(torch.eye(3), r"\(state, n\)"), (torch.ones(2, 1), "orthonormal"), (torch.eye(2)[:, :0], r"\(state, n\)")],
)
def test_directions_that_span_no_plane_are_refused(swings, directions, message):
    with pytest.raises(SolverError, match=message):
        ode.measure_along(pendulum, TIMES, swings, directions=directions)
