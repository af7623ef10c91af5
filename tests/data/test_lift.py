import numpy as np
import pytest

from scnode.data import Neighbors, derivative_along, pace_of


@pytest.fixture(scope="module")
def plane():
    """Cells spread evenly over a square, and a rotation around its middle."""
    latent = np.random.default_rng(0).uniform(-1, 1, size=(1500, 2))
    return latent, np.stack([-latent[:, 1], latent[:, 0]], axis=1), Neighbors.of(latent, k=60)


def test_linear_functions_have_their_derivative(plane):
    latent, velocity, near = plane
    gradient = np.array([2.0, -1.0])
    along = derivative_along(latent, velocity, near)
    inner = np.abs(latent).max(1) < 0.7
    found, expected = along @ near.first(30).mean(latent @ gradient + 5), velocity @ gradient
    assert np.abs(found - expected)[inner].max() < 0.06
    np.testing.assert_allclose(along @ np.ones(len(latent)), 0, atol=1e-9)


def test_curved_functions_follow_the_chain_rule(plane):
    latent, velocity, near = plane
    found = derivative_along(latent, velocity, near) @ near.first(30).mean(np.sin(latent[:, 0]))
    expected = np.cos(latent[:, 0]) * velocity[:, 0]
    inner = np.abs(latent).max(1) < 0.7
    assert np.abs(found - expected)[inner].max() < 0.06


def test_cells_without_velocity_change_nothing(plane):
    latent, velocity, near = plane
    still = velocity.copy()
    still[:10] = 0
    assert not derivative_along(latent, still, near)[:10].count_nonzero()


def test_pace_is_the_speed_of_the_clock():
    time = np.sort(np.random.default_rng(1).uniform(size=800))
    latent = np.stack([3 * time, 0 * time], axis=1)
    velocity = np.tile([3 * 7.0, 0.0], (800, 1))
    along = derivative_along(latent, velocity, Neighbors.of(latent, k=40))
    assert pace_of(along, time) == pytest.approx(7, rel=0.05)


def test_pace_of_a_phase_passes_its_seam():
    phase = np.sort(np.random.default_rng(2).uniform(size=800))
    angle = 2 * np.pi * phase
    latent = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    velocity = 0.5 * 2 * np.pi * np.stack([-np.sin(angle), np.cos(angle)], axis=1)
    along = derivative_along(latent, velocity, Neighbors.of(latent, k=40), n_smooth=5)
    assert pace_of(along, phase, periodic=True) == pytest.approx(0.5, rel=0.05)


def test_pace_of_what_does_not_move_is_one():
    latent = np.random.default_rng(0).normal(size=(50, 2))
    along = derivative_along(latent, np.zeros((50, 2)), Neighbors.of(latent, k=10))
    assert pace_of(along, np.arange(50.0)) == 1
