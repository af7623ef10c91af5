import numpy as np
import pytest

from scnode.data import Neighbors, find_winding, mean_phase, wrap
from scnode.data._flow import Flow


def ring(n, *, uneven=0.0, noise=0.0, seed=0):
    """Cells evenly on a circle, angular speed 1 + uneven cos, and the share of the period that each has run."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 2 * np.pi, n)
    around = np.stack([np.cos(angle), np.sin(angle), np.zeros(n)], axis=1)
    velocity = np.stack([-np.sin(angle), np.cos(angle), np.zeros(n)], axis=1) * (1 + uneven * np.cos(angle))[:, None]
    # The integral of da / (1 + e cos a), by the tangent of the half angle.
    half = np.arctan(np.sqrt((1 - uneven) / (1 + uneven)) * np.tan(angle / 2))
    return around + noise * rng.normal(size=around.shape), velocity, half / np.pi % 1.0


def ring_with_tail(n, tail):
    """A circle that a share of the cells leaves along its tangent."""
    points, velocity, _ = ring(n, noise=0.03)
    gone = np.arange(int(tail * n))
    points[gone] = np.stack([np.ones(len(gone)), np.linspace(0, 2 * np.pi * tail / (1 - tail), len(gone))], axis=1).dot(
        np.eye(2, 3)
    )
    velocity[gone] = [0.0, 1.0, 0.0]
    return points, velocity


def off(found, truth):
    """Largest deviation of a phase from the truth, but for where it begins."""
    difference = found - truth
    return np.abs(wrap(difference - mean_phase(difference))).max()


@pytest.mark.parametrize("uneven", [0.0, 0.5])
@pytest.mark.parametrize("turn", [1, -1])
def test_phase_and_period_on_a_ring(uneven, turn):
    points, velocity, truth = ring(1500, uneven=uneven)
    found = find_winding(points, turn * velocity, Neighbors.of(points, k=15))
    assert found.is_cycle
    assert off(found.phase, turn * truth) < 1e-2
    assert found.period == pytest.approx(2 * np.pi / np.sqrt(1 - uneven**2), rel=1e-2)
    assert found.turning == 1
    assert 0 <= found.phase.min() <= found.phase.max() < 1


def test_many_cells_are_scanned_by_some_and_all_get_a_phase():
    points, velocity, truth = ring(6000, uneven=0.3, noise=0.01)
    found = find_winding(points, velocity, Neighbors.of(points, k=30))
    assert found.is_cycle
    assert off(found.phase, truth) < 1e-2


def test_phase_begins_where_cells_are_sparse():
    points, velocity, truth = ring(3000)
    kept = (np.abs(wrap(truth - 0.6)) > 0.05) | (np.arange(3000) % 10 == 0)
    points, velocity, truth = points[kept], velocity[kept], truth[kept]
    found = find_winding(points, velocity, Neighbors.of(points, k=30))
    first = truth[np.argsort(found.phase)[:5]]
    assert np.abs(wrap(first - 0.6)).max() < 0.05


@pytest.mark.parametrize("tail", [0.4, 0.6])
def test_a_ring_that_many_cells_leave_is_no_cycle(tail):
    points, velocity = ring_with_tail(1000, tail)
    assert not find_winding(points, velocity, Neighbors.of(points, k=30)).is_cycle


def test_a_loop_that_a_potential_explains_does_not_wind():
    points, velocity, _ = ring(800, noise=0.02)
    down = np.where(points[:, [1]] > 0, -velocity, velocity)
    found = find_winding(points, down, Neighbors.of(points, k=30))
    assert found.potential > 0.9
    assert not found.is_cycle


def test_an_empty_quarter_is_no_cycle():
    found = find_winding(*ring(1000)[:2], Neighbors.of(ring(1000)[0], k=30))
    squeezed = type(found)(found.potential, found.winding, found.turning, found.period, 0.7 * found.phase)
    assert found.is_cycle
    assert squeezed.widest_arc == pytest.approx(0.3, abs=0.01)
    assert not squeezed.is_cycle


def test_noise_few_cells_and_standstill_are_no_cycle():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(400, 3))
    near = Neighbors.of(points, k=30)
    assert not find_winding(points, rng.normal(size=(400, 3)), near).is_cycle
    assert not find_winding(points, np.zeros((400, 3)), near).is_cycle
    assert not find_winding(points[:10], points[:10], Neighbors.of(points[:10], k=5)).is_cycle
    twins = np.zeros((100, 3))
    assert not find_winding(twins, twins + 1, Neighbors.of(twins, k=30)).is_cycle


def test_same_cells_same_phase():
    points, velocity, _ = ring(300, noise=0.05)
    first, again = (find_winding(points, velocity, Neighbors.of(points, k=30)).phase for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_flow_projects_onto_differences():
    points, velocity, _ = ring(200, noise=0.1)
    flow = Flow.of(points, velocity, Neighbors.of(points, k=10))
    assert len(np.unique(np.stack([flow.head, flow.tail]), axis=1).T) == len(flow.head)
    assert flow.weight.mean() == pytest.approx(1)
    values = np.random.default_rng(1).normal(size=200)
    fitted = flow.potential_of(flow.differences(values))
    np.testing.assert_allclose(flow.differences(fitted), flow.differences(values), atol=1e-4)
    assert abs(flow.inner(flow.residual, flow.differences(values))) < 1e-3 * np.sqrt(flow.size * 200)


def test_mean_phase_goes_over_the_end():
    assert off(mean_phase(np.array([[0.98, 0.04], [0.2, 0.4]])), np.array([0.01, 0.3])) < 1e-12
