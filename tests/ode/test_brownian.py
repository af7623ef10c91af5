import itertools

import numpy as np
import pytest
import torch

from scnode import SolverError, ode


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def covariance(a, b):
    """Of W and its integral, over many paths."""
    change, average = ode.BrownianPath(200_000, 1, generator=seeded()).increment(a, b)
    return np.cov(change[:, 0], average[:, 0] * (b - a))


def exact(h):
    return np.array([[h, h**2 / 2], [h**2 / 2, h**3 / 3]])


def test_noise_and_its_integral_have_their_covariance():
    np.testing.assert_allclose(covariance(0.0, 0.7), exact(0.7), rtol=0.02)


@pytest.mark.parametrize("inner", [(0.5,), (0.02,), (0.98,), (0.3, 0.1, 0.2), (0.8, 0.9, 0.7)])
def test_a_bridge_keeps_the_law_of_every_part(inner):
    path = ode.BrownianPath(200_000, 1, generator=seeded(1))
    path.increment(0.0, 1.0)
    for time in inner:
        path.increment(0.0, time)
    known = [0.0, *sorted(inner), 1.0]
    parts = [path.increment(a, b) for a, b in itertools.pairwise(known)]
    columns = [c for part in parts for c in (part.change[:, 0], part.average[:, 0])]
    found = np.corrcoef(np.stack([c.numpy() for c in columns]))
    expected = np.eye(len(columns))
    for i in range(0, len(columns), 2):
        expected[i, i + 1] = expected[i + 1, i] = 0.5 / (1 / 3) ** 0.5
    np.testing.assert_allclose(found, expected, atol=0.012)
    for part, a, b in zip(parts, known[:-1], known[1:], strict=True):
        assert part.change.var().item() == pytest.approx(b - a, rel=0.015)


def test_parts_add_up_to_the_whole():
    path = ode.BrownianPath(5, 3, generator=seeded(2))
    whole = path.increment(0.0, 2.0)
    first, second = path.increment(0.0, 0.4), path.increment(0.4, 2.0)
    torch.testing.assert_close(first.change + second.change, whole.change)
    area = 0.4 * first.average + 1.6 * (first.change + second.average)
    torch.testing.assert_close(area, 2.0 * whole.average)


def test_times_that_differ_by_rounding_are_one():
    path = ode.BrownianPath(4, 2)
    path.increment(0.0, 1.0)
    a, b = path.increment(0.0, 0.3), path.increment(0.0, 0.1 * 3)
    assert torch.equal(a.change, b.change)
    assert torch.isfinite(b.average).all()


def test_asked_twice_it_is_the_same_and_seeds_decide():
    paths = [ode.BrownianPath(3, 2, generator=seeded(s)) for s in (4, 4, 5)]
    found = [p.increment(0.25, 1.0).change for p in paths]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert torch.equal(found[0], paths[0].increment(0.25, 1.0).change)


def test_what_cannot_be_names_the_mending_call():
    with pytest.raises(SolverError, match="positive integers"):
        ode.BrownianPath(0, 2)
    with pytest.raises(SolverError, match=r"Pass start=-1\.0 to it"):
        ode.BrownianPath(1, 1).increment(-1.0, 1.0)


def test_paths_taken_from_a_motion_are_its_own():
    path = ode.BrownianPath(3, 2)
    some = path.take(torch.tensor([2, 0, 2]))
    assert some.shape == (3, 2)
    change = some.increment(0.0, 0.5).change
    assert torch.equal(change, path.increment(0.0, 0.5).change[[2, 0, 2]])
