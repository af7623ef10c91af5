import numpy as np
import pytest
import torch

import scnode
from scnode import ScnodeError, ode


def latent(adata, **options):
    return scnode.tl.trajectories(adata, copy=True, **options).uns["scnode"]["trajectories"]


def test_cells_move_along_the_curve(fitted):
    stored = latent(fitted, start=[fitted.obs_names[20]], t=0.5, n_steps=6)
    assert stored["latent"].shape == (1, 1, 6, 3)
    reached = np.linalg.norm(fitted.obsm["X_scnode"] - stored["latent"][0, 0, -1], axis=1).argmin()
    time = fitted.obs["pseudotime"].to_numpy()
    clock = (time - time.min()) / np.ptp(time)
    assert abs(clock[reached] - clock[20] - 0.5) < 0.1


@pytest.mark.parametrize("form", ["names", "mask", "groups"])
def test_ways_to_name_the_start(fitted, form):
    adata = fitted.copy()
    adata.obs["stage"] = np.where(np.arange(200) < 5, "first", "rest")
    start = {
        "names": list(adata.obs_names[:5]),
        "mask": np.arange(200) < 5,
        "groups": {"stage": ["first"]},
    }[form]
    assert latent(adata, start=start, n_steps=2)["start"].tolist() == adata.obs_names[:5].tolist()


def test_the_earliest_tenth_is_the_default(fitted):
    names = latent(fitted, n_steps=2)["start"]
    assert len(names) == 20
    rest = fitted.obs["scnode_time"].drop(names)
    assert fitted.obs.loc[names, "scnode_time"].max() <= rest.min()


@pytest.mark.parametrize(
    ("options", "fix"),
    [
        ({"start": ["c1000"]}, "not in adata.obs_names"),
        ({"start": np.ones(3, dtype=bool)}, "one per cell"),
        ({"start": np.zeros(200, dtype=bool)}, "selects no cell"),
        ({"start": {"stages": ["a"]}}, "Pass it in start="),
        ({"t": 0.0}, "must be positive"),
        ({"n_steps": 1}, "at least 2"),
        ({"n_samples": 9}, "n_members="),
    ],
)
def test_errors_name_the_mending_call(fitted, options, fix):
    with pytest.raises(ScnodeError, match=fix):
        scnode.tl.trajectories(fitted, **options)


def test_samples_follow_one_member_each(fitted):
    stored = latent(fitted, start=list(fitted.obs_names[:4]), t=0.3, n_steps=3, n_samples=2)
    assert stored["latent"].shape == (4, 2, 3, 3)
    model = scnode.get.model(fitted)
    start = torch.as_tensor(fitted.obsm["X_scnode"][:4])
    with torch.no_grad():
        for m in range(2):
            alone = ode.solve(lambda t, y, m=m: model.field.members(t, y)[m], start, torch.tensor([0.0, 0.15, 0.3])).ys
            np.testing.assert_allclose(stored["latent"][:, m], alone.numpy(), atol=1e-3)
    assert np.abs(stored["latent"][:, 0, -1] - stored["latent"][:, 1, -1]).max() > 5e-3
