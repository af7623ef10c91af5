from functools import partial

import numpy as np
import torch

from scnode.nn import ControlledField
from scnode.train import Course
from scnode.train._courses import course_loss
from scnode.train._losses import snapshot_loss


def field():
    return ControlledField(2, n_controls=1, hidden=(), n_members=2, generator=torch.Generator().manual_seed(0))


def drifting(speed):
    """x' = u (1, 0) for every member."""
    moving = field()
    with torch.no_grad():
        moving.weights[0].zero_()
        moving.weights[0][:, 2, 0] = speed
    return moving


UNTREATED = Course(torch.tensor([0.0]), torch.tensor([0, 0]), torch.tensor([0, 2]), torch.tensor([0.0, 1.0]))
TREATED = Course(torch.tensor([1.0]), torch.tensor([0, 1, 1]), torch.tensor([0, 1, 2]), torch.tensor([0.0, 0.4, 1.0]))
SOLVED = partial(snapshot_loss, solve_options={})
ARM = torch.tensor([0, 0, 0, 1, 1, 1, 0]).repeat_interleave(8)
SNAPSHOT = torch.tensor([0, 0, 0, 1, 2, 2, 2]).repeat_interleave(8)


def cells(speed=3.0):
    rng = np.random.default_rng(0)
    time = torch.tensor([0.0, 0.4, 1.0])[SNAPSHOT]
    latent = torch.tensor(rng.normal(0, 0.1, (len(ARM), 2)), dtype=torch.float32)
    latent[:, 0] += speed * ARM * time
    boot = torch.tensor(rng.exponential(size=(len(ARM), 2)), dtype=torch.float32)
    return {"arm": ARM.float(), "snapshot": SNAPSHOT.float(), "latent": latent, "boot": boot}


def test_a_course_takes_its_own_cells_and_those_that_start_it():
    here, stop, window = TREATED.place(ARM, SNAPSHOT)
    np.testing.assert_array_equal(here, ((ARM == 1) | (SNAPSHOT == 0)))
    np.testing.assert_array_equal(stop, SNAPSHOT[here])
    np.testing.assert_allclose(window[stop == 1], [[0.4, 1.0]] * 8)
    np.testing.assert_allclose(window[stop == 2], [[1.0, 1.0]] * 16)
    here, stop, _ = UNTREATED.place(ARM, SNAPSHOT)
    np.testing.assert_array_equal(here, ARM == 0)
    np.testing.assert_array_equal(stop, (SNAPSHOT[here] == 2))


def test_the_loss_is_least_where_every_arm_moves_as_its_cells():
    losses = [
        float(course_loss(drifting(s), (UNTREATED, TREATED), cells(), SOLVED).detach()) for s in (0.0, 2.0, 3.0, 4.0)
    ]
    assert np.argmin(losses) == 2
    assert abs(losses[2]) < 0.05 < losses[1]


def test_arms_count_by_the_snapshots_they_reach():
    moving, batch = drifting(2.0), cells()
    parts = []
    for course in (UNTREATED, TREATED):
        here, stop, window = course.place(ARM, SNAPSHOT)
        bound = moving.under(course.control)
        weight = batch["boot"].T[:, here]
        parts.append(snapshot_loss(bound, stop, window, batch["latent"][here], weight, solve_options={}))
    found = course_loss(moving, (UNTREATED, TREATED), batch, SOLVED)
    torch.testing.assert_close(found, (parts[0] + 2 * parts[1]) / 3)


def test_gradients_reach_the_weights_of_the_input():
    moving = drifting(1.0)
    course_loss(moving, (UNTREATED, TREATED), cells(), SOLVED).backward()
    # More speed brings both members nearer to the treated cells.
    assert (moving.weights[0].grad[:, 2, 0] < 0).all()
