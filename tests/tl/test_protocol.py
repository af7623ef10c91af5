import numpy as np
import pytest
import torch

from scnode import ScnodeError, nn
from scnode.tl._protocol import as_table, breaks_of, read_courses


def course(level, horizon=1.0):
    return read_courses({"a": level}, horizon, "hold")[0]


def value(one, t):
    segment = one.at(t)
    return np.nan if segment is None else float(segment(torch.tensor(t, dtype=torch.float64)))


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (2.0, [2, 2, 2, 2]),
        (([0.0, 0.4], [1.0, 3.0]), [1, 1, 3, 3]),
        (([0.2, 0.6], [1.0, None]), [np.nan, 1, 1, np.nan]),
        (([0.2, 0.6], [float("nan"), 1.0]), [np.nan, np.nan, np.nan, 1]),
        (([0.0, 0.5], [1.0, 2.0], "linear"), [1, 1.5, 2, 2]),
        (([0.0, 0.5, 1.0], [1.0, None, 2.0], "linear"), [np.nan] * 4),
        (lambda t: t.square() + 1, [1, 1.0625, 1.25, 1.81]),
        (nn.Schedule([0.0, 0.5], [[1.0], [2.0]], "linear"), [1, 1.5, 2, 2]),
    ],
)
def test_levels_are_those_asked_for_and_none_where_none_is(level, expected):
    if np.isnan(expected).all():
        with pytest.raises(ScnodeError, match="holds it at no time"):
            course(level)
        return
    found = [value(course(level), t) for t in (0.0, 0.25, 0.5, 0.9)]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_columns_of_times_give_columns_of_levels():
    segment = course(lambda t: 2 + torch.sin(5 * t)).segments[0]
    t = torch.linspace(0, 1, 9, dtype=torch.float64)[:, None].requires_grad_()
    level = segment(t)
    torch.testing.assert_close(level, 2 + torch.sin(5 * t[:, 0]), atol=1e-4, rtol=0)
    rate = torch.autograd.grad(level.sum(), t)[0]
    torch.testing.assert_close(rate, 5 * torch.cos(5 * t), atol=0.05, rtol=0)


def test_breaks_are_the_inner_ends_of_all_segments():
    genes = {"a": ([0.0, 0.5], [1.0, None]), "b": ([0.25, 0.75], [1.0, 2.0]), "c": 0.0}
    assert breaks_of(read_courses(genes, 1.0, "hold"), 1.0) == [0.25, 0.5, 0.75]
    assert breaks_of(read_courses({"a": ([0.0, 1.0], [1.0, None])}, 1.0, "hold"), 1.0) == []


def test_the_table_gives_the_levels_back():
    table = as_table(read_courses({"a": ([0.2, 0.6], [1.0, 3.0]), "b": lambda t: 1 + t}, 1.0, "hold"), 1.0)
    a, b = (table[table["gene"] == gene] for gene in "ab")
    assert a[["t", "level"]].to_numpy().tolist() == [[0.2, 1.0], [0.6, 1.0], [0.6, 3.0], [1.0, 3.0]]
    np.testing.assert_allclose(b["level"], 1 + b["t"])


@pytest.mark.parametrize(
    ("level", "fix"),
    [
        (-0.5, "has the level -0.5: it must be a number of at least 0"),
        (float("inf"), "at least 0"),
        (True, "is no level"),
        ("high", "is no level. Pass 0.0 for a knock-out"),
        (([0.0, 0.5, 0.5], [1.0, 2.0, 3.0]), "two levels at t=0.5"),
        (([0.5, 0.0], [1.0, 2.0]), "times that do not increase"),
        (([0.0, 0.5], [1.0]), "of one length"),
        (([0.0, 0.5], [1.0, -2.0]), "has the level -2"),
        (([0.0, 0.5], [1.0, "x"]), "holds what is no number"),
        (([0.0, 0.5], [1.0, 2.0], "cubic"), "'constant' or 'linear'"),
        (([-0.1, 0.5], [1.0, 2.0]), "names the time -0.1"),
        (([0.0, 1.5], [1.0, 2.0]), "the flow goes from 0 to 1. Pass times within it, or a longer t="),
        (([0.0, 0.5], [None, None]), "holds it at no time"),
        (([], []), "increas"),
        (lambda t: t - 1, "has the level -1"),
        (lambda t: [], "fails as a function of time"),
        (nn.Schedule([0.0], [[1.0, 2.0]]), "2 columns"),
    ],
)
def test_what_is_no_level_is_said(level, fix):
    with pytest.raises(ScnodeError, match=fix):
        course(level)
