import numpy as np
import pytest
from scipy.stats import t

from scnode.data import Support
from scnode.tl._outcomes import log_change, moved_off, outcome_table

LATENT = np.concatenate([np.zeros((40, 2)), np.full((40, 2), 5.0)]) + 0.1 * np.random.default_rng(0).normal(
    size=(80, 2)
)
FATES = np.repeat(["near", "far"], 40)


def ends(shares, n=20):
    """End states (start, member, latent) of which these shares of the starts, one a member, lie far off."""
    far = np.arange(n)[:, None] < np.round(np.asarray(shares) * n)[None]
    return np.where(far[..., None], 5.0, 0.0) + np.zeros(2)


def row(control, perturbed, **options):
    return outcome_table(LATENT, FATES, ends(control), ends(perturbed), **options).set_index("fate").loc["far"]


def test_the_interval_is_students_over_members():
    shares = np.array([0.3, 0.4, 0.5, 0.35, 0.45])
    found = row([0.9] * 5, shares)
    change = ends(shares)[..., 0] / 5 - ends([0.9] * 5)[..., 0] / 5
    error = np.sqrt(1.2 * change.mean(0).var(ddof=1) + change.mean(1).var(ddof=1) / 20)
    bounds = 0.4 + t(4).ppf([0.025, 0.975]) * error
    np.testing.assert_allclose(found[["ci_low", "ci_high"]].astype(float), log_change(0.9, bounds, 20))
    assert found["pvalue"] == pytest.approx(2 * t(4).sf(0.5 / error))


def test_more_members_that_disagree_are_no_surer():
    few, many = (row([0.5] * n, np.linspace(0.2, 0.8, n)) for n in (5, 50))
    assert many["ci_high"] - many["ci_low"] > 0.4 * (few["ci_high"] - few["ci_low"])


def test_of_cells_that_leave_the_data_nothing_is_known():
    lost = np.arange(20) >= 10
    known, half = row([0.9] * 5, [0.1] * 5), row([0.9] * 5, [0.1] * 5, lost=lost)
    none = row([0.9] * 5, [0.1] * 5, lost=np.ones(20, dtype=bool))
    assert known["log_fold_change"] == half["log_fold_change"] == none["log_fold_change"]
    assert known["pvalue"] < half["pvalue"] < none["pvalue"] == 1
    # A tenth of the known starts goes far, and all of the others may.
    assert half["ci_low"] < log_change(0.9, 0.1, 20) < log_change(0.9, 0.6, 20) < half["ci_high"]
    assert none["ci_low"] == log_change(0.9, 0, 20)
    assert none["ci_high"] == log_change(0.9, 1, 20)


def test_coverage_of_a_known_effect():
    """Members around the truth, as fits to other samples would be."""
    rng, held = np.random.default_rng(1), 0
    for _ in range(200):
        shares = (0.5 + 0.1 * rng.normal(size=5)).clip(0, 1)
        found = outcome_table(LATENT, FATES, ends([0.9] * 5, 100), ends(shares, 100)).set_index("fate").loc["far"]
        held += found["ci_low"] <= log_change(0.9, 0.5, 100) <= found["ci_high"]
    assert held / 200 >= 0.93


def test_a_start_is_lost_where_holding_takes_it_off_the_cells():
    control = np.array([[0.0, 0.0], [0.0, 0.0], [30.0, 0.0]])
    perturbed = np.array([[0.05, 0.0], [20.0, 0.0], [30.0, 5.0]])
    assert moved_off(Support(LATENT), control, perturbed).tolist() == [False, True, False]
