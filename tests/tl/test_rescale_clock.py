import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

import scnode
from scnode import EvidenceError, ScnodeError

pytest.importorskip("ot")
FAST = {"use_rep": "X_arc", "pseudotime_key": "warped", "n_members": 2, "max_epochs": 40}


def arc(n=600):
    """Cells on a curve of uneven speed: a pseudotime that is the square of the time, velocities, and five days."""
    rng = np.random.default_rng(0)
    t = rng.uniform(size=n)
    states = np.stack([np.sin(3 * t), 0.8 * np.cos(3 * t), t**2], axis=1) + rng.normal(0, 0.03, (n, 3))
    velocity = np.stack([3 * np.cos(3 * t), -2.4 * np.sin(3 * t), 2 * t], axis=1)
    obs = pd.DataFrame({"t": t, "warped": t**2, "day": np.floor(5 * t) + 3}, index=[f"c{i}" for i in range(n)])
    obs["speed"] = np.linalg.norm(velocity, axis=1)
    adata = ad.AnnData(np.zeros((n, 1), np.float32), obs=obs, obsm={"X_arc": states})
    adata.obsm["v"] = velocity + rng.normal(0, 0.3, velocity.shape)
    return adata


@pytest.fixture(scope="module")
def cells():
    return arc()


@pytest.fixture(scope="module")
def rescaled(cells):
    adata = cells.copy()
    scnode.tl.fit(adata, velocity_key="v", rescale_clock=True, **FAST)
    return adata


def off_the_line(clock, t):
    return np.abs(clock - np.polyval(np.polyfit(t, clock, 1), t)).max() / np.ptp(clock)


def test_the_clock_runs_as_the_true_time_does(cells, rescaled):
    plain, t = cells.copy(), cells.obs["t"]
    scnode.tl.fit(plain, velocity_key="v", **FAST)
    before, after = (a.obs["scnode_time"].to_numpy() for a in (plain, rescaled))
    assert off_the_line(after, t) < 0.03
    assert off_the_line(before, t) > 0.15
    np.testing.assert_array_equal(after.argsort(), cells.obs["warped"].argsort())
    slow, true = (
        spearmanr(np.linalg.norm(a.obsm["velocity_scnode"], axis=1), cells.obs["speed"])[0] for a in (plain, rescaled)
    )
    assert slow + 0.05 < true > 0.75


def test_a_velocity_of_no_weight_sets_the_clock_alone(cells):
    """The direction and the speed are then the pseudotime's, on a clock that the velocity sets."""
    speeds = {}
    for key, rescale_clock in (("warped", False), ("warped", True), ("t", False)):
        adata = cells.copy()
        options = FAST | {"pseudotime_key": key, "rescale_clock": rescale_clock, "weights": {"velocity": 0.0}}
        scnode.tl.fit(adata, velocity_key="v", **options)
        speeds[key, rescale_clock] = np.linalg.norm(adata.obsm["velocity_scnode"], axis=1)
    before, after, best = (spearmanr(speed, cells.obs["speed"])[0] for speed in speeds.values())
    assert before < 0 < best - 0.05 < after
    # In one unit as well: both clocks run from 0 to 1.
    assert np.median(speeds["warped", True] / speeds["t", False]) == pytest.approx(1, abs=0.05)


def test_the_report_and_the_params_say_so_and_survive_a_file(rescaled, tmp_path):
    rescaled.write_h5ad(tmp_path / "arc.h5ad")
    stored = ad.read_h5ad(tmp_path / "arc.h5ad").uns["scnode"]
    assert stored["params"]["rescale_clock"]
    assert stored["report"]["clock"] == {"kind": "path", "scaled_by": "velocity"}
    table = stored["report"]["clock_map"]
    assert list(table.columns) == ["pseudotime", "clock"]
    np.testing.assert_allclose(table["clock"], np.sqrt(table["pseudotime"]), atol=0.04)


def test_new_cells_are_placed_on_the_same_clock(rescaled):
    new = arc(601)[:100].copy()
    scnode.tl.map(new, rescaled)
    np.testing.assert_allclose(new.obs["scnode_time"], new.obs["t"], atol=0.1)


def test_a_fit_that_was_cut_off_goes_on(cells, rescaled, tmp_path):
    options = {"velocity_key": "v", "rescale_clock": True, **FAST}
    for _ in range(2):
        adata = cells.copy()
        scnode.tl.fit(adata, resume=tmp_path / "fit", **options)
        np.testing.assert_array_equal(adata.obsm["velocity_scnode"], rescaled.obsm["velocity_scnode"])
    with pytest.raises(ScnodeError, match="other cells or evidence"):
        scnode.tl.fit(cells.copy(), resume=tmp_path / "fit", **options | {"rescale_clock": False})


@pytest.mark.parametrize("holdout", [None, [5.0]], ids=["all days", "a day held out"])
def test_days_set_the_clock_of_every_cell(cells, holdout):
    adata = cells.copy()
    scnode.tl.fit(adata, time_key="day", holdout=holdout, rescale_clock=True, **FAST | {"max_epochs": 2})
    report = adata.uns["scnode"]["report"]
    assert report["clock"] == {"kind": "path", "scaled_by": "time"}
    # A unit is the four days between the first and the last; a day's cells lie around its time, half a day either way.
    true = (adata.obs["t"] - 0.1) / 0.8
    error = np.abs(adata.obs["scnode_time"] - true)
    assert error[(true > 0) & (true < 1)].max() < 0.05
    # Before the first day the pace of the first two goes on, and there the square root has none.
    assert error.max() < 0.1
    assert report["time_unit"]["span"] == 4


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"pseudotime_key": "warped"}, "Pass velocity_key= .* or time_key="),
        ({"velocity_key": "v"}, "Pass its column as pseudotime_key="),
        ({"pseudotime_key": "warped", "time_key": "day", "time_dependent": True}, "Leave one out"),
        ({"pseudotime_key": "missing", "velocity_key": "v"}, "'missing'"),
    ],
)
def test_what_cannot_be_rescaled_is_refused(cells, keys, message):
    adata = cells.copy()
    with pytest.raises(ScnodeError, match=message):
        scnode.tl.fit(adata, use_rep="X_arc", rescale_clock=True, **keys)
    assert "scnode" not in adata.uns


def test_a_velocity_that_runs_back_is_refused(cells):
    adata = cells.copy()
    adata.obsm["back"] = -adata.obsm["v"]
    with pytest.raises(EvidenceError, match="against the pseudotime"):
        scnode.tl.fit(adata, velocity_key="back", rescale_clock=True, **FAST)
    assert "scnode" not in adata.uns
