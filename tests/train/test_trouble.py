"""What goes wrong in a fit is survived where it can be, and said."""

from dataclasses import replace

import lightning as L
import numpy as np
import pytest
import torch

from scnode import ScnodeError, SolverError
from scnode.nn import MLPField
from scnode.train import Examples, fit_field
from scnode.train._module import FieldModule

A = np.array([[-0.5, 1.0], [-1.0, -0.5]])


def examples(matrix=A, n=300, step=0.1):
    latent = np.random.default_rng(0).uniform(-1, 1, (n, 2))
    turn = torch.matrix_exp(torch.tensor(step * matrix)).numpy()
    paths = np.stack([latent, latent @ turn.T, latent @ (turn @ turn).T], axis=1)
    velocity, times = latent @ matrix.T, np.tile([0.0, step, 2 * step], (n, 1))
    return Examples(latent, velocity, np.ones(n), latent, velocity, paths, times)


def fit(given, callbacks=(), **options):
    field = MLPField(2, hidden=(32, 32), n_members=2, generator=torch.Generator().manual_seed(0))
    fitted = fit_field(
        field,
        given,
        **{"max_epochs": 60, "batch_size": 100, "lr": 5e-3} | options,
        solve_options={"rtol": 1e-3, "atol": 1e-4},
        trainer_options={"accelerator": "cpu", "callbacks": list(callbacks)},
        rng=np.random.default_rng(0),
    )
    return field, fitted


def error(field, given, matrix=A):
    states = given.latent[np.isfinite(given.latent).all(1)]
    with torch.no_grad():
        found = field.mean(torch.zeros(()), torch.as_tensor(states, dtype=torch.float32)).numpy()
    return np.linalg.norm(found - states @ matrix.T) / np.linalg.norm(states @ matrix.T)


@pytest.fixture(scope="module")
def usual():
    return error(fit(examples())[0], examples())


@pytest.mark.parametrize("name", ["latent", "velocity", "paths", "outside_velocity"])
def test_cells_whose_examples_are_not_finite_are_left_out(usual, name):
    broken = getattr(examples(), name).copy()
    broken[[3, 70, 299]] = np.nan
    given = replace(examples(), **{name: broken})
    field, fitted = fit(given)
    assert fitted.notes == ["3 cells whose examples are not finite are left out of the training."]
    assert error(field, given) < 2 * usual


def test_no_finite_example_is_an_error():
    with pytest.raises(ScnodeError, match="0 of 300 cells"):
        fit(replace(examples(), velocity=np.full((300, 2), np.nan)))


class Spoil(L.Callback):
    """Throw the weights far off at the start of one epoch."""

    def __init__(self, epoch, by):
        self.epoch, self.by, self.done = epoch, by, False

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch and not self.done:
            self.done = True
            with torch.no_grad():
                for weight in pl_module.field.parameters():
                    weight.mul_(self.by)


@pytest.mark.parametrize("by", [1e4, float("inf")], ids=["huge", "not finite"])
def test_after_an_explosion_the_fit_goes_on_from_its_best_state(usual, by):
    field, fitted = fit(examples(), [Spoil(20, by)])
    losses = [h["validation_loss"] for h in fitted.history if h["stage"] == "regression"]
    assert "exploded in epoch" in fitted.notes[-1]
    assert len(losses) > 25
    assert [h["epoch"] for h in fitted.history[: len(losses)]] == list(range(len(losses)))
    assert min(losses[21:]) < 1.1 * min(losses[:20])
    assert error(field, examples()) < 5 * usual


def test_steps_that_are_far_too_large_are_made_smaller():
    field, fitted = fit(examples(), lr=30.0)
    assert "begins anew with lr=3." in fitted.notes[0]
    # No worse than to stand still.
    assert error(field, examples()) < 1.1


def test_steps_without_a_finite_gradient_are_counted(monkeypatch):
    terms, calls = FieldModule.terms, []

    def broken(self, batch):
        calls.append(1)
        found = terms(self, batch)
        return replace(found, regression=found.regression * torch.nan) if self.training and len(calls) < 20 else found

    monkeypatch.setattr(FieldModule, "terms", broken)
    field, fitted = fit(examples(), max_epochs=20)
    assert "steps of the regression had no finite gradient" in fitted.notes[0]
    assert error(field, examples()) < 0.5


def test_a_solver_that_fails_leaves_the_regressed_field_and_a_note(monkeypatch, usual):
    def fail(*args, **kwargs):
        raise SolverError("No step is small enough.")

    monkeypatch.setattr("scnode.train._module.path_loss", fail)
    field, fitted = fit(examples())
    assert fitted.notes == ["The polish is left out and the regressed field kept: No step is small enough."]
    assert error(field, examples()) < 2 * usual


def test_a_stiff_field_is_polished_all_the_same():
    stiff = np.array([[-1.0, 0.0], [0.0, -1e4]])
    field, fitted = fit(examples(stiff, step=1e-2), max_epochs=8)
    assert not fitted.notes
    assert {h["stage"] for h in fitted.history} == {"regression", "polish"}
    assert error(field, examples(stiff), stiff) < 0.5


@pytest.mark.parametrize("n", [2, 3, 11])
def test_few_cells_and_batches_of_one(n):
    field, fitted = fit(examples(n=n), batch_size=1, max_epochs=2)
    assert np.isfinite(error(field, examples(n=n)))
    assert all(np.isfinite(h["validation_loss"]) for h in fitted.history)
