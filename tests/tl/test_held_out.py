import functools

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from scnode import ScnodeError
from scnode.tl import _held_out
from scnode.tl._held_out import HeldOut, clock

pytest.importorskip("ot")
FLOW = _held_out._flow
DAYS = np.repeat([0.0, 1.0, 3.0, 4.0], [60, 50, 40, 30])
SHIFT = np.array([2.0, -1.0])


@pytest.fixture
def moving():
    """One cloud that moves by `SHIFT` a day."""
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(len(DAYS), 2)) * 0.1 + DAYS[:, None] * SHIFT
    return ad.AnnData(obs=pd.DataFrame(index=[f"c{i}" for i in range(len(DAYS))]), obsm={"X_scnode": latent})


def flow(fitted, states, days, *, pace=1.0, **options):
    return np.stack([states + pace * (day - days[0]) * SHIFT for day in days])


@pytest.fixture(autouse=True)
def _exact_flow(monkeypatch):
    """A field that knows the motion."""
    monkeypatch.setattr(_held_out, "_flow", flow)


def held_out(adata, time, **options):
    return HeldOut.of(adata, DAYS, time, **({"max_cells": 1000, "rng": np.random.default_rng(0)} | options))


@pytest.mark.parametrize(("time", "start"), [(1.0, 0.0), (3.0, 1.0), (4.0, 3.0)])
def test_clouds_lie_where_the_methods_put_them(moving, time, start):
    target, clouds = held_out(moving, time).draw(np.random.default_rng(1))
    expected = {
        "scnode": time,
        "scnode_forecast": time,
        "no_motion": start,
        "ot_interpolation": time,
        "noise_floor": time,
    }
    assert list(clouds) == list(expected)
    for method, day in expected.items():
        np.testing.assert_allclose(clouds[method].mean(0), day * SHIFT, atol=0.12, err_msg=method)
    np.testing.assert_allclose(target.mean(0), time * SHIFT, atol=0.12)


@pytest.mark.parametrize(("time", "size"), [(1.0, 25), (3.0, 20), (4.0, 15)])
def test_all_clouds_of_a_draw_are_of_one_size_without_repeats(moving, time, size):
    target, clouds = held_out(moving, time).draw(np.random.default_rng(1))
    for cloud in (target, *clouds.values()):
        assert cloud.shape == (size, 2)
        assert len(np.unique(cloud, axis=0)) == size
    assert not set(map(tuple, clouds["noise_floor"])) & set(map(tuple, target))


def test_the_largest_size_holds_for_the_plan_too(moving):
    few = held_out(moving, 1.0, max_cells=10)
    assert few.size == 10
    for pairs in (few.smoothed, few.interpolated):
        assert len(pairs.mass) <= 20
        assert pairs.mass.sum() == pytest.approx(1)


def test_without_a_field_the_prediction_is_the_interpolation(moving, monkeypatch):
    monkeypatch.setattr(_held_out, "_flow", functools.partial(flow, pace=0.0))
    still = held_out(moving, 3.0)
    np.testing.assert_array_equal(still.smoothed.states, still.interpolated.states)


def test_what_the_flow_misses_at_the_next_time_is_made_good_in_proportion(moving, monkeypatch):
    monkeypatch.setattr(_held_out, "_flow", functools.partial(flow, pace=0.5))
    slow = held_out(moving, 3.0)
    np.testing.assert_allclose(slow.moved.mean(0), 2 * SHIFT, atol=0.05)
    np.testing.assert_allclose(
        np.average(slow.smoothed.states, axis=0, weights=slow.smoothed.mass), 3 * SHIFT, atol=0.05
    )


def test_after_the_last_time_the_prediction_is_the_forecast(moving):
    _, clouds = held_out(moving, 4.0).draw(np.random.default_rng(1))
    np.testing.assert_array_equal(clouds["scnode"], clouds["scnode_forecast"])


def test_draws_differ_and_the_same_rng_repeats_them(moving):
    taken = held_out(moving, 3.0)
    first, again, other = (taken.draw(np.random.default_rng(s))[0] for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_days_on_the_clock_of_the_model():
    report = {"time_unit": {"origin": 2.0, "span": 4.0}}
    assert [clock(day, report) for day in (2.0, 4.0, 6.0)] == [0.0, 0.5, 1.0]
    with pytest.raises(ScnodeError, match="time_key="):
        clock(2.0, {})


@pytest.mark.parametrize("level", [None, 0.5])
def test_the_forecast_of_a_noisy_model_is_a_draw_of_each_cell(monkeypatch, level):
    """A field at rest: without noise the cells stay, with noise they spread by G sqrt(t)."""
    import torch

    from scnode.model import LatentODE
    from scnode.nn import Diffusion, MLPField

    model = LatentODE(MLPField(2))
    with torch.no_grad():
        model.field.weights[-1].zero_()
    if level is not None:
        model.diffusion = Diffusion(2)
        model.diffusion.set_scales(center=torch.zeros(2), scale=torch.ones(()), level=torch.tensor(level))
    monkeypatch.setattr(_held_out, "stored_model", lambda fitted: model)
    report = {"report": {"time_unit": {"origin": 1.0, "span": 4.0}}}
    fitted = ad.AnnData(np.zeros((1, 1)), uns={"scnode": report})
    found = FLOW(fitted, np.zeros((4000, 2)), [1.0, 2.0, 5.0], rng=np.random.default_rng(0))
    assert found.shape == (3, 4000, 2)
    np.testing.assert_allclose(found.std(1), np.outer([0, 0.5, 1], [level or 0] * 2), rtol=0.05)
