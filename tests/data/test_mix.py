import numpy as np
import pytest

from scnode import EvidenceError
from scnode.data import Evidence, mix


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    first = Evidence("pseudotime", "a", rng.normal(size=(40, 3)), rng.uniform(0.1, 1, 40))
    second = Evidence("velocity", "b", 5 * rng.normal(size=(40, 3)), rng.uniform(0.1, 1, 40))
    return first, second


def test_inverse_variance_weights_in_one_unit_of_time(pair):
    first, second = pair
    unit = np.median(np.linalg.norm(first.velocity, axis=1)) / np.median(np.linalg.norm(second.velocity, axis=1))
    weights = np.stack([2 / first.se**2, 1 / (second.se * unit) ** 2])
    expected = (weights[0, :, None] * first.velocity + weights[1, :, None] * second.velocity * unit) / weights.sum(0)[
        :, None
    ]
    target = mix(pair, weights={"pseudotime": 2.0})
    np.testing.assert_allclose(target.velocity, expected)
    np.testing.assert_allclose(sum(target.share.values()), 1)
    np.testing.assert_allclose(target.precision.mean(), 1)


def test_agreement_is_the_cosine_of_each_cell(pair):
    same = Evidence("velocity", "b", 3 * pair[0].velocity, pair[0].se)
    np.testing.assert_allclose(mix([pair[0], same]).agreement["pseudotime|velocity"], 1)
    opposed = Evidence("velocity", "b", -pair[0].velocity, pair[0].se)
    np.testing.assert_allclose(mix([pair[0], opposed]).agreement["pseudotime|velocity"], -1)


def test_a_source_of_weight_zero_is_left_out(pair):
    np.testing.assert_allclose(mix(pair, weights={"velocity": 0}).velocity, pair[0].velocity)


@pytest.mark.parametrize(
    ("weights", "fix"),
    [
        ({"time": 1.0}, "Name those"),
        ({"velocity": -1.0}, "positive"),
        ({"velocity": np.nan}, "finite"),
        ({"velocity": "a"}, "Pass positive numbers"),
        ({"velocity": 0, "pseudotime": 0}, "all zero"),
    ],
)
def test_bad_weights(pair, weights, fix):
    with pytest.raises(EvidenceError, match=fix):
        mix(pair, weights=weights)


def still(source, rows):
    """The same evidence, with cells that stand still and claim to be certain."""
    velocity, se = source.velocity.copy(), source.se.copy()
    velocity[rows], se[rows] = 0, np.finfo(float).tiny
    return Evidence(source.name, source.source, velocity, se)


@pytest.mark.parametrize("which", [0, 1])
def test_cells_that_stand_still_do_no_harm(pair, which):
    """Also where they are the greater part, so that the median speed is zero."""
    sources = list(pair)
    sources[which] = still(sources[which], slice(10, None))
    for chosen in (sources, sources[which : which + 1]):
        target = mix(chosen)
        assert np.isfinite(target.velocity).all()
        assert np.isfinite(target.precision).all()
        assert (target.precision > 0).all()


def test_evidence_without_any_motion_is_none(pair):
    with pytest.raises(EvidenceError, match=r"b shows no motion in any cell. Recompute it"):
        mix([pair[0], still(pair[1], slice(None))])


def test_a_few_certain_cells_do_not_carry_the_fit(pair):
    first = pair[0]
    se = np.where(np.arange(40) == 7, 0.01, 1.0)
    precision = mix([Evidence(first.name, first.source, first.velocity, se)]).precision
    np.testing.assert_allclose(precision, 1)
