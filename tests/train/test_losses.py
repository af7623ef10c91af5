import numpy as np
import pytest
import torch

from scnode import metrics
from scnode.nn import MLPField, RNAField
from scnode.train._losses import LossTerms, energy_distance, path_loss, regression_loss, snapshot_loss


class Linear(MLPField):
    """Members ``k A y``, for which everything is known."""

    matrix = torch.tensor([[0.0, 1.0], [-1.0, -0.2]], dtype=torch.float64)

    def forward(self, t, y):
        factor = torch.arange(1.0, 1 + self.n_members, dtype=y.dtype)[:, None, None]
        return factor * (y @ self.matrix.T)


def test_regression_is_the_weighted_mean_square_in_units_of_the_speed():
    rng, field = np.random.default_rng(0), Linear(2, n_members=2).double()
    field.speed.fill_(2.0)
    states, velocity, weight = rng.normal(size=(6, 2)), rng.normal(size=(6, 2)), rng.uniform(size=(2, 6))
    found = regression_loss(field, torch.zeros(()), *map(torch.tensor, (states, velocity, weight)))
    matrix = field.matrix.numpy()
    error = np.stack([((k * states @ matrix.T - velocity) ** 2).sum(1) for k in (1, 2)]) / 4
    np.testing.assert_allclose(found, (weight * error).sum() / weight.sum())


def test_path_loss_is_zero_on_exact_paths_and_counts_the_square_off_them():
    field, times = Linear(2, n_members=1).double(), torch.tensor([[0.0, 0.3, 1.0], [0.0, 0.5, 0.7]]).double()
    start = torch.tensor([[1.0, 0.0], [0.5, -1.0]]).double()
    paths = torch.stack(
        [
            torch.stack([torch.matrix_exp(field.matrix * t) @ y for t in row])
            for row, y in zip(times, start, strict=True)
        ]
    )
    options = {"rtol": 1e-9, "atol": 1e-10}
    exact = path_loss(field, times, paths, torch.ones(1, 2).double(), solve_options=options)
    assert exact < 1e-12
    moved = paths.clone()
    moved[0, 1] += torch.tensor([0.3, 0.4])
    length = (moved[:, 1:] - moved[:, :1]).square().sum((-1, -2)).mean()
    found = path_loss(field, times, moved, torch.tensor([[3.0, 1.0]]).double(), solve_options=options)
    torch.testing.assert_close(found, 0.75 * 0.25 / length)


def test_states_around_the_cells_count_for_a_tenth():
    one, two, three = (torch.tensor(v) for v in (1.0, 2.0, 3.0))
    assert float(LossTerms(one, two).total) == np.float32(1.2)
    assert float(LossTerms(one, two, three).total) == np.float32(4.2)


def test_what_is_not_snapshots_keeps_its_share_beside_them():
    one, two, three, four = (torch.tensor(float(v)) for v in (1, 2, 3, 4))
    terms = LossTerms(one, two, path=three, snapshots=four, local=0.25)
    assert float(terms.total) == pytest.approx(0.25 * 1 + 0.1 * 2 + 0.25 * 3 + 4)
    assert float(LossTerms(one, two, bridge=four, local=0.25).total) == pytest.approx(0.25 + 0.2 + 4)


def clouds(m, n, k, *, seed=0, shift=0.0):
    """Two clouds a member with weights."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(m, n, 3)), rng.normal(size=(m, k, 3)) + shift
    return tuple(torch.tensor(a) for a in (x, y, rng.exponential(size=(m, n)), rng.exponential(size=(m, k))))


@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_energy_distance_of_even_weights_is_the_u_statistic_of_each_member(scale):
    x, y, *_ = clouds(3, 20, 31, shift=0.4)
    found = energy_distance(x, y, torch.full((3, 20), scale).double(), torch.ones(3, 31).double())
    expected = [metrics.energy_distance(a.numpy(), b.numpy(), unbiased=True) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(found, expected)


def test_whole_weights_count_how_often_pairs_of_two_cells_are_met():
    """The weighted mean over pairs of different cells, written out."""
    x, y, a, b = (t[0] for t in clouds(1, 6, 5))
    between = sum(a[i] * b[j] * (x[i] - y[j]).norm() for i in range(6) for j in range(5)) / (a.sum() * b.sum())

    def within(z, w):
        pairs = [(i, j) for i in range(len(z)) for j in range(len(z)) if i != j]
        return sum(w[i] * w[j] * (z[i] - z[j]).norm() for i, j in pairs) / sum(w[i] * w[j] for i, j in pairs)

    found = energy_distance(x[None], y[None], a[None], b[None])[0]
    torch.testing.assert_close(found, 2 * between - within(x, a) - within(y, b))


def test_clouds_of_one_law_are_at_no_distance_in_the_mean():
    """Of the least size that a batch may leave, where a V-statistic is far off."""
    x, y, a, b = clouds(20_000, 3, 2)
    found = energy_distance(x, y, a, b)
    assert abs(found.mean()) < 4 * found.std() / 20_000**0.5
    assert found.std() / 20_000**0.5 < 0.01
    assert energy_distance(*clouds(50, 30, 30, shift=2.0)).min() > 0.5


def test_gradient_of_the_energy_distance_matches_finite_differences():
    x, y, a, b = clouds(2, 4, 5)
    assert torch.autograd.gradcheck(lambda z: energy_distance(z, y, a, b), x.requires_grad_())


def test_gradient_is_finite_where_points_meet():
    x, _, a, b = clouds(1, 5, 5)
    meeting = x.clone().requires_grad_()
    energy_distance(meeting, x, a, b).sum().backward()
    assert torch.isfinite(meeting.grad).all()


class Shift(MLPField):
    """Every state moves by the same velocity."""

    def forward(self, t, y):
        return torch.tensor([2.0, -1.0], dtype=y.dtype).expand_as(y)


def collected(n=200, *, times=(0.0, 0.25, 1.0), seed=0):
    """Snapshots of a cloud that `Shift` moves: number, window and state of each cell."""
    rng, times = np.random.default_rng(seed), np.array(times)
    snapshot = rng.permutation(np.repeat(np.arange(len(times)), n))
    states = rng.normal(0, 0.5, (len(snapshot), 2)) + times[snapshot, None] * [2.0, -1.0]
    window = np.stack([times, np.append(times[1:], times[-1])], axis=1)[snapshot]
    return torch.tensor(snapshot), torch.tensor(window), torch.tensor(states)


def test_a_field_that_carries_each_snapshot_to_the_next_has_no_loss():
    field = Shift(2, n_members=2).double()
    exact, still = (
        snapshot_loss(f, *collected(), torch.ones(2, 600).double(), solve_options={"rtol": 1e-8, "atol": 1e-9})
        for f in (field, Still(2, n_members=2).double())
    )
    assert abs(exact) < 0.01
    assert still > 0.5


class Still(MLPField):
    """Nothing moves."""

    def forward(self, t, y):
        return 0 * y


def test_snapshot_loss_is_the_mean_distance_of_arrived_and_observed_in_units_of_the_scale():
    field = Shift(2, n_members=1).double()
    field.scale.fill_(4.0)
    snapshot, window, states = collected(12)
    # Another cloud than the one that arrives.
    states = states * torch.tensor([1.5, 0.5])
    found = snapshot_loss(field, snapshot, window, states, torch.ones(1, 36).double(), solve_options={"rtol": 1e-8})
    cloud = [states[snapshot == k].numpy() for k in range(3)]
    arrived = [c + t * np.array([2.0, -1.0]) for c, t in zip(cloud, (0.25, 0.75), strict=False)]
    expected = [metrics.energy_distance(arrived[k], cloud[k + 1], unbiased=True) for k in range(2)]
    np.testing.assert_allclose(found, np.mean(expected) / 4, rtol=1e-6)


def test_snapshots_that_a_batch_misses_are_left_out():
    field = Shift(2, n_members=1).double()
    snapshot, window, states = collected(12)
    for rows in (snapshot == 0, snapshot == 2, (snapshot == 0) | (snapshot == 2)):
        args = snapshot[rows], window[rows], states[rows], torch.ones(1, int(rows.sum())).double()
        assert snapshot_loss(field, *args, solve_options={}) == 0


def test_paths_without_length_have_a_finite_loss():
    """A batch of dead ends only: everybody stays."""
    field, states = MLPField(2, n_members=1, generator=torch.Generator().manual_seed(0)), torch.ones(1, 3, 2)
    times = torch.tensor([[0.0, 1e-4, 2e-4]])
    loss = path_loss(field, times, states, torch.ones(1, 1), solve_options={})
    loss.backward()
    assert loss > 0
    assert all(torch.isfinite(p.grad).all() for p in field.parameters())


def test_long_states_are_solved_by_explicit_steps():
    """As by dopri5 asked for, and with no step of an implicit method."""
    field = RNAField(300, hidden=(4,), n_members=2, generator=torch.Generator().manual_seed(0))
    field.set_rates(beta=torch.full((150,), 40.0), gamma=torch.full((150,), 9.0), level=torch.ones(150))
    states = torch.rand(3, 2, 300, generator=torch.Generator().manual_seed(1))
    times = torch.tensor([[0.0, 0.5]]).expand(3, -1)
    auto, asked = (
        path_loss(field, times, states, torch.ones(2, 3), solve_options={"solver": name}) for name in ("auto", "dopri5")
    )
    assert torch.equal(auto, asked)
