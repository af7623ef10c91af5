from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from scnode.tl._coverage import add_coverage, cloud_scores, leading_axes

RNG = np.random.default_rng


def held(time, width, seed, n=600):
    """Cells of unit width, and two methods: one that knows it and one that says `width`."""

    def draw(rng):
        return rng.normal(size=(n, 6)), {"right": rng.normal(size=(n, 6)), "off": width * rng.normal(size=(n, 6))}

    return SimpleNamespace(time=time, axes=np.eye(6)[:, :5], draw=draw, seed=seed, before=np.zeros((n, 6)))


def table(*clouds, ahead=(), last=9.0):
    scores, beyond = (
        {key: values for cloud in several for key, values in cloud_scores(cloud, 2, RNG(cloud.seed)).items()}
        for several in (clouds, ahead)
    )
    rows = pd.DataFrame(list(scores), columns=["method", "holdout"])
    return add_coverage(rows, scores, beyond, last, RNG(0)).set_index(["method", "holdout"])


@pytest.mark.parametrize("width", [0.5, 2.0])
def test_a_width_that_is_always_wrong_is_corrected(width):
    found = table(held(1.0, width, 0), held(2.0, width, 1), held(3.0, width, 2))
    assert abs(found.loc["right", "coverage"] - 0.9).max() < 0.02
    raw, corrected = found.loc["off", "coverage"], found.loc["off", "coverage_conformal"]
    assert (abs(raw - 0.9) > 0.05).all()
    assert abs(corrected - 0.9).max() < 0.02


def test_the_correction_knows_nothing_of_its_own_time():
    found = table(held(1.0, 1.0, 0), held(2.0, 1.0, 1), held(3.0, 0.3, 2))
    # The two others are right as they are, so nothing helps the third.
    assert found.loc[("off", 3.0), "coverage_conformal"] < 0.5
    assert found.loc[("off", 1.0), "coverage_conformal"] > 0.9


def test_one_held_out_time_has_no_correction():
    found = table(held(1.0, 1.0, 0))
    assert found["coverage_conformal"].isna().all()
    assert found["coverage"].notna().all()


def test_a_last_time_is_corrected_by_a_forecast_of_its_kind_and_corrects_no_other():
    clouds = held(1.0, 1.0, 0), held(2.0, 1.0, 1), held(3.0, 0.3, 2)
    found = table(*clouds, ahead=[held(2.0, 0.3, 3)], last=3.0).loc["off", "coverage_conformal"]
    np.testing.assert_allclose(found, 0.9, atol=0.02)
    # A forecast that happened to be good narrows nothing.
    lucky = table(*clouds, ahead=[held(2.0, 3.0, 3)], last=3.0).loc["off", "coverage_conformal"]
    assert lucky[3.0] == table(*clouds, last=3.0).loc[("off", 3.0), "coverage_conformal"]


def test_a_cloud_that_was_moved_far_may_miss_by_more():
    def missed(way):
        return SimpleNamespace(
            time=way,
            axes=np.eye(6)[:, :5],
            seed=0,
            before=np.zeros((600, 6)),
            draw=lambda rng: (way + rng.normal(size=(600, 6)), {"short": 0.8 * way + rng.normal(size=(600, 6))}),
        )

    # A fifth of every way is missing, and the longest way was never tried.
    found = table(missed(5.0), missed(10.0), missed(20.0))
    assert found.loc[("short", 20.0), "coverage"] < 0.1
    assert found.loc[("short", 20.0), "coverage_conformal"] > 0.6


def test_axes_are_those_of_most_variance():
    states = RNG(0).normal(size=(500, 8)) * np.arange(8, 0, -1)
    axes = leading_axes(states)
    assert axes.shape == (8, 5)
    np.testing.assert_allclose(axes.T @ axes, np.eye(5), atol=1e-9)
    assert (np.diff((states @ axes).std(0)) < 0).all()
    assert abs(axes[0, 0]) > 0.9
