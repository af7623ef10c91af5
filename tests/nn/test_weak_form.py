import numpy as np
import pytest
import torch

from scnode.nn._weak_form import weak_form


def waves(n_times=200, n=3):
    """Sine and cosine, whose equation is y0' = y1, y1' = -y0."""
    ts = torch.linspace(0, 6, n_times, dtype=torch.float64)
    phase = torch.linspace(0, 2, n, dtype=torch.float64)[:, None]
    return ts, torch.stack(((ts + phase).sin(), (ts + phase).cos()), -1)


def test_both_sides_agree_along_a_solution():
    weak = weak_form(*waves(), window=None)
    turned = torch.stack((weak.ys[..., 1], -weak.ys[..., 0]), -1)
    torch.testing.assert_close(weak.left, weak.right(turned), rtol=0, atol=1e-5)
    assert weak.left.abs().max() > 0.1


def test_uneven_times_agree_as_far_as_the_trapezoidal_rule():
    ts = torch.tensor(np.sort(np.random.default_rng(0).uniform(0, 6, 400)))
    ys = torch.stack((ts.sin(), ts.cos()), -1)[None]
    weak = weak_form(ts, ys, window=None)
    turned = torch.stack((ys[..., 1], -ys[..., 0]), -1)
    assert (weak.left - weak.right(turned)).abs().max() < 0.02 * weak.left.abs().max()


@pytest.mark.parametrize("noise", [0.01, 0.1])
def test_the_noise_of_each_state_is_estimated(noise):
    ts, ys = waves(400, 5)
    sd = torch.tensor([noise, 3 * noise], dtype=torch.float64)
    noisy = ys + sd * torch.randn(ys.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(weak_form(ts, noisy, window=None).noise, sd, rtol=0.15, atol=0)


def test_without_noise_next_to_none_is_found():
    assert weak_form(*waves(400), window=None).noise.max() < 1e-6


def test_the_covariance_is_that_of_many_draws():
    ts, ys = waves(60, 1)
    jacobian = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64).expand(60, 2, 2)
    generator, residuals = torch.Generator().manual_seed(0), []
    for _ in range(4000):
        noisy = ys + 0.05 * torch.randn(ys.shape, generator=generator, dtype=torch.float64)
        weak = weak_form(ts, noisy, window=20)
        residuals.append((weak.left - weak.right(noisy @ jacobian[0].T))[0].flatten())
    found = weak.covariance(0, jacobian) * (0.05 / weak.noise.mean()) ** 2
    drawn = torch.cov(torch.stack(residuals).T)
    assert (found - drawn).abs().max() < 0.15 * drawn.diagonal().max()
