import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.linalg import spsolve

from scnode import ScnodeError
from scnode.tl._committor import committor, signal_axes
from scnode.tl._transition_matrix import transitions


def strip(n=1500, *, noise=0.0, seed=0):
    """Cells over [-1, 1] x [-0.2, 0.2], with dimensions of noise, and labels of both ends."""
    rng = np.random.default_rng(seed)
    plane = np.stack([rng.uniform(-1, 1, n), rng.uniform(-0.2, 0.2, n)], axis=1)
    latent = np.concatenate([plane, rng.normal(0, noise, (n, 10))], axis=1) if noise else plane
    labels = np.stack([plane[:, 0] < -0.7, plane[:, 0] > 0.7], axis=1).astype(float)
    return latent, labels


def solve(latent, velocities, labels, seed=0):
    return committor(latent, velocities, labels, rng=np.random.default_rng(seed))


def drifting(latent, speed):
    velocity = np.zeros((1, *latent.shape))
    velocity[..., 0] = speed
    return velocity


def test_without_drift_the_committor_is_linear_between_the_groups():
    latent, labels = strip()
    found = solve(latent, drifting(latent, 0.0), labels)
    live = labels.sum(1) == 0
    truth = (latent[live, 0] + 0.7) / 1.4
    assert np.abs(found.probability[live, 1] - truth).max() < 0.1
    assert np.corrcoef(found.probability[live, 1], truth)[0, 1] > 0.99


def test_it_comes_near_the_solution_of_the_whole_chain():
    latent, labels = strip()
    velocity = np.stack([np.sin(3 * latent[:, 0]), 0 * latent[:, 0]], axis=1)
    live = np.flatnonzero(labels.sum(1) == 0)
    axes = signal_axes(latent)
    chain = transitions((latent - latent.mean(0)) @ axes, velocity @ axes)
    whole = spsolve((sp.identity(len(live)) - chain[live][:, live]).tocsc(), chain[live] @ labels[:, 1])
    found = solve(latent, velocity[None], labels).probability[live, 1]
    assert np.corrcoef(found, whole)[0, 1] > 0.97
    assert np.abs(found - whole).mean() < 0.07


def test_rows_are_distributions_and_terminal_cells_keep_their_group():
    latent, labels = strip()
    found = solve(latent, drifting(latent, 1.0), labels)
    np.testing.assert_allclose(found.probability.sum(1), 1)
    assert found.probability.min() >= 0
    done = labels.sum(1) == 1
    np.testing.assert_array_equal(found.probability[done], labels[done])
    np.testing.assert_array_equal(found.se[done], 0)
    assert (found.se[~done] >= 0).all()
    assert found.se[~done].mean() > 0


def test_drift_turns_the_fate_and_its_mirror_turns_it_back():
    latent, labels = strip()
    live = labels.sum(1) == 0
    middle = live & (np.abs(latent[:, 0]) < 0.2)
    right, left = (solve(latent, drifting(latent, s), labels).probability[middle, 1].mean() for s in (1.0, -1.0))
    assert left < 0.1
    assert right > 0.9


def test_directions_that_neighbours_do_not_share_carry_no_fate():
    latent, labels = strip(noise=0.1)
    axes = signal_axes(latent)
    assert np.abs(axes[0]).max() > 0.99
    assert axes.shape[1] <= 2
    live = labels.sum(1) == 0
    found = solve(latent, drifting(latent, 0.0), labels).probability[live, 1]
    assert np.corrcoef(found, latent[live, 0])[0, 1] > 0.98
    residual = found - np.polyval(np.polyfit(latent[live, 0], found, 3), latent[live, 0])
    assert residual.std() < 0.01


def test_standard_errors_cover_the_spread_of_new_samples_and_of_members():
    draws = [strip(400, seed=s) for s in range(8)]
    at = []
    for latent, labels in draws:
        found = solve(latent, drifting(latent, 0.0), labels)
        centre = np.abs(latent[:, 0]) < 0.05
        at.append((found.probability[centre, 1].mean(), found.se[centre, 1].mean()))
    estimates, errors = np.array(at).T
    assert 0.4 < errors.mean() / estimates.std(ddof=1) < 2.5
    latent, labels = draws[0]
    split = np.concatenate([drifting(latent, s) for s in (-1.0, 1.0)])
    centre = np.abs(latent[:, 0]) < 0.05
    assert solve(latent, split, labels).se[centre].mean() > 3 * errors.mean()


def test_the_same_seed_gives_the_same_bits():
    latent, labels = strip(300)
    first, again = (solve(latent, drifting(latent, 0.5), labels) for _ in range(2))
    np.testing.assert_array_equal(first.probability, again.probability)
    np.testing.assert_array_equal(first.se, again.se)


def test_few_cells_in_question_are_enough():
    latent, labels = strip(300)
    few = np.flatnonzero(labels.sum(1) == 0)[:3]
    labels[np.setdiff1d(np.flatnonzero(labels.sum(1) == 0), few), 0] = 1
    found = solve(latent, drifting(latent, 0.0), labels)
    np.testing.assert_allclose(found.probability.sum(1), 1)


def test_groups_that_nobody_moves_to_are_refused():
    latent, labels = strip(600)
    far = latent.copy()
    far[labels.sum(1) == 1] += 50
    with pytest.raises(ScnodeError, match="downstream"):
        solve(far, drifting(far, 0.0), labels)


def test_cells_that_the_field_holds_take_the_fate_of_the_cells_it_lets_go(caplog):
    """A stem joins the strip where the committor is 5 / 7, and its bent lower part flows away from there."""
    latent, labels = strip()
    rng = np.random.default_rng(1)
    depth = rng.uniform(-3, -0.2, 1000)
    stem = np.stack([rng.uniform(0.2, 0.4, 1000) + 0.3 * np.minimum(depth + 0.7, 0), depth], axis=1)
    latent, labels = np.concatenate([latent, stem]), np.concatenate([labels, np.zeros((1000, 2))])
    velocity = np.zeros((1, *latent.shape))
    velocity[0, :, 1] = np.select([latent[:, 1] < -0.7, latent[:, 1] < -0.2], [-1.0, 1.0])
    with caplog.at_level("WARNING", logger="scnode"):
        found = solve(latent, velocity, labels).probability[:, 1]
    assert "holds" in caplog.text
    np.testing.assert_allclose(found[latent[:, 1] < -0.75], 5 / 7, atol=0.08)
    between = (labels.sum(1) == 0) & (latent[:, 1] > -0.2)
    assert np.abs(found[between] - (latent[between, 0] + 0.7) / 1.4).mean() < 0.05
