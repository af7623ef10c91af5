import builtins
from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from scnode import ScnodeError
from scnode.data import _coupling
from scnode.data._coupling import Transport, bridge, chord_velocity, couple

ot = pytest.importorskip("ot")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def clouds(rng, n, m, *, shift=0.0):
    return rng.normal(size=(n, 3)), rng.normal(size=(m, 3)) + shift


def assert_marginals(plan, n, m):
    assert plan.shape == (n, m)
    assert (plan.data >= 0).all()
    np.testing.assert_allclose(np.asarray(plan.sum(1)).ravel(), 1 / n)
    np.testing.assert_allclose(np.asarray(plan.sum(0)).ravel(), 1 / m)


def test_clouds_of_one_size_are_assigned_at_the_least_cost(rng):
    source, target = clouds(rng, 40, 40)
    plan = couple(source, target, rng=rng)
    assert_marginals(plan, 40, 40)
    row, column = linear_sum_assignment(cdist(source, target, "sqeuclidean"))
    expected = np.zeros((40, 40))
    expected[row, column] = 1 / 40
    np.testing.assert_allclose(plan.toarray(), expected, atol=1e-12)


def test_clouds_of_two_sizes_are_coupled_at_the_least_cost(rng):
    source, target = clouds(rng, 30, 47)
    plan = couple(source, target, rng=rng)
    assert_marginals(plan, 30, 47)
    cost = cdist(source, target, "sqeuclidean")
    np.testing.assert_allclose((plan.toarray() * cost).sum(), ot.emd2([], [], cost))


def test_large_clouds_are_coupled_in_parts_of_bounded_size(rng, monkeypatch):
    sizes, exact = [], _coupling.optimal_plan
    monkeypatch.setattr(_coupling, "_LARGEST", 20)
    monkeypatch.setattr(_coupling, "optimal_plan", lambda x, y, a: (sizes.append((len(x), len(y))), exact(x, y, a))[1])
    source, target = clouds(rng, 60, 30, shift=5.0)
    plan = couple(source, target, rng=rng)
    assert sizes == [(20, 10)] * 3
    assert_marginals(plan, 60, 30)
    moved = plan @ target * 60 - source
    np.testing.assert_allclose(moved.mean(0), target.mean(0) - source.mean(0))


@pytest.mark.parametrize(("n", "m"), [(50, 3), (3, 50), (45, 31)])
def test_parts_of_uneven_sizes_stay_near_the_marginals(rng, monkeypatch, n, m):
    monkeypatch.setattr(_coupling, "_LARGEST", 20)
    plan = couple(*clouds(rng, n, m), rng=rng)
    np.testing.assert_allclose(np.asarray(plan.sum(1)).ravel(), 1 / n)
    column = np.asarray(plan.sum(0)).ravel()
    n_parts = -(-max(n, m) // 20)
    # Parts differ by a cell at the most, and so do the weights of the cells in them.
    assert np.abs(column * m - 1).max() <= n_parts / min(n, m) + 1e-9
    np.testing.assert_allclose(column.sum(), 1)


def test_pot_that_is_missing_is_named(rng, monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name == "ot":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ScnodeError, match=r'needs POT. Run pip install "scnode\[ot\]"'):
        couple(*clouds(rng, 5, 5), rng=rng)


def steps(rng, moved, elapsed):
    """Plans between clouds that lie one after the other in one array."""
    size = len(moved[0])
    rows = np.arange(len(moved) * size).reshape(len(moved), size)
    plans = [couple(a, b, rng=rng) for a, b in pairwise(moved)]
    return np.concatenate(moved), [Transport(rows[k], rows[k + 1], elapsed[k], plan) for k, plan in enumerate(plans)]


def test_chords_of_a_translation_are_its_velocity_in_every_cell(rng):
    cloud, motion = rng.normal(size=(30, 3)), np.array([2.0, -1.0, 0.5])
    latent, transports = steps(rng, [cloud + t * motion for t in (0.0, 0.2, 1.0)], [0.2, 0.8])
    velocity, found = chord_velocity(latent, transports)
    assert found.all()
    np.testing.assert_allclose(velocity, np.tile(motion, (90, 1)), atol=1e-9)


def test_chords_lead_to_the_mean_partner_and_from_the_mean_origin():
    latent = np.array([[0.0], [0.0], [1.0], [3.0], [9.0]])
    plan = sp.csr_matrix([[1.0, 3.0, 0.0], [0.0, 0.0, 0.0]])
    velocity, found = chord_velocity(latent, [Transport(np.array([0, 1]), np.array([2, 3, 4]), 0.5, plan)])
    np.testing.assert_array_equal(found, [True, False, True, True, False])
    np.testing.assert_allclose(velocity.ravel(), [(0.25 * 1 + 0.75 * 3) / 0.5, 0, 1 / 0.5, 3 / 0.5, 0])


def test_cells_that_do_not_move_are_spread_by_no_uneven_days(rng):
    """Three draws of one cloud: noise leads back to the middle in each step, at a pace of its own."""
    latent, transports = steps(rng, [rng.normal(size=(200, 10)) for _ in range(3)], [0.1, 0.9])
    velocity, _ = chord_velocity(latent, transports)
    alone, _ = chord_velocity(latent, transports[:1])
    drawn = [float((v[200:400] * latent[200:400]).sum() / np.square(latent[200:400]).sum()) for v in (velocity, alone)]
    assert drawn[1] > 2
    assert abs(drawn[0]) < 0.15


def test_bridges_follow_cells_that_wait_and_speed_up(rng):
    """Velocities that no chord outruns: the cubic is that of the cells."""
    end, elapsed = np.array([[2.0, -1.0, 0.5]]), 0.8
    latent = np.concatenate([np.zeros((40, 3)), np.tile(end, (40, 1))])
    transports = [Transport(np.arange(40), np.arange(40, 80), elapsed, sp.identity(40, format="csr"), 0.1)]
    between = bridge(latent, np.zeros_like(latent), transports, rng=rng)
    share = (between.clock[:, None] - 0.1) / elapsed
    assert ((share > 0) & (share < 1)).all()
    assert np.ptp(share) > 0.8
    np.testing.assert_allclose(between.latent, end * share**2 * (3 - 2 * share))
    np.testing.assert_allclose(between.velocity, end * 6 * share * (1 - share) / elapsed)


def test_bridges_do_not_swing_out_with_velocities_of_a_short_time(rng):
    latent = np.repeat([[0.0, 0.0], [1.0, 0.0]], 50, axis=0)
    transports = [Transport(np.arange(50), np.arange(50, 100), 2.0, sp.identity(50, format="csr"))]
    noisy = rng.normal(0, 20, (100, 2))
    between = bridge(latent, noisy, transports, rng=rng)
    assert np.abs(between.latent - [0.5, 0]).max() < 0.75
    assert np.linalg.norm(between.velocity, axis=1).max() <= 2.5 * 0.5


def test_bridges_from_another_arm_leave_along_the_chord():
    latent, velocity = np.array([[0.0], [0.0], [1.0]]), np.array([[9.0], [9.0], [2.0]])
    plan = sp.csr_matrix([[1.0], [1.0]])
    lent = Transport(np.array([0, 1]), np.array([2]), 0.5, plan, arm=3, lent=True)
    between = bridge(latent, velocity, [lent], rng=np.random.default_rng(0))
    # Two at both ends, as the chord has: what the cells do under the other arm does not count.
    np.testing.assert_allclose(between.velocity, 2.0)
    np.testing.assert_array_equal(between.arm, 3)


def test_partners_are_drawn_by_their_weights(rng):
    row = np.array([0.0, 1.0, 5.0, 0.0, 2.0])
    plan = sp.csr_matrix(np.concatenate([np.tile(row, (8000, 1)), np.eye(5)[[3]]]))
    drawn = _coupling._draw(plan, rng)
    assert drawn[-1] == 3
    share = np.bincount(drawn[:-1], minlength=5) / 8000
    np.testing.assert_allclose(share, row / 8, atol=0.02)
    assert not share[[0, 3]].any()


def test_stored_zeros_are_never_drawn(rng):
    plan = sp.csr_matrix((np.array([0.0, 1.0, 0.0]), ([0, 0, 0], [0, 1, 2])), shape=(1, 3))
    assert {int(_coupling._draw(plan, rng)[0]) for _ in range(50)} == {1}
