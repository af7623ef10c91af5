import anndata as ad
import numpy as np
import pytest

import scnode
from scnode.data import Neighbors, mean_phase, velocity_clock, wrap
from scnode.data._source import Space
from scnode.tl._gather import _clock_of_velocity, _pace
from scnode.tl._space import FitSpace


def space(points):
    return FitSpace(points, Space(points, Neighbors.of(points, k=30)))


def ring(n, speed):
    angle = np.random.default_rng(0).uniform(0, 2 * np.pi, n)
    points = np.stack([np.cos(angle), np.sin(angle), 0.02 * np.random.default_rng(1).normal(size=n)], axis=1)
    return angle / (2 * np.pi), points, speed * np.stack([-np.sin(angle), np.cos(angle), np.zeros(n)], axis=1)


def test_a_path_keeps_the_potential_and_its_pace():
    rng = np.random.default_rng(0)
    along, arm = rng.uniform(size=600), rng.choice([-1.0, 1.0], 600)
    points = np.stack([along, np.maximum(along - 0.5, 0) * arm], axis=1) + 0.01 * rng.normal(size=(600, 2))
    velocity = np.stack([np.ones(600), np.where(along > 0.5, arm, 0.0)], axis=1)
    clock, pace, report = _clock_of_velocity(space(points), velocity)
    near = Neighbors.of(points, k=30)
    np.testing.assert_array_equal(clock, velocity_clock(points, velocity, near))
    assert pace == _pace(points, velocity, clock, near.index)
    assert report["kind"] == "path"


@pytest.mark.parametrize("speed", [1.0, 7.0])
def test_a_unit_of_the_clock_is_one_period(speed):
    truth, points, velocity = ring(800, speed)
    clock, pace, report = _clock_of_velocity(space(points), velocity)
    assert report["kind"] == "cycle"
    assert 1 / pace == pytest.approx(2 * np.pi / speed, rel=0.03)
    difference = clock - truth
    assert np.abs(wrap(difference - mean_phase(difference))).max() < 1e-2


def test_fit_returns_after_one_unit_and_maps_over_the_end_of_the_phase(tmp_path):
    _, points, velocity = ring(600, 3.0)
    adata = ad.AnnData(np.ones((600, 3), dtype=np.float32), obsm={"X_ring": points, "v": velocity})
    scnode.tl.fit(adata, use_rep="X_ring", velocity_key="v", n_members=2)
    assert adata.uns["scnode"]["report"]["clock"]["kind"] == "cycle"
    phase = adata.obs["scnode_time"].to_numpy()
    scnode.tl.trajectories(adata, start=list(adata.obs_names[:50]), t=1.0, n_steps=10)
    ends = adata.uns["scnode"]["trajectories"]["latent"][:, 0, -1]
    assert np.linalg.norm(ends - points[:50], axis=1).mean() < 0.3
    adata.write_h5ad(tmp_path / "ring.h5ad")
    new = ad.AnnData(np.ones((600, 3), dtype=np.float32), obsm={"X_ring": points})
    scnode.tl.map(new, ad.read_h5ad(tmp_path / "ring.h5ad"))
    assert np.abs(wrap(new.obs["scnode_time"].to_numpy() - phase)).max() < 0.03


def test_a_pseudotime_is_a_path(fitted):
    assert fitted.uns["scnode"]["report"]["clock"] == {"kind": "path"}
