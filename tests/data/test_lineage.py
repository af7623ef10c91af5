import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData

from scnode import EvidenceError
from scnode.data import Arms, Neighbors, Space, read_snapshots
from scnode.data._lineage import lineage_evidence, read_clones
from scnode.data._time_course import time_course_evidence
from scnode.metrics import cosine

N, STEP = 60, 1.5


@pytest.fixture
def crossing():
    """Two clouds that change places from day 0 to day 2, each cell and what it became of one clone."""
    rng = np.random.default_rng(2)
    side, offset = np.repeat([2.0, -2.0], N), rng.normal(0, 0.2, (2 * N, 2))
    start, end = (offset + np.stack([np.full(2 * N, x), s], axis=1) for x, s in ((0.0, side), (STEP, -side)))
    adata = AnnData(obsm={"X_latent": np.concatenate([start, end])})
    adata.obs["day"] = np.repeat([0.0, 2.0], 2 * N)
    adata.obs["clone"] = [f"clone {i}" for i in range(2 * N)] * 2
    motion = np.stack([np.full(2 * N, STEP), -2 * side], axis=1)
    adata.obsm["motion"] = np.concatenate([motion, motion])
    # Their order says nothing of their days.
    return adata[rng.permutation(4 * N)].copy()


def evidence(adata, key="clone", *, holdout=None):
    latent = adata.obsm["X_latent"]
    snapshots = read_snapshots(adata, "day", holdout=holdout)
    return lineage_evidence(adata, key, snapshots, Space(latent, Neighbors.of(latent, k=30)))


def membership(adata):
    return sp.csr_matrix(pd.get_dummies(adata.obs["clone"]).to_numpy(dtype=float))


def test_clones_that_cross_are_followed_where_transport_is_not(crossing):
    pytest.importorskip("ot")
    latent = crossing.obsm["X_latent"]
    space, snapshots = Space(latent, Neighbors.of(latent, k=30)), read_snapshots(crossing, "day")
    generator = np.random.default_rng(0)
    nearest = time_course_evidence(crossing, snapshots, space, coupling_key=None, rng=generator)
    found = lineage_evidence(crossing, "clone", snapshots, space)
    assert cosine(nearest.velocity, crossing.obsm["motion"]).mean() < 0.5
    assert cosine(found.velocity, crossing.obsm["motion"]).min() > 0.98
    assert (found.name, found.source) == ("lineage", "'clone' (120 clones seen at several times)")
    np.testing.assert_array_equal(found.clock, snapshots.clock)
    speed, true = (np.median(np.linalg.norm(v, axis=1)) for v in (found.velocity, crossing.obsm["motion"]))
    np.testing.assert_allclose(speed, true, rtol=0.2)


@pytest.mark.parametrize("convert", [lambda m: m.toarray(), lambda m: m, lambda m: 3 * m.tocsc()])
def test_a_matrix_of_clones_says_the_same(crossing, convert):
    crossing.obsm["X_clone"] = convert(membership(crossing))
    of_column, of_matrix = evidence(crossing), evidence(crossing, "X_clone")
    np.testing.assert_allclose(of_matrix.velocity, of_column.velocity)
    np.testing.assert_allclose(of_matrix.se, of_column.se)


def test_a_frame_of_clones_is_a_matrix(crossing):
    crossing.obsm["X_clone"] = pd.get_dummies(crossing.obs["clone"])
    np.testing.assert_array_equal(read_clones(crossing, "X_clone").toarray(), membership(crossing).toarray())


@pytest.mark.parametrize("frame", [False, True])
def test_a_matrix_of_text_is_told(crossing, frame):
    text = np.full((240, 2), "a")
    crossing.obsm["X_clone"] = pd.DataFrame(text, index=crossing.obs_names, columns=["a", "b"]) if frame else text
    with pytest.raises(EvidenceError, match=r"not numeric. Pass a matrix"):
        read_clones(crossing, "X_clone")


@pytest.mark.parametrize("missing", [None, np.nan, ""])
@pytest.mark.parametrize("kind", ["object", "category"])
def test_cells_without_a_barcode_have_no_evidence(crossing, missing, kind):
    named = crossing.obs["clone"].isin([f"clone {i}" for i in range(120) if i % 4])
    column = crossing.obs["clone"].astype(object)
    column[~named] = missing
    crossing.obs["clone"] = column.astype(kind)
    found = evidence(crossing)
    np.testing.assert_array_equal(np.isfinite(found.se), named)
    assert not found.velocity[~named].any()
    assert cosine(found.velocity[named], crossing.obsm["motion"][named]).mean() > 0.95


def three_days(clones):
    """Cells that move by 1 a day at days 1, 2 and 3 along a wide line."""
    rng = np.random.default_rng(3)
    days = np.repeat([1.0, 2.0, 3.0], 40)
    latent = np.stack([days + np.tile(np.linspace(-1, 1, 40), 3), rng.normal(0, 0.2, 120)], axis=1)
    adata = AnnData(obsm={"X_latent": latent})
    adata.obs["day"], adata.obs["clone"] = days, clones
    return adata


def test_a_clone_that_skips_a_day_keeps_its_time():
    own = [f"c{i}" for i in range(40)]
    found = evidence(three_days([*own, *[None] * 40, *own]))
    tied = np.isfinite(found.se)
    np.testing.assert_array_equal(tied, np.repeat([True, False, True], 40))
    # Two units of length in the two days that the clock is long.
    assert cosine(found.velocity[tied], np.tile([1.0, 0.0], (80, 1))).mean() > 0.95
    np.testing.assert_allclose(np.median(found.velocity[tied, 0]), 2.0, rtol=0.15)


def test_a_clone_seen_every_day_is_followed_from_day_to_day():
    from scnode.data._lineage import _transports

    own = [f"c{i}" for i in range(40)]
    adata = three_days([*own, *own, *own])
    transports, tied = _transports(read_clones(adata, "clone"), read_snapshots(adata, "day"), Arms.one(adata.n_obs))
    assert [t.elapsed for t in transports] == [0.5, 0.5]
    assert tied.all()
    skipping = three_days([*own, *own[:20], *[None] * 20, *own])
    transports, tied = _transports(
        read_clones(skipping, "clone"), read_snapshots(skipping, "day"), Arms.one(skipping.n_obs)
    )
    assert [(t.elapsed, int(t.plan.sum())) for t in transports] == [(0.5, 20), (1.0, 20), (0.5, 20)]


def test_a_large_clone_offers_no_more_than_a_small_one(crossing):
    clones = sp.csr_matrix([[1, 1], [1, 0], [1, 0], [1, 0], [0, 1]], dtype=float)
    from scnode.data._lineage import _partners

    plan = _partners(clones, np.array([0]), np.array([1, 2, 3, 4])).toarray()
    np.testing.assert_allclose(plan, [[1 / 3, 1 / 3, 1 / 3, 1]])


def test_few_clones_have_a_direction_too(crossing):
    few = crossing.obs["clone"].isin([f"clone {i}" for i in (0, 1, 2, 3, 4, 70, 71, 72, 73, 74)])
    crossing.obs["clone"] = crossing.obs["clone"].where(few)
    found = evidence(crossing)
    assert cosine(found.velocity[few], crossing.obsm["motion"][few]).mean() > 0.9


@pytest.mark.parametrize(
    ("clones", "fix"),
    [
        (["one"] * 120, "holds 1 clone: cells of one clone say nothing.*Leave lineage_key= out"),
        ([None] * 120, "holds 0 clone"),
        ([f"c{i}" for i in range(120)], "No clone of 'clone' was seen at two times of 'day'. Leave lineage_key= out"),
        (np.repeat(["a", "b", "c"], 40), "No clone of 'clone' was seen at two times"),
    ],
)
def test_barcodes_that_tie_nothing(clones, fix):
    with pytest.raises(EvidenceError, match=fix):
        evidence(three_days(clones))


def test_what_is_missing_is_named(crossing):
    with pytest.raises(EvidenceError, match=r"Did you mean 'clone'\? Pass lineage_key="):
        evidence(crossing, "clnoe")
    latent = crossing.obsm["X_latent"]
    with pytest.raises(EvidenceError, match="Pass time_key= as well"):
        lineage_evidence(crossing, "clone", None, Space(latent, Neighbors.of(latent, k=30)))
