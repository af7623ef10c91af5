import logging
import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import scnode
from scnode import EvidenceError, ScnodeError
from scnode.metrics import cosine

pytest.importorskip("ot")
DAYS, N = (0.0, 1.0, 1.5, 4.0), 40
MOTION = np.array([0.3, 0.1])
FAST = {"use_rep": "X_plane", "n_members": 1, "max_epochs": 2}


def moving():
    """A cloud that moves by `MOTION` a day, seen on unevenly spaced days, each cell with all that there is."""
    rng = np.random.default_rng(0)
    day, cloud = np.repeat(DAYS, N), rng.uniform(size=(N, 2))
    latent = np.tile(cloud, (4, 1)) + day[:, None] * MOTION + rng.normal(0, 0.01, (4 * N, 2))
    obs = pd.DataFrame(index=[f"c{i}" for i in range(4 * N)])
    obs["day"], obs["label"] = day, [f"E{8.5 + d:g}" for d in day]
    obs["clone"] = np.tile([f"clone {i}" for i in range(N)], 4)
    obs["along"] = latent @ MOTION
    obs["lane"] = pd.Categorical(obs["label"])
    adata = ad.AnnData(np.zeros((4 * N, 1), np.float32), obs=obs, obsm={"X_plane": latent})
    adata.obsm["motion"] = np.tile(MOTION, (4 * N, 1)) + rng.normal(0, 0.01, (4 * N, 2))
    adata.obsp["plan"] = sp.diags([np.ones(3 * N)], [N], shape=(4 * N, 4 * N), format="csr")
    return adata


@pytest.fixture(scope="module")
def known():
    return moving()


@pytest.mark.parametrize(
    "keys",
    [
        {"time_key": "day"},
        {"time_key": "label", "coupling_key": "plan"},
        {"time_key": "day", "lineage_key": "clone", "velocity_key": "motion", "pseudotime_key": "along"},
    ],
    ids=["days", "labels and couplings", "everything"],
)
def test_the_velocity_is_that_of_the_clock_whatever_the_days_between(known, keys):
    adata = known.copy()
    scnode.tl.fit(adata, **FAST | {"max_epochs": 60}, **keys)
    velocity = adata.obsm["velocity_scnode"]
    # A unit of the clock is the four days between the first and the last.
    np.testing.assert_allclose(adata.obs["scnode_time"], adata.obs["day"] / 4)
    np.testing.assert_allclose(np.median(velocity @ MOTION) / (MOTION @ MOTION), 4, rtol=0.15)
    assert cosine(velocity, np.tile(MOTION, (160, 1))).mean() > 0.98
    report = adata.uns["scnode"]["report"]
    sources = [
        k.removesuffix("_key") for k in ("time_key", "lineage_key", "pseudotime_key", "velocity_key") if k in keys
    ]
    assert list(report["share"]) == sources
    assert sum(report["share"].values()) == pytest.approx(1)
    pairs = {f"{a}|{b}" for i, a in enumerate(sources) for b in [*sources[i + 1 :], "fit"]}
    assert set(report["agreement"]) == pairs
    assert all(np.nanmean(c) > 0.9 for c in report["agreement"].values())
    assert report["notes"] == []


def test_a_weight_moves_the_share(known):
    shares = []
    for weight in (0.0, 1.0, 100.0):
        adata = known.copy()
        keys = {"time_key": "day", "velocity_key": "motion", "weights": {"velocity": weight}}
        scnode.tl.fit(adata, **FAST, **keys)
        shares.append(adata.uns["scnode"]["report"]["share"]["velocity"])
    assert shares == sorted(set(shares))
    assert shares[0] == 0


def test_sources_against_each_other_are_told(known, caplog):
    adata = known.copy()
    adata.obsm["motion"] *= -1
    with caplog.at_level(logging.WARNING, logger="scnode"):
        scnode.tl.fit(adata, time_key="day", velocity_key="motion", **FAST)
    (note,) = adata.uns["scnode"]["report"]["notes"]
    assert "contradict each other" in note
    assert note in caplog.text


def test_lanes_that_are_days_are_told(caplog):
    rng = np.random.default_rng(0)
    day = np.repeat([1.0, 2.0], 20)
    obs = pd.DataFrame({"day": day, "lane": np.where(day > 1, "b", "a")}, index=[f"c{i}" for i in range(40)])
    adata = ad.AnnData(rng.poisson(5 + 5 * day[:, None], (40, 12)).astype(np.float32), obs=obs)
    options = {"encoder": "vae", "n_latent": 2, "n_members": 1, "max_epochs": 2}
    with caplog.at_level(logging.WARNING, logger="scnode"):
        scnode.tl.fit(adata, time_key="day", batch_key="lane", **options)
    assert "Every batch of obs['lane'] was collected at one time of obs['day']" in caplog.text


def test_sources_of_different_cells_have_no_agreement(known):
    adata, half = known.copy(), np.tile(np.arange(N) < N // 2, 4)
    adata.obs["clone"] = adata.obs["clone"].where(half)
    adata.obsp["plan"] = (adata.obsp["plan"] @ sp.diags((~half).astype(float))).tocsr()
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        scnode.tl.fit(adata, time_key="day", lineage_key="clone", coupling_key="plan", **FAST)
    report = adata.uns["scnode"]["report"]
    assert np.isnan(report["agreement"]["time|lineage"]).all()
    np.testing.assert_array_equal(np.isfinite(report["agreement"]["lineage|fit"]), half)
    assert report["notes"] == []


BAD = [
    ({"time_key": "dya"}, r"Did you mean 'day'\? Pass time_key="),
    ({"lineage_key": "clone"}, "Pass time_key= as well"),
    ({"coupling_key": "plan"}, "Pass time_key= as well"),
    ({"holdout": [1.0]}, r"holdout=\[1.0\] names times. Pass the column that they are in as time_key="),
    ({"holdout": 1.0}, "holdout=1.0 names times"),
    ({"time_key": "day", "holdout": [2.0]}, r"no times of adata.obs\['day'\]: \[0.0, 1.0, 1.5, 4.0\]"),
    ({"time_key": "label", "holdout": ["E8.5"]}, r"no times of adata.obs\['label'\]: \[8.5, 9.5, 10.0, 12.5\]"),
    ({"time_key": "day", "holdout": [0, 1, 1.5]}, "leaves 1 time point to fit to"),
    ({"time_key": "day", "coupling_key": "plna"}, "Did you mean 'plan'"),
    ({"time_key": "day", "lineage_key": "clnoe"}, "Did you mean 'clone'"),
    ({"time_key": "day", "lineage_key": "day"}, "No clone of 'day' was seen at two times"),
    ({"time_key": "day", "batch_key": "laen"}, "batch_key="),
    ({"time_key": "day", "weights": {"lineage": 1.0}}, r"the evidence in use is \['time'\]. Name those"),
    ({"time_key": "day", "weights": {"time": -1.0}}, "not negative"),
    ({"time_key": "day", "weights": {"time": 0.0}}, "not all zero"),
    (
        {"time_key": "day", "pseudotime_key": "day"},
        "pseudotime_key='day' has one value for each time of time_key='day'",
    ),
]


@pytest.mark.parametrize(("options", "fix"), BAD)
def test_what_cannot_be_is_told_with_the_mending_call_and_leaves_adata(known, options, fix):
    adata = known.copy()
    with pytest.raises(ScnodeError, match=fix):
        scnode.tl.fit(adata, **FAST, **options)
    assert set(adata.obsm) == set(known.obsm)
    assert list(adata.obs) == list(known.obs)
    assert not adata.uns


@pytest.mark.parametrize(
    "copy",
    [
        lambda d: d,
        lambda d: 3 * d + 2,
        lambda d: -d / 7,
        lambda d: (d / 7).astype(np.float32),
        lambda d: d.rank(),
        lambda d: d + 1e-8 * np.arange(len(d)) / len(d),
    ],
    ids=["same", "affine", "reversed", "single precision", "ranks", "rounding"],
)
def test_a_pseudotime_that_is_the_days_again_is_refused(known, copy):
    adata = known.copy()
    adata.obs["again"] = copy(adata.obs["day"])
    with pytest.raises(EvidenceError, match=r"pseudotime_key='again'.*time_key='label'.*Leave pseudotime_key= out"):
        scnode.tl.fit(adata, time_key="label", pseudotime_key="again", **FAST)
