"""Every tool on every kind of encoder."""

import anndata as ad
import numpy as np
import pytest
import torch

import scnode
from scnode import ScnodeError
from scnode.metrics import cosine

LINEAR = ("pca", "linear")


def states(adata):
    return torch.as_tensor(adata.obsm["X_scnode"])


def test_cells_lie_where_the_model_encodes_them(of_kind, kind):
    if kind == "linear":
        np.testing.assert_allclose(of_kind.obsm["X_scnode"], of_kind.obsm["X_given"], rtol=1e-6)
        return
    model = scnode.get.model(of_kind)
    counts = of_kind.X.toarray()
    x = torch.as_tensor(np.log1p(1e4 * counts / counts.sum(1, keepdims=True)))
    lane = torch.as_tensor((of_kind.obs["lane"] == "two").to_numpy().astype(int)) if kind == "vae" else None
    with torch.no_grad():
        z = model.encoder.encode(x, lane).numpy()
    np.testing.assert_allclose(of_kind.obsm["X_scnode"], z, rtol=1e-3, atol=1e-3 * np.abs(z).max())
    assert model.batches == (["one", "two"] if kind == "vae" else [])


def test_gene_velocity_is_the_decoders_differential(of_kind):
    scnode.tl.velocity(of_kind, genes=True)
    decoder, z = scnode.get.model(of_kind).decoder, states(of_kind).double()
    v, decoder, h = torch.as_tensor(of_kind.obsm["velocity_scnode"]).double(), decoder.double(), 1e-5
    with torch.no_grad():
        expected = ((decoder.decode(z + h * v) - decoder.decode(z - h * v)) / (2 * h)).numpy()
    np.testing.assert_allclose(of_kind.layers["velocity_scnode"], expected, rtol=1e-3, atol=1e-3)


def test_trajectories_come_back_with_decoded_genes(of_kind):
    scnode.tl.trajectories(of_kind, start=list(of_kind.obs_names[:3]), n_steps=4, n_samples=2)
    out = scnode.get.trajectories(of_kind)
    with torch.no_grad():
        expected = scnode.get.model(of_kind).decoder.decode(torch.as_tensor(out.obsm["X_scnode"])).numpy()
    np.testing.assert_array_equal(out.X, expected)
    assert out.var_names.tolist() == of_kind.var_names.tolist()


def test_gene_jacobian_is_the_chain_of_three_differentials(of_kind):
    genes, regulators = of_kind.var_names, [2, 5]
    scnode.tl.jacobian(of_kind, regulators=list(genes[regulators]), effectors=list(genes[[7]]))
    found = of_kind.uns["scnode"]["jacobian"]["values"][:5, 0]
    model, z, h = scnode.get.model(of_kind).double(), states(of_kind)[:5].double(), 1e-4
    with torch.no_grad():
        x = model.decoder.decode(z)

        def rate(shift):
            """Rate of the effector where the encoder's state is moved by a change of one gene."""
            moved = z + model.decoder.encode(x + shift) - model.decoder.encode(x)
            velocity = model.velocity(moved)[0] - model.velocity(z)[0]
            return model.decoder.decode_velocity(z, velocity)[:, 7]

        for column, gene in enumerate(regulators):
            step = torch.zeros(len(genes), dtype=torch.float64)
            step[gene] = h
            expected = (rate(step) - rate(-step)) / (2 * h)
            np.testing.assert_allclose(found[:, column], expected, rtol=2e-3, atol=1e-4)


def test_a_held_gene_keeps_its_decoded_level_along_the_whole_path(of_kind, kind):
    """A step, and a ramp: to the tolerance stated for any decoder."""
    gene, start = of_kind.var_names[0], list(of_kind.obs_names[:8])
    decoder = scnode.get.model(of_kind).decoder
    usual = float(decoder.decode(states(of_kind))[:, 0].median())
    for level, expected in (
        (usual, lambda t: usual),
        (([0.0, 1.0], [usual, 0.5], "linear"), lambda t: usual + (0.5 - usual) * t),
    ):
        scnode.tl.perturb(of_kind, {gene: level}, start=start, name="x", overwrite=True)
        record = of_kind.uns["scnode"]["perturbations"]["x"]
        with torch.no_grad():
            found = decoder.decode(torch.as_tensor(record["path_perturbed"]))[..., 0].numpy()
        np.testing.assert_allclose(found, np.broadcast_to(expected(record["path_t"]), found.shape), atol=3e-4)


def test_a_file_brings_the_same_answers_back(of_kind, tmp_path):
    of_kind.write_h5ad(tmp_path / "a.h5ad")
    again = ad.read_h5ad(tmp_path / "a.h5ad")
    for adata in (of_kind, again):
        scnode.tl.velocity(adata, genes=True)
        scnode.tl.trajectories(adata, n_steps=3)
    np.testing.assert_array_equal(again.layers["velocity_scnode"], of_kind.layers["velocity_scnode"])
    np.testing.assert_array_equal(scnode.get.trajectories(again).X, scnode.get.trajectories(of_kind).X)


def test_a_linear_decoder_says_how_much_it_explains(every_kind):
    adata = every_kind["linear"]
    report = adata.uns["scnode"]["report"]["decoder"]
    counts = adata.X.toarray()
    x = np.log1p(1e4 * counts / counts.sum(1, keepdims=True))
    with torch.no_grad():
        left = x - scnode.get.model(adata).decoder.decode(states(adata)).numpy()
    explained = 1 - (left**2).sum() / ((x - x.mean(0)) ** 2).sum()
    assert report["explained_variance"] == pytest.approx(explained, abs=1e-3)
    assert 0.3 < explained < 1


def test_the_history_names_the_encoders_epochs(every_kind):
    stages = {kind: list(dict.fromkeys(a.uns["scnode"]["history"]["stage"])) for kind, a in every_kind.items()}
    assert stages["pca"] == stages["linear"] == ["regression", "polish"]
    assert stages["autoencoder"] == stages["vae"] == ["encoder", "regression", "polish"]


@pytest.mark.parametrize(
    ("options", "fix"),
    [
        ({"encoder": "vea"}, "Did you mean 'vae'"),
        ({"encoder": "linear"}, "Pass one of"),
        ({"batch_key": "lane"}, "Pass encoder='vae'"),
        ({"encoder": "autoencoder", "batch_key": "lane"}, "Pass encoder='vae'"),
        ({"use_rep": "X_given", "batch_key": "lane"}, "without batch_key="),
        ({"encoder": "vae", "batch_key": "lan"}, "Did you mean 'lane'"),
        ({"encoder": "vae", "use_rep": "X_given"}, "Leave one of them out"),
        ({"decoder": "linear"}, "Pass use_rep="),
        ({"use_rep": "X_given", "decoder": "mlp"}, "Pass 'linear'"),
        ({"encoder": "vae", "layer": "log"}, "Pass layer= with counts"),
    ],
)
def test_what_does_not_go_together_is_told(counted, options, fix):
    adata = counted.copy()
    adata.layers["log"] = np.log1p(adata.X.toarray() / 7)
    with pytest.raises(ScnodeError, match=fix):
        scnode.tl.fit(adata, max_epochs=1, **options)
    assert "scnode" not in adata.uns


def test_one_rng_one_result(counted):
    runs = [counted.copy() for _ in range(2)]
    for adata in runs:
        scnode.tl.fit(adata, encoder="vae", n_latent=3, n_members=2, max_epochs=3, rng=5)
    np.testing.assert_array_equal(runs[0].obsm["X_scnode"], runs[1].obsm["X_scnode"])
    np.testing.assert_array_equal(runs[0].obsm["velocity_scnode"], runs[1].obsm["velocity_scnode"])


def test_one_batch_is_no_batch(counted):
    adata = counted.copy()
    adata.obs["lane"] = "one"
    scnode.tl.fit(adata, encoder="vae", batch_key="lane", n_latent=3, n_members=2, max_epochs=2)
    model = scnode.get.model(adata)
    assert (model.batches, model.encoder.n_batches) == (["one"], 1)


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["autoencoder", "vae"])
def test_gene_velocities_are_as_true_as_with_principal_components(encoder):
    adata = scnode.datasets.bifurcation(n_cells=1500, rng=0)
    truth = true_gene_velocity(adata)
    scores = {}
    for name in ("pca", encoder):
        run = scnode.tl.fit(adata, encoder=name, copy=True)
        scnode.tl.velocity(run, genes=True)
        speed = np.linalg.norm(truth, axis=1)
        fast = speed >= np.median(speed)
        scores[name] = cosine(run.layers["velocity_scnode"], truth)[fast].mean()
    assert scores[encoder] > scores["pca"] - 0.03
    assert scores[encoder] > 0.55


def true_gene_velocity(adata):
    """Rate of log1p of the true abundance per 10,000."""
    s, v = (np.asarray(adata.layers[k], dtype=float) for k in ("true_spliced", "true_velocity"))
    total = s.sum(1, keepdims=True)
    scaled = 1e4 * s / total
    return 1e4 / total * (v - s * v.sum(1, keepdims=True) / total) / (1 + scaled)
