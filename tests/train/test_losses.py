import numpy as np
import torch

from scnode.nn import MLPField
from scnode.train._losses import LossTerms, path_loss, regression_loss


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


def test_paths_without_length_have_a_finite_loss():
    """A batch of dead ends only: everybody stays."""
    field, states = MLPField(2, n_members=1, generator=torch.Generator().manual_seed(0)), torch.ones(1, 3, 2)
    times = torch.tensor([[0.0, 1e-4, 2e-4]])
    loss = path_loss(field, times, states, torch.ones(1, 1), solve_options={})
    loss.backward()
    assert loss > 0
    assert all(torch.isfinite(p.grad).all() for p in field.parameters())
