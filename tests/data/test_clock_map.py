import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from scnode import EvidenceError
from scnode.data import ClockMap, Neighbors, Snapshots, rescale
from scnode.data._clock_map import map_by_days, map_by_velocity
from scnode.data._source import Evidence, Space
from scnode.data._velocity import tangent_velocity


def arc(n=1500, *, noise=0.05, velocity_noise=0.5):
    """Cells on a curve of uneven speed in five dimensions: true times, speeds, space, and noisy velocities smoothed."""
    rng = np.random.default_rng(0)
    t = rng.uniform(size=n)
    states, velocity = np.zeros((n, 5)), np.zeros((n, 5))
    states[:, :3] = np.stack([np.sin(3 * t), 0.8 * np.cos(3 * t), t**2], axis=1)
    velocity[:, :3] = np.stack([3 * np.cos(3 * t), -2.4 * np.sin(3 * t), 2 * t], axis=1)
    states += rng.normal(0, noise, states.shape)
    space = Space(states, Neighbors.of(states, k=60))
    told = velocity + rng.normal(0, velocity_noise, velocity.shape)
    smooth, se = tangent_velocity(states, told, space.neighbors)
    return t, np.linalg.norm(velocity, axis=1), space, Evidence("velocity", "v", smooth, se)


@pytest.fixture(scope="module")
def course():
    return arc()


def off_the_line(clock, t):
    """Largest distance from the straight line through the true times, relative to the range of the clock."""
    return np.abs(clock - np.polyval(np.polyfit(t, clock, 1), t)).max() / np.ptp(clock)


@pytest.mark.parametrize("power", [0.5, 1, 2, 4])
def test_a_velocity_takes_the_distortion_out(course, power):
    t, _, space, velocity = course
    clock = map_by_velocity(t**power, space, velocity.velocity)(t**power)
    assert off_the_line(clock, t) < 0.02
    assert (clock.argsort() == t.argsort()).all()
    np.testing.assert_allclose([clock.min(), clock.max()], [0, 1], atol=1e-12)


def test_the_clock_does_not_depend_on_the_unit_of_the_velocity_nor_on_the_spacing(course):
    t, _, space, velocity = course
    one = map_by_velocity(t, space, velocity.velocity)(t)
    np.testing.assert_allclose(map_by_velocity(t, space, 7 * velocity.velocity)(t), one, atol=1e-12)
    np.testing.assert_allclose(map_by_velocity(np.exp(5 * t), space, velocity.velocity)(np.exp(5 * t)), one, atol=2e-3)


def test_speeds_of_the_rescaled_tangents_are_true(course):
    t, speed, space, velocity = course
    time = t**2
    plain = Evidence("pseudotime", "t", *_tangents(space, time), time)
    (told, kept), found = rescale([plain, velocity], time, space, None)
    assert kept is velocity
    np.testing.assert_array_equal(told.clock, found(time))
    before, after = (np.linalg.norm(e.velocity, axis=1) for e in (plain, told))
    # What the noise of the states leaves of the speed when the true time itself is the pseudotime.
    best = np.linalg.norm(_tangents(space, t)[0], axis=1)
    assert np.std(np.log(after / best)) < 0.1
    assert np.std(np.log(before / best)) > 0.5
    assert spearmanr(before, speed)[0] < 0 < spearmanr(best, speed)[0] - 0.1 < spearmanr(after, speed)[0]


def _tangents(space, time):
    from scnode.data._pseudotime import pseudotime_tangents

    return pseudotime_tangents(space.latent, time, space.neighbors)


def test_where_the_velocity_rests_the_clock_goes_on(course):
    t, _, space, velocity = course
    still = velocity.velocity * np.where((t > 0.4) & (t < 0.6), 0, 1)[:, None]
    clock = map_by_velocity(t, space, still)(t)
    assert (clock.argsort() == t.argsort()).all()
    fast, slow = (np.ptp(clock[(t > a) & (t < b)]) for a, b in ((0.1, 0.3), (0.4, 0.6)))
    assert slow > 3 * fast


def test_a_velocity_that_runs_back_is_refused(course):
    t, _, space, velocity = course
    with pytest.raises(EvidenceError, match="against the pseudotime in 20 of 20 stretches"):
        map_by_velocity(t, space, -velocity.velocity)


def days(power, *, spread, n=2000, n_days=5):
    """Cells of five days, each ahead or behind its day, with a distorted pseudotime of their true stage."""
    day = np.repeat(np.arange(float(n_days)), n // n_days)
    stage = day + spread * np.random.default_rng(0).normal(size=n)
    rise = (stage - stage.min()) / np.ptp(stage)
    return stage, rise**power, Snapshots("day", "day", day, np.arange(float(n_days)))


@pytest.mark.parametrize("power", [0.5, 1, 2])
@pytest.mark.parametrize(("spread", "error"), [(0.15, 0.05), (1.0, 0.3)], ids=["days apart", "days that mingle"])
def test_days_take_the_distortion_out(power, spread, error):
    """To a twentieth of a day; where the cells of a day are as far apart as the days are, to a third of one."""
    stage, time, snapshots = days(power, spread=spread)
    clock = 4 * map_by_days(time, snapshots)(time)
    assert np.sqrt(np.mean((clock - stage) ** 2)) < error
    assert (clock.argsort() == time.argsort()).all()
    for k, rows in enumerate(snapshots.rows):
        assert np.median(clock[rows]) == pytest.approx(k, abs=0.01)


def test_snapshots_out_of_order_are_pooled():
    _, time, snapshots = days(1, spread=0.0)
    second, third = snapshots.rows[1:3]
    time[second], time[third] = time[third].copy(), time[second].copy()
    clock = map_by_days(time, snapshots)(time)
    assert np.median(clock[np.r_[second, third]]) == pytest.approx(1.5 / 4)


def test_a_pseudotime_that_falls_with_the_days_is_refused():
    _, time, snapshots = days(1, spread=0.1)
    with pytest.raises(EvidenceError, match="does not rise with the days"):
        map_by_days(-time, snapshots)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0.01, 10), min_size=1, max_size=8), st.integers(0, 100))
def test_a_map_increases_within_its_knots_and_beyond(steps, seed):
    rng = np.random.default_rng(seed)
    knots = np.r_[0, np.cumsum(rng.uniform(0.01, 5, len(steps)))]
    found = ClockMap(knots, np.r_[0, np.cumsum(steps)], "time")
    time = np.linspace(-3, knots[-1] + 3, 400)
    assert (np.diff(found(time)) > 0).all()
    np.testing.assert_allclose(found(knots), found.clock, rtol=1e-12, atol=1e-12)


def test_tied_pseudotimes_are_one_time(course):
    t, _, space, velocity = course
    time = np.round(t, 1)
    found = map_by_velocity(time, space, velocity.velocity)
    assert len(found.pseudotime) == 11
    assert off_the_line(found(time), time) < 0.1
