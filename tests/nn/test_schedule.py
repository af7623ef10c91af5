import numpy as np
import pytest
import torch

from scnode import ScnodeError, nn

TIMES, VALUES = [0.0, 0.5, 2.0], [[1.0, 0.0], [3.0, -1.0], [2.0, 5.0]]


def test_constants_hold_from_their_time_until_the_next():
    schedule = nn.Schedule(TIMES, VALUES)
    for t, expected in [(-1.0, 0), (0.0, 0), (0.49, 0), (0.5, 1), (1.99, 1), (2.0, 2), (9.0, 2)]:
        assert schedule(torch.tensor(t)).tolist() == VALUES[expected]
    assert schedule.breaks.tolist() == TIMES[1:]


def test_lines_are_those_of_numpy():
    schedule, t = nn.Schedule(TIMES, VALUES, "linear"), torch.linspace(-1, 3, 41)
    expected = np.stack([np.interp(t, TIMES, column) for column in np.transpose(VALUES)], 1)
    np.testing.assert_allclose(schedule(t[:, None]), expected, atol=1e-6)
    np.testing.assert_allclose(torch.stack([schedule(x) for x in t]), expected, atol=1e-6)
    assert schedule.breaks.tolist() == TIMES


@pytest.mark.parametrize("kind", ["constant", "linear"])
def test_gradients_reach_the_values(kind):
    values = torch.tensor(VALUES, dtype=torch.float64, requires_grad=True)
    t = torch.tensor([[0.2], [1.0], [5.0]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda v: nn.Schedule(TIMES, v, kind)(t), values)


@pytest.mark.parametrize(
    ("arguments", "fix"),
    [
        (([0.0, 0.0], [[1.0], [2.0]]), "must increase"),
        (([0.0, 1.0], [[1.0], [float("nan")]]), "be finite"),
        (([0.0, 1.0], [1.0, 2.0]), r"values \(time, control\)"),
        (([0.0], [[1.0], [2.0]]), r"values \(time, control\)"),
        (([0.0], [[1.0]], "cubic"), "'constant' or 'linear'"),
    ],
)
def test_what_is_no_schedule_is_told(arguments, fix):
    with pytest.raises(ScnodeError, match=fix):
        nn.Schedule(*arguments)
