import numpy as np
import pytest

from scnode.tl._calibration import Calibration, Example


@pytest.fixture(scope="module")
def example():
    """4000 states of which the error follows two parts; a third falls with it, and two are noise."""
    rng = np.random.default_rng(0)
    parts = {name: np.exp(rng.normal(size=4000)) for name in ("distance", "disagreement", "jacobian_norm")}
    parts["ftle"] = rng.normal(size=4000)
    error = parts["distance"] * np.exp(0.5 * parts["ftle"] + 0.3 * rng.normal(size=4000))
    parts["error_bound"] = 1 / error * np.exp(0.1 * rng.normal(size=4000))
    fold = np.arange(4000) % 4
    return Example(parts, error, np.ones(4000, bool), fold)


def halves(example):
    first = np.arange(4000) < 2000
    parts = ({k: v[rows] for k, v in example.parts.items()} for rows in (first, ~first))
    return [
        Example(p, example.error[r], example.inside[r], example.fold[r])
        for p, r in zip(parts, (first, ~first), strict=True)
    ]


def test_the_score_is_a_probability_of_new_states(example):
    known, new = halves(example)
    calibration = Calibration.fit(known)
    score = calibration.score(new.parts)
    wrong = new.error > 2 * calibration.usual_error
    for low, high in ((0, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 1.01)):
        rows = (score >= low) & (score < high)
        assert rows.sum() > 20
        assert abs(wrong[rows].mean() - score[rows].mean()) < 0.12
    assert abs(calibration.usual_error - np.median(new.error)) < 0.1


def test_the_radius_covers_new_states(example):
    known, new = halves(example)
    reach = Calibration.fit(known).reach(new.parts)
    assert 0.87 < (new.error <= reach).mean() < 0.94
    far = reach > np.median(reach)
    assert 0.85 < (new.error <= reach)[far].mean() < 0.95


def test_no_part_lowers_the_score(example):
    calibration = Calibration.fit(example)
    weight = dict(zip(calibration.names, calibration.weight, strict=True))
    # The one that falls with the error gets what every part gets at least.
    assert min(weight.values()) == pytest.approx(weight["error_bound"])
    assert sum(weight.values()) == pytest.approx(1)
    assert 0.05 < weight["error_bound"] <= 0.1
    assert weight["distance"] > weight["ftle"] > 2 * weight["jacobian_norm"]
    assert (np.diff(calibration.index) >= 0).all()
    assert (np.diff(calibration.probability) >= 0).all()
    assert (np.diff(calibration.radius) >= 0).all()


def test_beyond_all_that_was_tried_nothing_is_believed(example):
    calibration = Calibration.fit(example)
    beyond = {name: np.array([1e9]) for name in example.parts}
    assert calibration.score(beyond) == 1
    assert calibration.blame({**{n: np.ones(3) for n in example.parts}, "distance": np.full(3, 50.0)}) == "distance"


def test_a_part_that_hardly_varies_is_not_a_measure_of_the_unknown(example):
    rng = np.random.default_rng(1)
    parts = {**example.parts, "jacobian_norm": 60 * np.exp(0.01 * rng.normal(size=4000))}
    calibration = Calibration.fit(Example(parts, example.error, example.inside, example.fold))
    five_more = {**parts, "jacobian_norm": 1.05 * parts["jacobian_norm"]}
    assert np.abs(calibration.score(five_more) - calibration.score(parts)).mean() < 0.1
    twice = {**parts, "jacobian_norm": 2 * parts["jacobian_norm"]}
    assert (calibration.score(twice) == 1).all()


def test_arrays_bring_everything_back(example):
    calibration = Calibration.fit(example)
    again = Calibration.read(calibration.arrays())
    np.testing.assert_array_equal(again.score(example.parts), calibration.score(example.parts))
    np.testing.assert_array_equal(again.reach(example.parts), calibration.reach(example.parts))


@pytest.mark.parametrize("error", [1.0, 0.0])
def test_errors_that_are_all_alike_leave_a_flat_score(example, error):
    alike = Example(example.parts, np.full(4000, error), example.inside, example.fold)
    calibration = Calibration.fit(alike)
    assert np.isfinite(calibration.weight).all()
    assert np.median(calibration.score(example.parts)) == 0
