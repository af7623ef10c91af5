import numpy as np
import pytest
import torch
from scipy import stats

from scnode.nn import nb_log_likelihood, zinb_log_likelihood


@pytest.fixture
def drawn():
    """Counts from none to many, at means and dispersions over four decades."""
    rng = np.random.default_rng(0)
    mean, theta = 10 ** rng.uniform(-2, 2, (40, 15)), 10 ** rng.uniform(-1, 3, 15)
    counts = rng.poisson(rng.gamma(theta, mean / theta)).astype(float)
    counts[0] = 0
    counts[1] = 500
    return counts, mean, theta


def torched(*arrays):
    return [torch.from_numpy(a) for a in arrays]


def test_negative_binomial_is_scipys(drawn):
    counts, mean, theta = drawn
    expected = stats.nbinom.logpmf(counts, theta, theta / (theta + mean))
    np.testing.assert_allclose(nb_log_likelihood(*torched(*drawn)).numpy(), expected, rtol=1e-9, atol=1e-9)


def test_zero_inflation_mixes_zeros_in(drawn):
    counts, mean, theta = drawn
    logits = np.random.default_rng(1).normal(0, 3, counts.shape)
    share = 1 / (1 + np.exp(-logits))
    mixed = share * (counts == 0) + (1 - share) * stats.nbinom.pmf(counts, theta, theta / (theta + mean))
    found = zinb_log_likelihood(*torched(*drawn, logits)).numpy()
    usual = mixed > 1e-250
    np.testing.assert_allclose(found[usual], np.log(mixed[usual]), rtol=1e-8, atol=1e-9)


def test_probabilities_sum_to_one():
    counts = torch.arange(2000, dtype=torch.float64)[:, None]
    mean, theta = torch.full_like(counts, 7.0), torch.tensor([0.5], dtype=torch.float64)
    assert nb_log_likelihood(counts, mean, theta).exp().sum() == pytest.approx(1, abs=1e-9)
    assert zinb_log_likelihood(counts, mean, theta, torch.ones_like(counts)).exp().sum() == pytest.approx(1, abs=1e-9)


def test_gradients_are_those_of_finite_differences():
    rng = torch.Generator().manual_seed(0)
    counts = torch.poisson(torch.full((4, 3), 2.0, dtype=torch.float64), generator=rng)
    mean = torch.rand(4, 3, generator=rng, dtype=torch.float64).add(0.5).requires_grad_()
    theta = torch.rand(3, generator=rng, dtype=torch.float64).add(0.5).requires_grad_()
    logits = torch.randn(4, 3, generator=rng, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda m, t: nb_log_likelihood(counts, m, t), (mean, theta))
    assert torch.autograd.gradcheck(lambda m, t, p: zinb_log_likelihood(counts, m, t, p), (mean, theta, logits))


def test_single_precision_stays_finite_at_the_edges():
    counts = torch.tensor([[0.0, 3.0, 0.0, 1e5]])
    mean = torch.tensor([[1e-30, 1e-30, 1e6, 1e-3]], requires_grad=True)
    theta = torch.tensor([1e-4, 1e4, 1e-4, 1e4], requires_grad=True)
    for value in (nb_log_likelihood(counts, mean, theta), zinb_log_likelihood(counts, mean, theta, mean * 0 - 50)):
        assert torch.isfinite(value).all()
        gradients = torch.autograd.grad(value.sum(), (mean, theta))
        assert all(torch.isfinite(g).all() for g in gradients)
