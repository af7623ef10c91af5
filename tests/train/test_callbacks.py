from types import SimpleNamespace

import pytest
import torch

from scnode.train._callbacks import BestState


def run(losses):
    """A module whose only weight is the number of the epoch, watched by the callback."""
    module, best = torch.nn.Linear(1, 1, bias=False), BestState("polish")
    for epoch, loss in enumerate(losses):
        torch.nn.init.constant_(module.weight, float(epoch))
        trainer = SimpleNamespace(
            sanity_checking=False,
            current_epoch=epoch,
            callback_metrics={"train_loss": torch.tensor(2.0), "validation_loss": loss},
        )
        best.on_validation_end(trainer, module)
        best.on_train_epoch_end(trainer, module)
    return best


@pytest.mark.parametrize(
    ("losses", "epoch"),
    [
        ([3.0, 1.0, 2.0], 1),
        ([1.0, 2.0, 3.0], 0),
        ([3.0, 2.0, 1.0], 2),
        ([2.0, 2.0], 0),
        ([2.0, float("nan")], 0),
        ([float("nan"), float("nan")], None),
    ],
    ids=["middle", "first", "last", "tie", "nan after", "nan throughout"],
)
def test_the_state_of_the_lowest_validation_loss_is_kept(losses, epoch):
    state = run(losses).state
    assert (None if state is None else state["weight"].item()) == epoch


def test_every_epoch_is_recorded():
    history = run([3.0, 1.0]).history
    assert history == [
        {"stage": "polish", "epoch": 0, "train_loss": 2.0, "validation_loss": 3.0},
        {"stage": "polish", "epoch": 1, "train_loss": 2.0, "validation_loss": 1.0},
    ]


def test_the_rehearsal_before_training_is_not_an_epoch():
    module, best = torch.nn.Linear(1, 1), BestState("regression")
    best.on_validation_end(SimpleNamespace(sanity_checking=True, callback_metrics={"validation_loss": 0.0}), module)
    assert best.state is None
    assert not best.history


def test_a_start_that_counts_is_kept_where_no_epoch_is_better():
    module, best = torch.nn.Linear(1, 1, bias=False), BestState("regression", counts_start=True)
    for sanity, loss in ((True, 1.0), (False, 2.0)):
        torch.nn.init.constant_(module.weight, loss)
        trainer = SimpleNamespace(sanity_checking=sanity, callback_metrics={"validation_loss": loss})
        best.on_validation_end(trainer, module)
    assert best.state["weight"].item() == 1.0
    assert not best.history
