"""A fit that is cut off after any epoch of any stage goes on to the same end."""

import io
import pickle

import lightning as L
import numpy as np
import pytest
import scipy.sparse as sp
import torch

from scnode import ScnodeError
from scnode.nn import Autoencoder, Diffusion, MLPField
from scnode.train import Examples, Profiles, fit_encoder, fit_field
from scnode.train._resume import KeepEpoch, digest

A = np.array([[-0.5, 1.0], [-1.0, -0.5]])
RNG = 4


def examples(n=120):
    latent = np.random.default_rng(0).uniform(-1, 1, (n, 2))
    times = np.tile([0.0, 0.1, 0.2], (n, 1))
    paths = np.stack([latent, latent * 0.95, latent * 0.9], axis=1)
    course = {"snapshot": np.arange(n) % 2, "snapshot_times": np.array([0.0, 1.0]), "local": 0.5}
    return Examples(latent, latent @ A.T, np.ones(n), latent, latent @ A.T, paths, times, **course)


def fit(folder, callbacks=(), given=None, **options):
    """Regression, polish and noise, with what they end in."""
    field = MLPField(2, hidden=(8,), n_members=2, generator=torch.Generator().manual_seed(0))
    diffusion = Diffusion(2, hidden=(4,), generator=torch.Generator().manual_seed(5))
    fitted = fit_field(
        field,
        given or examples(),
        **{"max_epochs": 8, "batch_size": 50, "lr": 5e-3} | options,
        solve_options={"rtol": 1e-2, "atol": 1e-3},
        trainer_options={"accelerator": "cpu", "callbacks": list(callbacks)},
        rng=np.random.default_rng(RNG),
        diffusion=diffusion,
        resume=folder,
    )
    return [*field.state_dict().values(), *diffusion.state_dict().values()], fitted.history


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a[0], b[0], strict=True)) and a[1] == b[1]


class CutError(Exception):
    pass


class CutOff(L.Callback):
    """Raise in the middle of the n-th training batch, counted over all stages."""

    def __init__(self, n):
        self.left = n

    def on_train_batch_end(self, *args):
        self.left -= 1
        if self.left < 0:
            raise CutError


@pytest.fixture(scope="module")
def whole():
    return fit(None)


def test_files_make_no_difference(whole, tmp_path):
    assert same(whole, fit(tmp_path))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["noise.ckpt", "polish.ckpt", "regression.ckpt"]


@pytest.mark.parametrize("batches", [1, 5, 6, 23, 26, 29, 31], ids=lambda n: f"after {n} batches")
def test_cut_off_and_resumed_ends_bit_for_bit_as_if_it_had_not_been(whole, tmp_path, batches):
    with pytest.raises(CutError):
        fit(tmp_path, [CutOff(batches)])
    assert same(whole, fit(tmp_path))


def test_a_fit_that_was_through_is_read_back_without_a_step(whole, tmp_path):
    fit(tmp_path)
    assert same(whole, fit(tmp_path, [CutOff(0)]))


@pytest.mark.slow
def test_an_early_stop_is_remembered(tmp_path):
    """The stage that stopped early does not train on when the next one was cut off."""
    options = {"max_epochs": 60, "lr": 0.2}
    first = fit(None, **options)
    regression = [h for h in first[1] if h["stage"] == "regression"]
    assert len(regression) < 60
    with pytest.raises(CutError):
        fit(tmp_path, [CutOff(3 * len(regression) + 2)], **options)
    assert same(first, fit(tmp_path, **options))


@pytest.mark.parametrize(("option", "said"), [({"lr": 1e-3}, "lr="), ({"max_epochs": 9}, "max_epochs=8 and not 9")])
def test_other_settings_are_refused_by_name(tmp_path, option, said):
    fit(tmp_path)
    with pytest.raises(ScnodeError, match=said):
        fit(tmp_path, **option)


def test_other_cells_are_refused(tmp_path):
    fit(tmp_path)
    with pytest.raises(ScnodeError, match="other cells or evidence"):
        fit(tmp_path, given=examples(119))


class Evil:
    def __reduce__(self):
        return (pytest.fail, ("code of a file was run",))


@pytest.mark.parametrize("what", ["text", "empty", "cut", "code", "other"])
def test_a_foreign_file_is_refused_and_runs_no_code(tmp_path, what):
    fit(tmp_path)
    path, buffer = tmp_path / "regression.ckpt", io.BytesIO()
    torch.save({"scnode": Evil()}, buffer, pickle_module=pickle)
    other = io.BytesIO()
    torch.save({"weights": torch.ones(2)}, other)
    path.write_bytes(
        {
            "text": b"no such thing",
            "empty": b"",
            "cut": path.read_bytes()[:500],
            "code": buffer.getvalue(),
            "other": other.getvalue(),
        }[what]
    )
    with pytest.raises(ScnodeError, match="damaged or was not written by scnode"):
        fit(tmp_path)


def encoder(folder):
    net = Autoencoder(12, 2)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator))
    expression = sp.csr_matrix(np.random.default_rng(0).poisson(1.0, (80, 12)).astype(np.float32))
    history = fit_encoder(
        net,
        Profiles(expression, np.ones(80)),
        max_epochs=60,
        trainer_options={"accelerator": "cpu"},
        rng=np.random.default_rng(1),
        resume=folder,
    )
    return list(net.state_dict().values()), history


def test_an_encoder_goes_on_with_its_schedule_of_steps(tmp_path, monkeypatch):
    """Its steps shrink on a plateau; the cut comes at once after the file of an epoch on one was written."""
    whole, saved, keep = encoder(None), [], KeepEpoch.on_train_epoch_end

    def cut(self, trainer, pl_module):
        keep(self, trainer, pl_module)
        saved.append(trainer.optimizers[0].param_groups[0]["lr"])
        if saved[-1] < saved[0]:
            raise CutError

    with monkeypatch.context() as patch:
        patch.setattr(KeepEpoch, "on_train_epoch_end", cut)
        with pytest.raises(CutError):
            encoder(tmp_path)
    assert len(saved) < len(whole[1])
    assert same(whole, encoder(tmp_path))


def test_the_digest_tells_values_shapes_and_names():
    one = digest({"a": np.zeros(2), "b": np.zeros((2, 1))})
    others = [{"a": np.zeros(2), "c": np.zeros((2, 1))}, {"a": np.zeros((2, 1)), "b": np.zeros(2)}, {"a": np.ones(2)}]
    assert len({one, *(digest(other) for other in others)}) == 4
    assert one == digest({"b": np.zeros((2, 1)), "a": np.zeros(2)})
