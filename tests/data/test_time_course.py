import numpy as np
import pytest
import scipy.sparse as sp
from anndata import AnnData

from scnode import EvidenceError
from scnode.data import Neighbors, Space, read_snapshots
from scnode.data._time_course import time_course_evidence
from scnode.metrics import cosine

pytest.importorskip("ot")


def collected(latent, days, **obsp):
    """Cells in an order that says nothing of their days."""
    order = np.random.default_rng(9).permutation(len(days))
    adata = AnnData(obsm={"X_latent": latent[order]})
    adata.obs["day"] = np.asarray(days, dtype=float)[order]
    for key, matrix in obsp.items():
        adata.obsp[key] = sp.csr_matrix(matrix)[order][:, order]
    return adata, order


def evidence(adata, *, coupling_key=None, k=30):
    latent = adata.obsm["X_latent"]
    space = Space(latent, Neighbors.of(latent, k=k))
    snapshots = read_snapshots(adata, "day")
    return time_course_evidence(adata, snapshots, space, coupling_key=coupling_key, rng=np.random.default_rng(0))


def test_a_translation_between_uneven_days_has_its_velocity_in_every_cell():
    cloud, motion = np.random.default_rng(0).uniform(size=(60, 2)), np.array([0.3, 0.1])
    days = np.repeat([0.0, 1.0, 1.5, 4.0], 60)
    adata, order = collected(np.tile(cloud, (4, 1)) + days[:, None] * motion, days)
    found = evidence(adata)
    assert (found.name, found.clock.min(), found.clock.max()) == ("time", 0.0, 1.0)
    assert "obs['day'] (4 time points, coupled by exact optimal transport)" in found.source
    # A unit of the clock is four days.
    assert cosine(found.velocity, np.tile(4 * motion, (240, 1))).min() > 0.97
    np.testing.assert_allclose(np.median(found.velocity, axis=0), 4 * motion, rtol=0.1)
    speed = np.linalg.norm(found.velocity, axis=1)
    for day in np.unique(days):
        np.testing.assert_allclose(
            np.median(speed[days[order] == day]), 4 * np.linalg.norm(motion), rtol=0.12, err_msg=f"day {day}"
        )
    np.testing.assert_allclose(found.bridge.velocity, np.tile(4 * motion, (180, 1)), rtol=0.3)
    np.testing.assert_allclose(found.bridge.velocity.mean(0), 4 * motion, rtol=0.02)
    assert np.isfinite(found.se).all()


def test_a_rotation_turns_with_the_days():
    rng, omega = np.random.default_rng(1), 0.5
    days = np.repeat([1.0, 2.0, 4.0, 5.0], 60)
    angle = omega * days + rng.normal(0, 0.15, 240)
    latent = rng.uniform(0.9, 1.1, (240, 1)) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    adata, order = collected(latent, days)
    found = evidence(adata)
    truth = 4 * omega * np.stack([-latent[order, 1], latent[order, 0]], axis=1)
    assert cosine(found.velocity, truth).mean() > 0.95
    speed = np.linalg.norm(found.velocity, axis=1)
    # Chords are shorter than arcs, and ends of the cloud are averaged with what follows.
    assert 0.7 * 4 * omega < np.median(speed) < 1.1 * 4 * omega


def crossing(n=60, step=1.5):
    """Two clouds that change places; `true` couples each cell with what it became."""
    rng = np.random.default_rng(2)
    side = np.repeat([2.0, -2.0], n)
    offset = rng.normal(0, 0.2, (2 * n, 2))
    start, end = (offset + np.stack([np.full(2 * n, t * step), s], axis=1) for t, s in ((0.0, side), (1.0, -side)))
    days = np.repeat([0.0, 2.0], 2 * n)
    true = sp.bmat([[None, sp.identity(2 * n)], [sp.csr_matrix((2 * n, 2 * n)), None]]).tocsr()
    motion = np.stack([np.full(2 * n, step), -2 * side], axis=1)
    return np.concatenate([start, end]), days, true, np.concatenate([motion, motion])


@pytest.mark.parametrize("scale", [1.0, 1 / 120, 7.0])
def test_given_couplings_take_the_place_of_transport(scale):
    """A block matrix as moscot gives, of any total mass."""
    latent, days, true, motion = crossing()
    adata, order = collected(latent, days, true=scale * true)
    nearest, given = evidence(adata), evidence(adata, coupling_key="true")
    assert cosine(nearest.velocity, motion[order]).mean() < 0.5
    assert cosine(given.velocity, motion[order]).mean() > 0.98
    assert "coupled by obsp['true']" in given.source
    np.testing.assert_allclose(np.median(np.linalg.norm(given.velocity, axis=1)), np.linalg.norm(motion[0]), rtol=0.2)


def test_a_dense_matrix_of_couplings_is_read_as_well():
    latent, days, true, _ = crossing()
    adata, _ = collected(latent, days, true=true)
    sparse = evidence(adata, coupling_key="true")
    adata.obsp["true"] = adata.obsp["true"].toarray()
    np.testing.assert_array_equal(evidence(adata, coupling_key="true").velocity, sparse.velocity)


def test_couplings_within_a_day_or_back_in_time_do_not_count():
    latent, days, true, _ = crossing()
    adata, _ = collected(latent, days, true=true, more=true + true.T + sp.identity(len(days)))
    np.testing.assert_array_equal(
        evidence(adata, coupling_key="more").velocity, evidence(adata, coupling_key="true").velocity
    )


def test_days_that_no_coupling_reaches_say_nothing():
    latent, days, true, _ = crossing()
    # Where the cells of the first day were, and so among their neighbours.
    later = latent[:120] + 0.01
    matrix = sp.block_diag([true, sp.csr_matrix((120, 120))])
    adata, order = collected(np.concatenate([latent, later]), np.append(days, np.full(120, 3.0)), true=matrix)
    found = evidence(adata, coupling_key="true")
    np.testing.assert_array_equal(np.isinf(found.se), order >= 240)
    assert not found.velocity[order >= 240].any()
    assert found.bridge.latent.shape == (120, 2)
    alone, order_alone = collected(latent, days, true=true)
    expected = evidence(alone, coupling_key="true").velocity
    told = np.argsort(order)[:240]
    # The clock is three days long instead of two.
    np.testing.assert_allclose(found.velocity[told], 1.5 * expected[np.argsort(order_alone)], atol=1e-9)


@pytest.mark.parametrize(
    ("spoil", "key", "fix"),
    [
        (lambda m: m, "ture", r"Did you mean 'true'\? Pass coupling_key="),
        (lambda m: -m, "true", "holds negative or infinite weights. Pass a transport plan"),
        (lambda m: m * np.inf, "true", "holds negative or infinite weights"),
        (lambda m: m.T, "true", "couples no cells of successive times. Its rows are the earlier cells"),
        (lambda m: 0 * m, "true", "couples no cells of successive times"),
    ],
    ids=["missing", "negative", "infinite", "turned round", "without mass"],
)
def test_couplings_that_cannot_be_used(spoil, key, fix):
    latent, days, true, _ = crossing()
    adata, _ = collected(latent, days, true=spoil(true))
    with pytest.raises(EvidenceError, match=fix):
        evidence(adata, coupling_key=key)
