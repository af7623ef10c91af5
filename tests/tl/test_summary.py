import numpy as np
import pytest

import scnode
from scnode.tl._summary import summary


@pytest.fixture
def model(fitted):
    return scnode.get.model(fitted)


def said(model, **changes):
    """The summary of a fit to one source with which it agrees."""
    report = {"evidence": ["obs['p']"], "agreement": {"pseudotime|fit": np.array([0.9, np.nan, 0.7])}, "notes": []}
    velocity, sd = np.tile([3.0, 4.0, 0.0], (3, 1)), np.full(3, 0.5)
    history = [{"stage": "encoder"}, {"stage": "regression"}, {"stage": "polish"}]
    return summary(model, report | changes, velocity, sd, history)


def test_it_says_what_was_learned_from_what_and_how_well(model):
    first, second, last = said(model).splitlines()
    assert first == "Learned 3 fields 'mlp' of 3 latent coordinates from obs['p'] of 3 cells, in 2 epochs."
    assert "pseudotime 0.80" in second
    assert "10% of the usual speed" in second
    assert "tl.ood" in last


@pytest.mark.parametrize(
    ("changes", "call"),
    [
        ({"notes": ["pseudotime contradicts velocity"]}, "notes"),
        ({"agreement": {"velocity|fit": np.array([0.1, 0.2])}}, "get.agreement"),
        ({"time_unit": {"key": "day"}}, "tl.evaluate(adata, time_key='day')"),
        ({"control": {}}, "tl.velocity"),
    ],
)
def test_what_to_look_at_next_follows_from_the_fit(model, changes, call):
    assert call in said(model, **changes).splitlines()[-1]


def test_a_source_that_speaks_of_no_cell_is_no_agreement(model):
    assert "velocity 0.00" in said(model, agreement={"velocity|fit": np.full(3, np.nan)})


def test_it_stays_with_the_fit(fitted):
    assert "pseudotime" in fitted.uns["scnode"]["report"]["summary"]
