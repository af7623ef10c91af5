import lightning as L
import numpy as np
import pytest
import scipy.sparse as sp
import torch

from scnode.nn import VAE, Autoencoder
from scnode.tl._learned import Training, learn
from scnode.tl._principal import loadings

N = 800


@pytest.fixture(scope="module")
def sheet():
    """Log-expression of 30 genes on a curved sheet, and two coordinates of every cell."""
    rng = np.random.default_rng(0)
    place = rng.uniform(-1, 1, (N, 2))
    bend = np.concatenate([np.sin(2.5 * place), np.cos(2.5 * place), place], axis=1)
    return bend @ rng.normal(0, 0.5, (6, 30)), place


def expression_of(matrix, size=None):
    from scnode.data import Expression

    genes = np.array([f"g{i}" for i in range(matrix.shape[1])])
    transform, size = ("none", matrix.sum(1)) if size is None else ("log1p_cp10k", size)
    return Expression(sp.csr_matrix(matrix.astype(np.float32)), genes, transform, size)


def counted(log_share, seed=0):
    """Counts of a library of about 3000, their logarithms, and the logarithms of their expectation."""
    rng = np.random.default_rng(seed)
    share = np.exp(log_share)
    share /= share.sum(1, keepdims=True)
    size = rng.lognormal(8, 0.3, len(share))
    counts = rng.poisson(size[:, None] * share * rng.gamma(10, 0.1, share.shape))
    total = counts.sum(1)
    return expression_of(np.log1p(1e4 * counts / total[:, None]), total), np.log1p(1e4 * share)


def learned(name, expression, n_latent=2, batches=None, **options):
    genes = np.arange(expression.matrix.shape[1])
    training = Training(np.random.default_rng(0), trainer_options={"accelerator": "cpu"}, **options)
    return learn(name, expression, genes, n_latent, batches=batches, training=training)


def reconstruction(encoder, expression):
    x = torch.from_numpy(expression.matrix.toarray()).double()
    with torch.no_grad():
        return encoder.decode(encoder.encode(x)).numpy()


def unexplained(truth, found):
    return ((truth - found) ** 2).sum() / ((truth - truth.mean(0)) ** 2).sum()


def plane(truth):
    """Best approximation of rank two."""
    mean, components = loadings(sp.csr_matrix(truth), 2)
    return (truth - mean) @ components @ components.T + mean


@pytest.mark.parametrize("name", ["autoencoder", "autoencoder-huber"])
def test_an_autoencoder_finds_a_curved_sheet_that_no_plane_follows(sheet, name):
    truth = sheet[0] + 5
    noisy = truth + np.random.default_rng(1).normal(0, 0.1, truth.shape)
    encoder, history = learned(name, expression_of(noisy))
    left = unexplained(truth, reconstruction(encoder, expression_of(noisy)))
    assert left < 0.25 * unexplained(truth, plane(truth))
    assert {"stage", "epoch", "train_loss", "validation_loss"} == set(history[0])
    assert {h["stage"] for h in history} == {"encoder"}


@pytest.mark.parametrize("name", ["vae", "vae-zinb"])
def test_a_vae_finds_it_through_counts(sheet, name):
    expression, truth = counted(sheet[0])
    encoder, _ = learned(name, expression)
    assert unexplained(truth, reconstruction(encoder, expression)) < 0.5 * unexplained(truth, plane(truth))


def test_a_vae_learns_the_dispersion_and_is_free_of_library_size(sheet):
    expression, _ = counted(sheet[0])
    encoder, _ = learned("vae", expression)
    # Gamma of shape 10 multiplies the rates.
    assert 5 < float(encoder.log_dispersion.exp().detach().median()) < 20
    with torch.no_grad():
        z = encoder.encode(torch.from_numpy(expression.matrix.toarray()).double()).numpy()
    assert max(abs(np.corrcoef(z[:, i], expression.size)[0, 1]) for i in range(2)) < 0.15


@pytest.mark.parametrize("name", ["autoencoder", "vae"])
def test_same_generator_same_bits_and_global_seeds_untouched(sheet, name):
    expression, _ = counted(sheet[0][:200])
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    one, two = (learned(name, expression, max_epochs=2)[0].state_dict() for _ in range(2))
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


def test_latent_states_are_standardised(sheet):
    expression, _ = counted(sheet[0][:200])
    for name in ("autoencoder", "vae"):
        encoder, _ = learned(name, expression, max_epochs=2)
        with torch.no_grad():
            z = encoder.encode(torch.from_numpy(expression.matrix.toarray()).double())
        torch.testing.assert_close(z.mean(0), torch.zeros(2).double(), atol=1e-9, rtol=0)
        assert float(z.var(0).mean()) == pytest.approx(1)


def test_epochs_draw_anew_and_validations_do_not(sheet):
    """Held-out cells keep their draws, training cells get new ones."""
    from scnode.train import Profiles
    from scnode.train._encoder_module import ProfileData

    expression, _ = counted(sheet[0][:200])
    profiles = Profiles(expression.matrix, expression.size)
    data = ProfileData(profiles, 2, np.arange(150), np.arange(150, 200), generator=torch.Generator().manual_seed(0))
    held = [torch.cat([b["noise"] for b in data.val_dataloader()]) for _ in range(2)]
    drawn = [torch.cat([b["noise"] for b in data.train_dataloader()]) for _ in range(2)]
    assert torch.equal(*held)
    assert not torch.equal(*drawn)
    assert [len(held[0]), len(drawn[0])] == [50, 150]
    seen = torch.cat([b["expression"] for b in data.train_dataloader()]).numpy()
    np.testing.assert_array_equal(np.sort(seen, axis=0), np.sort(expression.matrix[:150].toarray(), axis=0))


def test_the_bound_is_its_definition():
    from scnode.train._encoder_module import encoder_loss

    rng = torch.Generator().manual_seed(0)
    vae = VAE(4, 2, hidden=(3,))
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=rng))
    x, noise = torch.rand(6, 4, generator=rng), torch.randn(6, 2, generator=rng)
    counts, size = torch.poisson(3 * x, generator=rng), torch.full((6,), 20.0)
    mean, log_variance = vae.posterior(x)
    h = mean + (log_variance / 2).exp() * noise
    q = torch.distributions.Normal(mean, (log_variance / 2).exp())
    kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0, 1)).sum(1)
    expected = (kl - vae.log_likelihood(counts, size, h).sum(1)).mean() / 4
    found = encoder_loss(vae, {"expression": x, "noise": noise, "counts": counts, "size": size})
    torch.testing.assert_close(found, expected)


def test_an_interruption_keeps_the_best_state_so_far(sheet):
    class Interrupt(L.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 3:
                raise KeyboardInterrupt

    from scnode.train import Profiles
    from scnode.train._encoder_module import EncoderModule, ProfileData
    from scnode.train._stage import run_stage

    expression, _ = counted(sheet[0][:200])
    profiles = Profiles(expression.matrix, expression.size)
    data = ProfileData(profiles, 2, np.arange(150), np.arange(150, 200), generator=torch.Generator().manual_seed(0))
    net = Autoencoder(30, 2)
    outcome = run_stage(
        EncoderModule(net, lr=1e-2),
        data,
        stage="encoder",
        max_epochs=9,
        options={"accelerator": "cpu", "callbacks": [Interrupt()]},
    )
    assert outcome.interrupted
    assert len(outcome.history) == 3
