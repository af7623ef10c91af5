import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch

import scnode
from scnode import ScnodeError, SolverError, ode


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


@pytest.fixture(scope="module")
def noisy(fitted):
    """The fitted cells with a diffusion of 0.2 in every direction."""
    adata = fitted.copy()
    model = scnode.get.model(adata)
    model.diffusion = scnode.nn.Diffusion(model.n_latent)
    model.diffusion.set_scales(center=torch.zeros(3), scale=torch.ones(()), level=torch.tensor(0.2))
    adata.uns["scnode"] = {**adata.uns["scnode"], "model": model.to_arrays()}
    return adata


def test_with_noise_any_number_is_drawn_and_spreads_as_the_diffusion_says(noisy):
    """Over a short time the spread is G sqrt(t), about where the drift leads."""
    start = list(noisy.obs_names[:3])
    found = latent(noisy, start=start, t=0.01, n_steps=3, n_samples=3000)["latent"]
    assert found.shape == (3, 3000, 3, 3)
    np.testing.assert_allclose(found[:, :, -1].std(1), 0.02, rtol=0.08)
    drift = latent(noisy, start=start, t=0.01, n_steps=3, noise=False)["latent"]
    np.testing.assert_allclose(found[:, :, -1].mean(1), drift[:, 0, -1], atol=4 * 0.02 / np.sqrt(3000))


def test_without_noise_a_noisy_model_flows_bit_for_bit_as_its_drift(noisy, fitted):
    for n in (1, 2):
        found, known = (latent(noisy, n_steps=4, n_samples=n, noise=False), latent(fitted, n_steps=4, n_samples=n))
        np.testing.assert_array_equal(found["latent"], known["latent"])


def test_same_rng_same_trajectories_and_the_global_seed_untouched(noisy):
    before = torch.get_rng_state()
    runs = [latent(noisy, n_steps=4, n_samples=2, rng=rng)["latent"] for rng in (1, 1, 2, np.random.default_rng(1))]
    np.testing.assert_array_equal(runs[0], runs[1])
    np.testing.assert_array_equal(runs[0], runs[3])
    assert not np.array_equal(runs[0], runs[2])
    assert torch.equal(torch.get_rng_state(), before)


def test_another_solver_draws_from_nearly_the_same_law(noisy):
    options = {"start": list(noisy.obs_names[:1]), "t": 0.3, "n_steps": 2, "n_samples": 1500}
    ends = [latent(noisy, solver=s, **options)["latent"][0, :, -1] for s in (None, "euler_maruyama", "implicit_euler")]
    for end in ends[1:]:
        np.testing.assert_allclose(end.mean(0), ends[0].mean(0), atol=0.05)
        np.testing.assert_allclose(end.std(0), ends[0].std(0), rtol=0.15)


@pytest.mark.parametrize(
    ("options", "fix"),
    [
        ({"n_samples": 0}, "at least 1"),
        ({"solver": "rk4"}, "'euler_maruyama'"),
        ({"n_samples": 10**6}, "fewer samples"),
    ],
)
def test_noisy_errors_name_the_mending_call(noisy, options, fix):
    with pytest.raises(ScnodeError, match=fix):
        scnode.tl.trajectories(noisy, **options)


def test_noise_is_not_asked_of_a_model_without_it(fitted):
    with pytest.raises(ScnodeError, match=r"scnode\.tl\.fit\(noise=True\)"):
        scnode.tl.trajectories(fitted, noise=True)
    with pytest.raises(ScnodeError, match="Fit with noise=True"):
        scnode.get.model(fitted).sample(torch.zeros(1, 3), torch.tensor([0.0, 1.0]))


@pytest.fixture(scope="module")
def stiff():
    """Two wells at -1 and 1 along x, and a fast way back to the axis: dx/dt = x - x^3, dy/dt = -300 y."""
    states = np.random.default_rng(0).uniform((-1.6, -0.01), (1.6, 0.01), (500, 2))
    x, y = states.T
    adata = ad.AnnData(
        np.zeros((500, 1), dtype=np.float32),
        obs=pd.DataFrame(index=[f"c{i}" for i in range(500)]),
        obsm={"X_plane": states, "v": np.stack([x - x**3, -300 * y], axis=1)},
    )
    with scnode.settings.override(verbosity=0):
        scnode.tl.fit(adata, use_rep="X_plane", velocity_key="v", n_members=1, max_epochs=60, noise=True)
    return adata


def test_noisy_steps_follow_the_stiffness_of_the_field(stiff):
    scnode.tl.trajectories(stiff, t=3.0, n_samples=2, noise=True)
    paths = stiff.uns["scnode"]["trajectories"]["latent"]
    assert np.abs(paths[..., 0]).max() < 3
    assert np.abs(paths[:, :, 5:, 1]).max() < 1


def test_noisy_steps_that_run_away_are_an_error(stiff):
    with pytest.raises(SolverError, match="implicit_euler"):
        scnode.tl.trajectories(stiff, t=20.0, noise=True, solver="euler_maruyama")
