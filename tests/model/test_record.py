import json

import numpy as np
import pytest
import torch

from scnode import ScnodeError
from scnode.model import LatentODE
from scnode.nn import ENCODERS, Diffusion, MLPField

GENES = [f"g{i}" for i in range(7)]


def size(name):
    """Latent dimension; a state of abundances has two numbers for each of the 7 genes."""
    return 14 if name == "moments" else 3


def model(name, n_batches=1):
    """A small model whose encoder has weights of its own."""
    generator = torch.Generator().manual_seed(0)
    options = {"n_batches": n_batches} if n_batches > 1 else {}
    n_latent = size(name)
    encoder = ENCODERS[name](7, n_latent, **options)
    encoder.load_state_dict({k: torch.randn(v.shape, generator=generator) for k, v in encoder.state_dict().items()})
    batches = {"batch_key": "lane", "batches": [f"b{i}" for i in range(n_batches)]} if n_batches > 1 else {}
    field = MLPField(n_latent, hidden=(4,), n_members=2, generator=generator)
    return LatentODE(field, encoder=encoder, genes=np.array(GENES), transform="log1p_cp10k", **batches)


@pytest.mark.parametrize(("name", "n_batches"), [*((name, 1) for name in ENCODERS), ("vae", 3), ("vae-zinb", 2)])
def test_every_encoder_comes_back_bit_for_bit(name, n_batches, tmp_path):
    first = model(name, n_batches)
    first.save(tmp_path)
    z = torch.randn(4, size(name), generator=torch.Generator().manual_seed(1))
    for again in (LatentODE.from_arrays(first.to_arrays()), LatentODE.load(tmp_path)):
        assert again.encoder.name == name
        assert (again.batch_key, again.batches) == (first.batch_key, first.batches)
        assert torch.equal(again.decoder.decode(z), first.decoder.decode(z))
        assert torch.equal(again.decoder.decode_velocity(z, z), first.decoder.decode_velocity(z, z))
        states = first.state_dict()
        assert all(torch.equal(value, states[key]) for key, value in again.state_dict().items())


def first_format(encoder):
    """A record as version 0.1 stored it: encoders were a word, and batches unknown."""
    config = {
        "format": 1,
        "field": {"name": "mlp", "hidden": [2], "n_members": 1, "activation": "silu", "time_dependent": False},
        "n_latent": 1,
        "encoder": encoder,
        "genes": ["a", "b"] if encoder == "pca" else [],
        "transform": "none",
        "use_rep": None if encoder == "pca" else "X_umap",
    }
    arrays = {
        "field.center": np.zeros(1),
        "field.scale": np.ones(()),
        "field.speed": np.array(2.0),
        "field.weights.0": np.ones((1, 1, 2)),
        "field.biases.0": np.zeros((1, 1, 2)),
        "field.weights.1": np.ones((1, 2, 1)),
        "field.biases.1": np.zeros((1, 1, 1)),
    }
    if encoder == "pca":
        arrays |= {"encoder.mean": np.array([1.0, 2.0]), "encoder.components": np.array([[0.6], [0.8]])}
    return {"config": json.dumps(config), "arrays": {k: v.astype(np.float32) for k, v in arrays.items()}}


def test_models_of_the_first_format_are_read():
    old = LatentODE.from_arrays(first_format("pca"))
    torch.testing.assert_close(old.decoder.decode(torch.ones(1, 1)), torch.tensor([[1.6, 2.8]]))
    with torch.no_grad():
        velocity = old.velocity(torch.ones(1, 1))[0]
    torch.testing.assert_close(velocity, torch.tensor([[4 * torch.sigmoid(torch.tensor(1.0))]]))
    assert (old.batch_key, old.batches) == (None, [])
    bare = LatentODE.from_arrays(first_format("none"))
    assert bare.encoder is None
    assert bare.use_rep == "X_umap"
    with pytest.raises(ScnodeError, match="decoder='linear'"):
        bare.decoder  # noqa: B018


def crafted(what):
    stored = model("vae", 2).to_arrays()
    config = json.loads(stored["config"])
    encoder = config["encoder"]
    if what == "width":
        encoder["hidden"] = [10**9]
    elif what == "beyond any size":
        encoder["hidden"] = [10**18, 10**18]
    elif what == "batches":
        encoder["n_batches"] = 10**9
    elif what == "names":
        config["batches"] = ["only"]
    elif what == "kind":
        encoder["name"] = "vaee"
    elif what == "no kind":
        del encoder["name"]
    elif what == "other kind":
        encoder["name"] = "autoencoder"
    elif what == "option":
        encoder["n_layers"] = 3
    elif what == "text":
        encoder["hidden"] = "wide"
    elif what == "negative":
        encoder["hidden"] = [-4]
    elif what == "genes":
        config["genes"] = [*GENES, "g7"]
    elif what == "nan":
        stored["arrays"]["encoder.scale"] = np.array(np.nan, dtype=np.float32)
    return {**stored, "config": json.dumps(config)}


@pytest.mark.parametrize(
    "what",
    [
        "width",
        "beyond any size",
        "batches",
        "names",
        "kind",
        "no kind",
        "other kind",
        "option",
        "text",
        "negative",
        "genes",
        "nan",
    ],
)
def test_a_crafted_encoder_is_refused_before_it_is_made(what):
    with pytest.raises(ScnodeError, match=r"Refit with|at least 1"):
        LatentODE.from_arrays(crafted(what))


def test_genes_are_found_by_name():
    fitted = model("autoencoder")
    assert fitted.columns(["g3", "g0"]) == [3, 0]
    with pytest.raises(ScnodeError, match="Did you mean 'g3'"):
        fitted.columns(["g0", "G3"])


@pytest.mark.parametrize("kind", ["diagonal", "isotropic"])
def test_a_diffusion_comes_back_bit_for_bit_and_is_optional(kind, tmp_path):
    first = model("pca")
    assert "diffusion" not in json.loads(first.to_arrays()["config"])
    assert LatentODE.from_arrays(first.to_arrays()).diffusion is None
    first.diffusion = Diffusion(3, kind=kind, hidden=(5,), generator=torch.Generator().manual_seed(2))
    torch.nn.init.normal_(first.diffusion.weights[-1], generator=torch.Generator().manual_seed(3))
    first.diffusion.set_scales(center=torch.ones(3), scale=torch.tensor(2.0), level=torch.tensor(0.5))
    first.save(tmp_path)
    z, t = torch.randn(4, 3, generator=torch.Generator().manual_seed(1)), torch.zeros(())
    for again in (LatentODE.from_arrays(first.to_arrays()), LatentODE.load(tmp_path)):
        assert again.diffusion.kind == kind
        assert torch.equal(again.diffusion(t, z), first.diffusion(t, z))


def test_a_damaged_diffusion_is_told():
    first = model("pca")
    first.diffusion = Diffusion(3, hidden=(5,))
    stored = first.to_arrays()
    for name, value in (("weights.0", np.zeros((3, 6))), ("level", np.array(np.nan, dtype=np.float32))):
        broken = {**stored, "arrays": {**stored["arrays"], f"diffusion.{name}": value}}
        with pytest.raises(ScnodeError, match=r"do not fit|not finite"):
            LatentODE.from_arrays(broken)
