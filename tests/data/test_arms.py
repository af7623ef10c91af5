import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from scnode.data import Arms, Controls, Neighbors, read_snapshots


def cells(*groups):
    """Cells of (dose, day, number)."""
    dose, day = (np.concatenate([np.full(n, part[i]) for *part, n in groups]) for i in (0, 1))
    obs = pd.DataFrame(
        {"dose": dose.astype(float), "day": day.astype(float)}, index=[f"c{i}" for i in range(len(dose))]
    )
    adata = ad.AnnData(np.zeros((len(obs), 1), np.float32), obs=obs)
    controls = Controls.of(adata, "dose")
    return Arms.of(controls.read(adata)), read_snapshots(adata, "day"), controls


def courses(arms, snapshots):
    return [[tuple(stop) for stop in course] for course in arms.courses(snapshots)]


def test_untreated_cells_of_the_first_time_start_every_arm():
    arms, snapshots, _ = cells((0, 0, 5), (0, 1, 5), (1, 1, 5), (2, 1, 5), (2, 3, 5), (4, 3, 5))
    assert arms.reference == 0
    np.testing.assert_allclose(arms.control[:, 0], [0, 0.25, 0.5, 1])
    assert courses(arms, snapshots) == [
        [(0, 0), (0, 1)],
        [(0, 0), (1, 1)],
        [(0, 0), (2, 1), (2, 2)],
        [(0, 0), (3, 2)],
    ]
    assert arms.rows(snapshots, np.array([2, 2])).tolist() == list(range(20, 25))


def test_an_arm_with_cells_at_the_first_time_starts_from_its_own():
    arms, snapshots, _ = cells((0, 0, 5), (1, 0, 5), (1, 2, 5))
    assert courses(arms, snapshots) == [[(0, 0)], [(1, 0), (1, 1)]]


def test_single_cells_are_no_snapshot():
    arms, snapshots, _ = cells((0, 0, 5), (1, 1, 1), (1, 2, 5), (0, 1, 5))
    assert courses(arms, snapshots)[1] == [(0, 0), (1, 2)]


def test_what_the_snapshots_leave_open_is_told():
    arms, snapshots, controls = cells((1, 0, 5), (1, 1, 5), (2, 1, 5))
    assert arms.reference is None
    (note,) = arms.notes(snapshots, controls)
    assert note.startswith("Cells under dose=2 are seen at one time alone")
    assert "Add untreated cells of an earlier time" in note
    arms, snapshots, controls = cells((0, 0, 5), (1, 1, 5))
    assert arms.notes(snapshots, controls)[0].startswith("Cells under dose=0")
    resting = Arms(arms.control, arms.number, rest=True)
    assert "taken to be at rest" in resting.notes(snapshots, controls)[0]


def test_small_arms_make_one_crowd():
    arms, _, _ = cells((0, 0, 40), (0, 1, 40), (1, 1, 35), (2, 1, 10), (3, 1, 5))
    np.testing.assert_array_equal(arms.crowd, np.repeat([0, 1, -1], [80, 35, 15]))


def test_neighbours_are_of_one_crowd_and_named_again_where_they_are_few():
    rng = np.random.default_rng(0)
    latent, crowd = rng.normal(size=(30, 2)), np.repeat([0, 1], [27, 3])
    near = Neighbors.among(latent, crowd, k=10)
    assert (crowd[near.index] == crowd[:, None]).all()
    np.testing.assert_array_equal(near.index[:, 0], np.arange(30))
    own = np.flatnonzero(crowd == 0)
    np.testing.assert_array_equal(near.index[own], own[Neighbors.of(latent[own], k=10).index])
    assert set(near.index[29]) == {27, 28, 29}
    np.testing.assert_allclose(near.distance, np.linalg.norm(latent[near.index] - latent[:, None], axis=2), atol=1e-7)


def test_plans_are_cut_at_the_arms():
    arms = Arms(np.array([[0.0], [1.0]]), np.array([0, 1, 0, 1]))
    plan = sp.csr_matrix(np.array([[1.0, 2.0], [3.0, 4.0]]))
    kept = arms.within(plan, np.array([0, 1]), np.array([2, 3])).toarray()
    np.testing.assert_array_equal(kept, [[1, 0], [0, 4]])


def test_cells_without_an_input_are_one_arm():
    arms = Arms.one(3)
    assert arms.reference == 0
    assert arms.control.shape == (1, 0)
