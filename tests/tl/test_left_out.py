import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData

from scnode import ode
from scnode.data import Controls
from scnode.model import LatentODE
from scnode.nn import ControlledField, MLPField
from scnode.tl._left_out import Population, forecasts, held_out_ratio, regions, velocity_of
from scnode.tl._path_parts import Ground, mean_so_far, path_parts, shared
from scnode.tl._refit import refit

RNG = np.random.default_rng


@pytest.fixture(scope="module")
def line():
    """300 cells on a line that move along it at speed 2."""
    rng = RNG(0)
    clock = rng.uniform(0, 1, 300)
    smooth = np.stack([2 * clock, np.zeros(300), np.zeros(300)], axis=1)
    latent = smooth + rng.normal(0, 0.05, (300, 3))
    return latent, smooth, clock, np.tile([2.0, 0, 0], (300, 1))


@pytest.fixture(scope="module")
def field(line):
    return refit(MLPField(3, n_members=2), line[0], line[3], line[2], rng=RNG(1))


def test_a_refit_learns_what_it_is_shown_and_starts_from_nothing(line, field):
    latent, _, clock, velocity = line
    cells = Population(latent, latent, clock, cyclic=False)
    np.testing.assert_allclose(velocity_of(field, cells).mean(0), velocity[0], atol=0.2)
    start = MLPField(3, n_members=5)
    before = [p.clone() for p in start.parameters()]
    seen = clock < 0.5
    half = refit(start, latent[seen], velocity[seen], clock[seen], rng=RNG(1))
    assert half.n_members == 2
    assert all((a == b).all() for a, b in zip(before, start.parameters(), strict=True))
    missed = np.linalg.norm(velocity_of(half, cells) - velocity, axis=1)
    assert missed[clock > 0.8].mean() > 2 * missed[seen].mean()


def test_paths_move_to_the_cells_of_their_time(line):
    latent, smooth, clock, _ = line
    ts = np.linspace(0, 0.5, 6)
    late = np.stack([0.2 + ts, 0.1 + 0 * ts, 0 * ts], axis=-1)[None]
    found = Population(latent, smooth, clock, cyclic=False).snap(np.array([0.1]), ts, late)
    np.testing.assert_allclose(found[0, :, 0], 2 * (0.1 + ts), atol=0.1)
    np.testing.assert_allclose(found[0, :, 1:], 0, atol=1e-9)
    gone = Population(latent, smooth, clock, cyclic=False).snap(np.array([0.9]), ts, late)
    np.testing.assert_array_equal(gone[0, 3:], late[0, 3:])


def test_a_phase_closes(line):
    latent, smooth, clock, _ = line
    ts = np.array([0.0, 0.2])
    path = np.array([[[1.7, 0, 0], [0.1, 0, 0]]])
    found = Population(latent, smooth, clock, cyclic=True).snap(np.array([0.9]), ts, path)
    np.testing.assert_allclose(found[0, :, 0], [1.8, 0.2], atol=0.15)


def test_steps_meet_the_days(line):
    latent, smooth, clock, _ = line
    even = Population(latent, smooth, clock, cyclic=False).steps()
    assert len(even) == 17
    days = np.array([0.0, 0.1, 1.0])[np.arange(300) % 3]
    met = Population(latent, smooth, days, cyclic=False).steps()
    assert {0.0, 0.1, 0.9, 1.0} <= set(met.round(3))
    assert (np.diff(met) > 0).all()


def test_forecasts_from_what_was_left_out_are_worse(line, field):
    latent, smooth, clock, velocity = line
    ground = Ground(latent, np.full(300, 0.08), np.full(300, 0.1))
    population = Population(latent, smooth, clock, cyclic=False)
    out = [clock > 0.7, (clock > 0.3) & (clock < 0.6)]
    example = forecasts(LatentODE(field), ground, population, velocity, out, rng=RNG(0))
    assert len(example.error) == len(example.inside) == len(example.fold) == len(example.parts["ftle"])
    assert set(example.fold) == {0, 1}
    assert example.inside.any()
    assert not example.inside.all()
    assert np.isfinite(example.error).all()
    assert example.error[~example.inside].mean() > example.error[example.inside].mean()


def test_residuals_at_unseen_cells_are_larger_where_a_field_learns_by_heart(line):
    latent, _, clock, velocity = line
    noisy = velocity + RNG(2).normal(0, 1, velocity.shape)
    learnt = held_out_ratio(MLPField(3), Population(latent, latent, clock, cyclic=False), noisy, RNG(0))
    assert learnt > 1.2
    rng = RNG(0)
    many = rng.normal(size=(2000, 3))
    loud = many + rng.normal(size=many.shape)
    assert 1 <= held_out_ratio(MLPField(3), Population(many, many, np.zeros(2000), cyclic=False), loud, rng) < 1.2


def test_cells_under_another_input_are_no_neighbours():
    rng = RNG(0)
    latent, under = rng.normal(size=(400, 2)), np.repeat([[0.0], [1.0]], 200, axis=0)
    assert np.abs(shared(latent, under, under) - under).mean() < 0.02
    assert np.abs(shared(latent, under) - under).mean() > 0.3
    ground = Ground(latent, np.zeros(400), np.zeros(400), under)
    field, paths, ts = ControlledField(2), latent[:9, None].repeat(2, 1), np.arange(2.0)
    inputs = np.zeros((9, 2, 1)), np.full((9, 2, 1), 0.5)
    near, far = (path_parts(field, ground, ts, paths, np.zeros(9), u)["distance"] for u in inputs)
    assert far.mean() > 1.2 * near.mean()


def test_a_field_under_inputs_is_refitted_and_forecast_under_them():
    rng = RNG(0)
    under = rng.integers(0, 2, (400, 1)).astype(float)
    clock = rng.uniform(size=400)
    velocity = np.concatenate([np.ones((400, 1)), 2 * under - 1], axis=1)
    latent = clock[:, None] * velocity + rng.normal(0, 0.05, (400, 2))
    population = Population(latent, shared(latent, latent, under), clock, cyclic=False, control=under)
    field = refit(ControlledField(2, n_controls=1, n_members=2), latent, velocity, clock, under, rng=RNG(1))
    assert np.abs(velocity_of(field, population) - velocity).mean() < 0.2
    assert 1 <= held_out_ratio(field, population, velocity, RNG(0)) < 1.5
    ground = Ground(latent, np.full(400, 0.05), np.full(400, 0.1), under)
    dose = Controls.of(AnnData(obs=pd.DataFrame({"dose": under[:, 0]})), "dose")
    out = [clock > 0.8, clock < 0.2]
    example = forecasts(LatentODE(field, controls=dose), ground, population, velocity, out, rng=RNG(2))
    # Arms end two apart: who followed the other would be off by as much.
    assert np.quantile(example.error[example.inside], 0.9) < 0.7


def test_regions_part_the_cells(line):
    parts = regions(line[1], RNG(0))
    np.testing.assert_array_equal(np.sum(parts, axis=0), 1)
    assert max(np.ptp(line[2][part]) for part in parts) < 0.4


def test_neighbours_share_the_signal_and_not_the_noise(line):
    latent, smooth, _, _ = line
    before, after = (np.linalg.norm(x - smooth, axis=1)[20:-20].mean() for x in (latent, shared(latent, latent)))
    assert after < before


def test_parts_are_those_of_known_ways(field, line):
    latent = line[0]
    ground = Ground(latent, np.full(300, 0.1), np.zeros(300))
    ts = np.array([0.0, 0.1, 0.3])
    paths = np.repeat(np.array([latent[0], latent[0] + [0, 5.0, 0]])[:, None], 3, axis=1)
    parts = path_parts(field, ground, ts, paths, np.zeros(2))
    assert parts["distance"][0].max() < 1.5
    assert parts["distance"][1].min() > 10
    # Without a field error the bound is the start's own, stretched.
    np.testing.assert_allclose(parts["error_bound"][:, 0], 0.1 / ground.spread, rtol=1e-5)
    assert {values.shape for values in parts.values()} == {(2, 3)}
    np.testing.assert_allclose(mean_so_far(ts, np.array([[1.0, 1.0, 3.0]])), [[1.0, 1.0, (0.1 + 0.4) / 0.3]])


def test_many_dimensions_are_judged_along_the_axes_of_the_cells():
    rng = RNG(4)
    latent = rng.normal(size=(200, 120)) * np.geomspace(1, 1e-3, 120)
    field = MLPField(120, hidden=(8,), generator=torch.Generator().manual_seed(0))
    ground = Ground(latent, np.full(200, 0.1), np.full(200, 0.2))
    ts, paths = np.linspace(0, 0.3, 4), latent[:5, None] + np.linspace(0, 0.3, 4)[:, None]
    parts = path_parts(field, ground, ts, paths, np.zeros(5))
    axes = torch.as_tensor(ground.axes)
    assert axes.shape == (120, 50)
    states = torch.as_tensor(paths[:, 0], dtype=torch.float32)
    jacobians = ode.jacobian(field, states).double()
    largest = torch.linalg.svdvals(axes.T @ jacobians @ axes)[:, 0]
    np.testing.assert_allclose(parts["jacobian_norm"][:, 0], largest, rtol=1e-4)
    assert all(np.isfinite(values).all() for values in parts.values())
    assert Ground(latent[:, :100], ground.noise, ground.field_error).axes is None
