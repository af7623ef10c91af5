import logging

import lightning as L
import numpy as np
import pytest
import torch

from scnode import ode
from scnode.nn import Diffusion, Field, MLPField
from scnode.train import Examples, fit_field
from scnode.train._module import CellData
from scnode.train._noise import fit_noise, noisy_snapshot_loss, start_noise, strays, walk_loss

T = torch.zeros(())


class Decay(Field):
    """f(x) = -x."""

    name = "decay"

    def scaled(self, t, z):
        return -z


def truth(t, y):
    return torch.stack([0.3 + 0.2 * torch.tanh(2 * y[:, 1]), torch.full_like(y[:, 0], 0.8)], dim=1)


def real_walks(n=4000, seed=0):
    """Walks that are trajectories of dz = -z dt + G(z) dW, at times of their own."""
    generator = torch.Generator().manual_seed(seed)
    starts = 2 * torch.rand(n, 2, generator=generator) - 1
    times = torch.cat([torch.zeros(n, 1), (0.02 + 0.02 * torch.rand(n, 3, generator=generator)).cumsum(1)], dim=1)
    paths = ode.solve_sde(lambda t, y: -y, truth, starts, times, step=0.01, generator=generator).ys[:, 0]
    return paths, times


def data_of(tensors, batch_size=500):
    order, generator = torch.arange(len(tensors["states"])), torch.Generator().manual_seed(1)
    n = len(order) // 10
    return CellData(tensors, train=order[n:], validation=order[:n], batch_size=batch_size, generator=generator)


def test_walks_that_are_trajectories_give_the_diffusion_back_by_state():
    torch.set_num_threads(1)
    paths, times = real_walks()
    diffusion = Diffusion(2, generator=torch.Generator().manual_seed(0))
    field = Decay(2)
    tensors = {"states": paths, "times": times, "latent": paths[:, 0]}
    fitted = fit_noise(
        field,
        diffusion,
        data_of(tensors),
        lr=3e-3,
        local=1.0,
        max_epochs=60,
        solve_options=None,
        options={"accelerator": "cpu"},
        generator=torch.Generator().manual_seed(2),
    )
    states = torch.stack([torch.zeros(9), torch.linspace(-0.9, 0.9, 9)], dim=1)
    with torch.no_grad():
        found, known = diffusion(T, states), truth(T, states)
    np.testing.assert_allclose(found.numpy(), known.numpy(), rtol=0.2)
    assert (found / known - 1).abs().mean() < 0.07
    assert {h["stage"] for h in fitted.history} == {"noise"}


def test_the_likelihood_is_least_where_squares_over_times_say():
    generator = torch.Generator().manual_seed(0)
    strayed, lasted = torch.rand(50, 2, generator=generator), torch.rand(50, generator=generator)
    best = float((strayed.sum() / (2 * lasted.sum())).sqrt())

    def loss(level):
        diffusion = Diffusion(2)
        diffusion.set_scales(center=torch.zeros(2), scale=torch.ones(()), level=torch.ones(()))
        with torch.no_grad():
            # softplus(b) / ln 2 is the level.
            diffusion.biases[-1].fill_(float(torch.tensor(2.0**level - 1).log()))
            return float(walk_loss(diffusion, torch.zeros(50, 2), strayed, lasted))

    assert loss(best) < min(loss(0.97 * best), loss(1.03 * best))


def test_dead_ends_count_for_nothing():
    paths, times = real_walks(100)
    paths[:40, 2:] = paths[:40, 1:2]
    strayed, lasted = strays(Decay(2), paths, times)
    assert (strayed[:40] == 0).all()
    assert (lasted[:40] == 0).all()
    assert (lasted[40:] > 0).all()
    diffusion = Diffusion(2)
    start_noise(Decay(2), diffusion, {"states": paths[:40], "times": times[:40]})
    assert 0 < diffusion.level < 1e-5
    assert torch.isfinite(walk_loss(diffusion, paths[:40, 0], strayed[:40], lasted[:40]))


def test_what_is_left_of_a_walk_along_the_drift_is_nothing():
    times = torch.tensor([[0.0, 0.05, 0.1]]).expand(30, -1)
    starts = torch.randn(30, 2, generator=torch.Generator().manual_seed(0))
    paths = starts[:, None] * torch.exp(-times)[..., None]
    strayed, lasted = strays(Decay(2), paths, times)
    assert strayed.max() < 1e-7
    torch.testing.assert_close(lasted, torch.full((30,), 0.1))


def spreading(n=600):
    """A cloud at rest that spreads as Brownian motion does, to a variance of 0.5 at the second snapshot."""
    rng = np.random.default_rng(0)
    number = np.repeat([0, 1], n // 2)
    latent = rng.normal(size=(n, 2)) * np.where(number, np.sqrt(0.01 + 0.5), 0.1)[:, None]
    return number, latent


def test_snapshots_pull_the_noise_to_their_spread():
    number, latent = (torch.as_tensor(x) for x in spreading())
    field = MLPField(2, n_members=2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        field.weights[-1].zero_()
    window = torch.tensor([[0.0, 1.0], [1.0, 1.0]])[number]
    options = {"weight": torch.ones(2, len(number)), "generator": torch.Generator().manual_seed(1)}

    def loss(level):
        diffusion = Diffusion(2)
        diffusion.set_scales(center=torch.zeros(2), scale=torch.ones(()), level=torch.tensor(level))
        return noisy_snapshot_loss(field, diffusion, number, window, latent.float(), **options), diffusion

    losses = {level: loss(level)[0].item() for level in (0.1, 0.5**0.5, 2.0)}
    assert losses[0.5**0.5] < min(losses[0.1], losses[2.0])
    assert abs(losses[0.5**0.5]) < 0.02
    total, diffusion = loss(0.2)
    gradients = torch.autograd.grad(total, [*diffusion.parameters(), *field.parameters()], allow_unused=True)
    assert all(torch.isfinite(g).all() for g in gradients if g is not None)
    # More noise is asked for, and the drift is asked as well.
    assert gradients[len(list(diffusion.parameters())) - 1].max() < 0
    assert gradients[-1].abs().max() > 0


def test_a_batch_without_a_window_costs_nothing():
    states = torch.zeros(3, 2)
    options = {"weight": torch.ones(1, 3), "generator": torch.Generator()}
    number = torch.ones(3, dtype=torch.long)
    assert noisy_snapshot_loss(MLPField(2), Diffusion(2), number, torch.ones(3, 2), states, **options) == 0


A = np.array([[-0.5, 1.0], [-1.0, -0.5]])


def fit(*, noise, callbacks=(), snapshots=False, seed=0):
    rng = np.random.default_rng(0)
    latent = rng.uniform(-1, 1, (200, 2))
    times = np.tile([0.0, 0.1, 0.2], (200, 1))
    paths = np.stack([latent, latent * 0.95, latent * 0.9], axis=1) + 0.05 * rng.normal(size=(200, 3, 2))
    extra = {"snapshot": np.arange(200) % 2, "snapshot_times": np.array([0.0, 1.0]), "local": 0.5} if snapshots else {}
    field = MLPField(2, hidden=(16,), n_members=2, generator=torch.Generator().manual_seed(0))
    diffusion = Diffusion(2, generator=torch.Generator().manual_seed(5)) if noise else None
    fitted = fit_field(
        field,
        Examples(latent, latent @ A.T, np.ones(200), latent, latent @ A.T, paths, times, **extra),
        max_epochs=12,
        batch_size=100,
        lr=5e-3,
        solve_options={"rtol": 1e-3, "atol": 1e-4},
        trainer_options={"accelerator": "cpu", "callbacks": list(callbacks)},
        rng=np.random.default_rng(seed),
        diffusion=diffusion,
    )
    return field, diffusion, fitted.history


def test_the_drift_is_the_same_bit_for_bit_without_snapshots():
    quiet, noisy = fit(noise=False), fit(noise=True)
    assert all(torch.equal(a, b) for a, b in zip(quiet[0].parameters(), noisy[0].parameters(), strict=True))
    assert [h["stage"] for h in noisy[2]] == [h["stage"] for h in quiet[2]] + ["noise"] * 3


def test_with_snapshots_drift_and_noise_are_trained_together_and_a_seed_decides():
    quiet, *runs = fit(noise=False, snapshots=True), *(fit(noise=True, snapshots=True, seed=s) for s in (0, 0, 1))
    weights = [torch.cat([p.flatten() for p in run[0].parameters()]) for run in (quiet, *runs)]
    assert not torch.equal(weights[0], weights[1])
    assert torch.equal(weights[1], weights[2])
    states = torch.zeros(1, 2)
    with torch.no_grad():
        levels = [run[1](T, states) for run in runs]
    assert torch.equal(levels[0], levels[1])
    assert not torch.equal(levels[0], levels[2])


class Stop(L.Callback):
    """Ctrl-C in one stage, before its first epoch ends."""

    def __init__(self, stage):
        self.stage = stage

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        noisy = hasattr(pl_module, "diffusion")
        if self.stage == ("noise" if noisy else "drift") and (noisy or trainer.current_epoch == 2):
            raise KeyboardInterrupt


@pytest.mark.parametrize("stage", ["drift", "noise"])
def test_an_interruption_leaves_a_diffusion_of_the_walks_level(stage, caplog):
    with caplog.at_level(logging.WARNING, logger="scnode"):
        _, diffusion, _ = fit(noise=True, callbacks=[Stop(stage)])
    found = diffusion(T, torch.randn(10, 2))
    torch.testing.assert_close(found, found[0, 0].expand(10, 2))
    assert diffusion.level == found[0, 0]
    assert 0.1 < diffusion.level < 1
    assert ("The noise stage is left out" in caplog.text) == (stage == "noise")
