import numpy as np
import pytest
import torch
from scipy import stats

from scnode import ScnodeError
from scnode.nn import VAE, Autoencoder


def drawn(**options):
    vae, generator = VAE(6, 2, hidden=(5,), **options), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return vae.double()


STATES = torch.tensor([[0.3, -1.0], [2.0, 0.5], [0.0, 0.0]], dtype=torch.float64)


def test_decoded_units_are_log1p_of_expected_counts_per_10_000():
    vae = drawn()
    share = vae.shares(STATES)[0].exp()
    assert (share.sum(1) < 1).all()
    torch.testing.assert_close(vae.decode(STATES), torch.log1p(1e4 * share))


def test_without_a_batch_expected_counts_are_averaged():
    vae = drawn(n_batches=3)
    each = [torch.expm1(vae.decode(STATES, torch.full((3,), b))) for b in range(3)]
    torch.testing.assert_close(torch.expm1(vae.decode(STATES)), sum(each) / 3)
    assert (each[0] - each[1]).abs().max() > 1
    x = torch.rand(3, 6, dtype=torch.float64)
    encoded = [vae.encode(x, torch.full((3,), b)) for b in range(3)]
    torch.testing.assert_close(vae.encode(x), sum(encoded) / 3)
    with pytest.raises(ScnodeError, match="Pass batch="):
        vae.posterior(x)


def test_likelihood_is_that_of_the_library_times_the_share():
    vae, rng = drawn(), np.random.default_rng(0)
    counts, size = rng.poisson(3, (3, 6)).astype(float), np.array([10.0, 50.0, 300.0])
    mean = size[:, None] * vae.shares(STATES)[0].exp().detach().numpy()
    theta = vae.log_dispersion.exp().detach().numpy()
    found = vae.log_likelihood(torch.from_numpy(counts), torch.from_numpy(size), STATES).detach().numpy()
    np.testing.assert_allclose(found, stats.nbinom.logpmf(counts, theta, theta / (theta + mean)), rtol=1e-9)


def test_zero_inflation_lowers_the_expected_counts_by_the_dropout():
    vae = drawn(likelihood="zinb")
    log_share, logits = vae.shares(STATES)
    torch.testing.assert_close(vae.decode(STATES), torch.log1p(1e4 * log_share.exp() * (1 - torch.sigmoid(logits))))
    zeros, size = torch.zeros(3, 6, dtype=torch.float64), torch.tensor([1e3] * 3, dtype=torch.float64)
    inflated, plain = vae.log_likelihood(zeros, size, STATES), drawn().log_likelihood(zeros, size, STATES)
    assert (inflated > torch.nn.functional.logsigmoid(logits)).all()
    assert inflated.shape == plain.shape


def test_it_begins_at_principal_components_and_mean_shares():
    generator = torch.Generator().manual_seed(0)
    components = torch.linalg.qr(torch.randn(6, 2, generator=generator))[0]
    mean, x = torch.rand(6, generator=generator), torch.rand(4, 6, generator=generator)
    share = torch.tensor([0.1, 0.2, 0.05, 0.15, 0.2, 0.1])
    for vae in (VAE(6, 2), VAE(6, 2, n_batches=2), VAE(6, 2, likelihood="zinb")):
        vae.start(mean, components, unit=0.5, spread=2.0, log_share=(share / 0.2).log(), generator=generator)
        torch.testing.assert_close(vae.encode(x), (x - mean) @ components / 2)
        expected = share if vae.likelihood == "nb" else share * (1 - torch.sigmoid(torch.tensor(-3.0)))
        torch.testing.assert_close(torch.expm1(vae.decode(torch.zeros(2))) / 1e4, expected)


def test_standardised_states_are_centred_with_unit_mean_variance_and_decode_as_before():
    vae = drawn()
    x = torch.rand(50, 6, dtype=torch.float64)
    z = vae.encode(x)
    before = vae.decode(z)
    vae.standardise(z.detach())
    vae.standardise(vae.encode(x).detach())
    again = vae.encode(x)
    torch.testing.assert_close(again.mean(0), torch.zeros(2, dtype=torch.float64), atol=1e-12, rtol=0)
    assert float(again.var(0).mean().detach()) == pytest.approx(1)
    torch.testing.assert_close(vae.decode(again), before)
    torch.testing.assert_close(again.std(0) / again.std(0)[0], z.std(0) / z.std(0)[0])


@pytest.mark.parametrize("make", [lambda: VAE(6, 2, likelihood="poisson"), lambda: VAE(6, 2, n_batches=0)])
def test_what_cannot_be_is_told(make):
    with pytest.raises(ScnodeError, match="at least one batch"):
        make()
    with pytest.raises(ScnodeError, match="'huber', 'mse'"):
        Autoencoder(6, 2, loss="l1")


def test_large_errors_enter_the_huber_loss_linearly():
    x = torch.zeros(1, 6)
    for loss, growth in (("mse", 4.0), ("huber", 2.0)):
        net = Autoencoder(6, 2, loss=loss)
        assert float((net.error(x + 200) / net.error(x + 100)).detach()) == pytest.approx(growth, rel=0.01)
