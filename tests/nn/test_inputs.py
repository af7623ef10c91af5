import torch

from scnode import nn
from scnode.nn._inputs import Before, Joint, breaks_of, value_at


def test_columns_stand_side_by_side_at_every_time():
    cells = torch.tensor([[1.0], [2.0]])
    joint = Joint((cells, nn.Schedule([0.0, 0.5], [[0.0], [4.0]]), lambda t: 10 * t))
    assert joint(torch.tensor(0.2)).tolist() == [[1, 0, 2], [2, 0, 2]]
    assert joint(torch.tensor([[0.2], [0.5]])).tolist() == [[1, 0, 2], [2, 4, 5]]
    assert joint.breaks.tolist() == [0.5]


def test_breaks_of_several_schedules_are_merged():
    joint = Joint((nn.Schedule([0.0, 0.5], [[0.0], [4.0]]), nn.Schedule([0.2, 0.5, 0.9], [[0.0], [4.0], [1.0]])))
    torch.testing.assert_close(joint.breaks, torch.tensor([0.5, 0.9]).double(), rtol=1e-6, atol=1e-6)
    assert len(breaks_of(torch.zeros(3))) == len(breaks_of(lambda t: t)) == 0


def test_before_a_jump_is_the_level_from_before():
    jump = nn.Schedule([0.0, 0.3], [[1.0], [2.0]])
    seen = Before(jump, torch.tensor(0.3, dtype=torch.float64))
    for t in (0.0, 0.3, 0.5):
        for dtype in (torch.float32, torch.float64):
            at = torch.tensor(t, dtype=dtype)
            assert seen(at).item() == 1
            assert seen(at.reshape(1, 1)).item() == 1
    assert jump(torch.tensor(0.3)).item() == 2


def test_a_number_is_an_input_of_one_control():
    assert value_at(lambda t: t, torch.tensor(0.5)).shape == (1,)
    assert value_at(torch.ones(2), torch.tensor(0.5)).shape == (2,)
