import logging

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException

from scnode.nn import MLPField, PolynomialField
from scnode.train import Examples, fit_field
from scnode.train._fit import _patience

A = np.array([[-0.5, 1.0], [-1.0, -0.5]])


def spiral(n=400):
    latent = np.random.default_rng(0).uniform(-1, 1, (n, 2))
    velocity = latent @ A.T
    times = np.tile([0.0, 0.1, 0.2], (n, 1))
    turn = torch.matrix_exp(torch.tensor(0.1 * A)).numpy()
    paths = np.stack([latent, latent @ turn.T, latent @ (turn @ turn).T], axis=1)
    return Examples(latent, velocity, np.ones(n), latent, velocity, paths, times)


def fit(callbacks=(), seed=0, field=None, **options):
    torch.set_num_threads(1)
    field = field or MLPField(2, hidden=(32, 32), n_members=3, generator=torch.Generator().manual_seed(0))
    fitted = fit_field(
        field,
        spiral(),
        **{"max_epochs": 150, "batch_size": 100, "lr": 5e-3} | options,
        solve_options={"rtol": 1e-3, "atol": 1e-4},
        trainer_options={"accelerator": "cpu", "callbacks": list(callbacks)},
        rng=np.random.default_rng(seed),
    )
    return field, fitted.history


def velocity(field, states):
    with torch.no_grad():
        return field.members(torch.zeros(()), torch.as_tensor(states, dtype=torch.float32)).numpy()


def test_learns_a_linear_field_and_disagrees_far_from_it():
    field, history = fit()
    states = np.random.default_rng(1).uniform(-0.9, 0.9, (100, 2))
    members = velocity(field, states)
    error = np.linalg.norm(members.mean(0) - states @ A.T, axis=1)
    assert error.mean() < 0.05 * np.linalg.norm(states @ A.T, axis=1).mean()
    far = velocity(field, 5 * states / np.linalg.norm(states, axis=1, keepdims=True))
    assert far.std(0).mean() > 5 * members.std(0).mean()
    assert [h["stage"] for h in history] == sorted((h["stage"] for h in history), reverse=True)
    assert {"stage", "epoch", "train_loss", "validation_loss"} == set(history[0])


class Spoil(L.Callback):
    """Ruin the weights at the start of one epoch of one stage."""

    def __init__(self, epoch, *, polish, by=10.0):
        self.epoch, self.polish, self.by = epoch, polish, by

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch and (pl_module.solve_options is not None) == self.polish:
            for parameter in pl_module.parameters():
                parameter.data.add_(self.by)


def test_the_best_state_is_kept():
    field, history = fit([Spoil(15, polish=False)], max_epochs=16)
    assert history[15]["validation_loss"] > 10 * min(h["validation_loss"] for h in history[:15])
    known = spiral()
    assert np.square(velocity(field, known.latent) - known.velocity).mean() < 0.5 * np.square(known.velocity).mean()


def test_a_field_that_cannot_be_solved_in_the_polish_stays_as_regressed(caplog):
    field, history = fit([Spoil(0, polish=True, by=torch.nan)], max_epochs=16)
    assert {h["stage"] for h in history} == {"regression"}
    assert "regressed field kept" in caplog.text
    assert np.abs(velocity(field, spiral().latent)).max() < 10


@pytest.mark.parametrize("epoch", [0, 5])
def test_an_interruption_keeps_the_best_state_so_far(epoch):
    class Interrupt(L.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == epoch:
                raise KeyboardInterrupt

    if epoch == 0:
        with pytest.raises(KeyboardInterrupt):
            fit([Interrupt()], max_epochs=16)
        return
    field, history = fit([Interrupt()], max_epochs=16)
    assert len(history) == 5
    assert {h["stage"] for h in history} == {"regression"}
    known = spiral()
    error = np.square(velocity(field, known.latent) - known.velocity).mean()
    assert error < 0.5 * np.square(known.velocity).mean()


def test_a_process_that_is_told_to_end_does():
    class Terminate(L.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 2:
                raise SIGTERMException

    with pytest.raises(SystemExit):
        fit([Terminate()], max_epochs=16)


def test_same_generator_same_weights():
    (one, _), (two, _), (other, _) = fit(max_epochs=2), fit(max_epochs=2), fit(max_epochs=2, seed=1)
    states = spiral().latent[:5]
    np.testing.assert_array_equal(velocity(one, states), velocity(two, states))
    assert (velocity(one, states) != velocity(other, states)).any()


def test_the_precision_of_a_cell_weighs_it_in_every_member():
    from dataclasses import replace

    from scnode.train._fit import _tensors

    plain, weighed = (
        _tensors(replace(spiral(), precision=p), 3, np.random.default_rng(0), [])[0]["weight"].numpy()
        for p in (np.ones(400), np.arange(400.0))
    )
    np.testing.assert_allclose(weighed, plain * np.arange(400)[:, None], rtol=1e-6)
    assert plain.shape == (400, 3)
    assert (plain[:, 0] != plain[:, 1]).any()


class Blind(L.Callback):
    """Give one weight a gradient that is not a number, once in the regression."""

    def on_after_backward(self, trainer, pl_module):
        if trainer.global_step == 3 and pl_module.solve_options is None and not pl_module.skipped:
            pl_module.field.weights[0].grad[0, 0, 0] = torch.nan


def test_a_gradient_that_is_not_finite_costs_its_step_alone(caplog):
    with caplog.at_level(logging.WARNING, logger="scnode"):
        field, history = fit([Blind()], max_epochs=4)
    assert "1 steps of the regression had no finite gradient" in caplog.text
    assert all(bool(p.isfinite().all()) for p in field.parameters())
    assert all(np.isfinite(h["validation_loss"]) for h in history)


def test_a_kind_that_can_begins_at_the_least_squares_of_every_member():
    field, history = fit(
        [Spoil(0, polish=False), Spoil(0, polish=True)], field=PolynomialField(2, n_members=3), max_epochs=1
    )
    assert history[0]["validation_loss"] > 1
    states = np.random.default_rng(1).uniform(-0.9, 0.9, (100, 2))
    np.testing.assert_allclose(velocity(field, states), np.tile(states @ A.T, (3, 1, 1)), atol=1e-3)


def test_a_start_of_the_users_is_trained_on():
    known = PolynomialField(2, n_members=3)
    known.set_coefficients({"x": {"x": -0.5, "y": 0.8}, "y": {"x": -1.0, "y": -0.5}})
    field, _ = fit(field=known, max_epochs=1, lr=1e-6)
    assert field.coefficients(["x", "y"])["x"]["y"] == pytest.approx(0.8, abs=1e-3)


@pytest.mark.parametrize("time_dependent", [False, True])
def test_examples_are_asked_for_at_their_clock(time_dependent):
    """The same states move right before 0.5 and left after, as do those around them."""
    rng = np.random.default_rng(0)
    latent, clock = rng.uniform(-1, 1, (400, 2)), np.repeat([0.2, 0.8], 200)
    velocity = np.stack([np.where(clock < 0.5, 1.0, -1.0), np.zeros(400)], axis=1)
    times = clock[:, None] + [0.0, 0.05]
    paths = np.stack([latent, latent + 0.05 * velocity], axis=1)
    known = Examples(latent, velocity, np.ones(400), latent, velocity, paths, times, clock=clock, outside_clock=clock)
    field = MLPField(2, hidden=(32,), time_dependent=time_dependent, generator=torch.Generator().manual_seed(0))
    fit_field(
        field,
        known,
        max_epochs=60,
        batch_size=100,
        lr=5e-3,
        solve_options={"rtol": 1e-3, "atol": 1e-4},
        trainer_options={"accelerator": "cpu"},
        rng=np.random.default_rng(0),
    )
    with torch.no_grad():
        found = field(torch.as_tensor(clock, dtype=torch.float32)[:, None], torch.as_tensor(latent).float()).numpy()
    error = np.linalg.norm(found - velocity, axis=1).mean()
    assert error < 0.1 if time_dependent else error > 0.9


@pytest.mark.parametrize(("n_cells", "batch_size", "epochs"), [(90, 512, 60), (1000, 512, 30), (5000, 512, 15)])
def test_of_few_cells_a_stage_waits_for_more_epochs(n_cells, batch_size, epochs):
    assert _patience(n_cells, batch_size) == epochs
