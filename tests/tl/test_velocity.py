import numpy as np
import pytest

import scnode
from scnode import ScnodeError
from scnode.metrics import cosine


def test_gene_velocity_is_the_decoded_latent_one(fitted):
    out = scnode.tl.velocity(fitted, genes=True, copy=True)
    loadings = scnode.get.model(fitted).encoder.components.numpy()
    columns = out.var_names.get_indexer(scnode.get.model(fitted).genes)
    np.testing.assert_allclose(
        out.layers["velocity_scnode"][:, columns], fitted.obsm["velocity_scnode"] @ loadings.T, rtol=1e-4, atol=1e-5
    )
    assert "velocity_scnode" not in fitted.layers


@pytest.mark.parametrize("basis", ["umap", "X_umap"])
def test_embedded_velocity_points_along_the_curve(fitted, basis):
    out = scnode.tl.velocity(fitted, basis=basis, copy=True)
    time = fitted.obs["pseudotime"].to_numpy()
    ahead = np.stack([np.ones_like(time), 2 * time], axis=1)
    assert cosine(out.obsm["velocity_scnode_umap"], ahead)[15:-15].mean() > 0.9


@pytest.mark.parametrize(
    ("options", "fix"), [({}, "Nothing to do"), ({"basis": "tsne"}, "basis="), ({"key_added": "b"}, "tl.fit")]
)
def test_errors_name_the_mending_call(fitted, options, fix):
    with pytest.raises(ScnodeError, match=fix):
        scnode.tl.velocity(fitted, **options)


@pytest.fixture(scope="module")
def without_decoder(line):
    adata = line.copy()
    scnode.tl.fit(adata, use_rep="X_umap", n_members=2, max_epochs=2)
    return adata


def test_a_representation_of_the_user_has_no_genes(without_decoder):
    with pytest.raises(ScnodeError, match=r"obsm\['X_umap'\] and has no decoder. Fit with decoder='linear'"):
        scnode.tl.velocity(without_decoder, genes=True)
    out = scnode.tl.velocity(without_decoder, basis="umap", copy=True)
    assert out.obsm["velocity_scnode_umap"].shape == (200, 2)


def test_genes_are_found_by_name(fitted):
    """In another order, with one that the model does not know, and not without one that it does."""
    import anndata as ad

    shuffled = fitted[:, ::-1].copy()
    stranger = ad.AnnData(np.zeros((200, 1), dtype=np.float32), obs=fitted.obs[[]])
    stranger.var_names = ["stranger"]
    wide = ad.concat([stranger, shuffled], axis=1, merge="first", uns_merge="first")
    wide.obsm, wide.uns = fitted.obsm, fitted.uns
    scnode.tl.velocity(wide, genes=True)
    known = scnode.tl.velocity(fitted, genes=True, copy=True).layers["velocity_scnode"]
    assert np.isnan(wide.layers["velocity_scnode"][:, 0]).all()
    np.testing.assert_array_equal(wide.layers["velocity_scnode"][:, :0:-1], known)
    with pytest.raises(ScnodeError, match=r"1 genes of the model are not in adata.var_names \(first: \['g0'\]\)"):
        scnode.tl.velocity(fitted[:, 1:].copy(), genes=True)


@pytest.mark.parametrize("spoil", ["nan", "shape"])
def test_an_embedding_that_cannot_be_used(fitted, spoil):
    adata = fitted.copy()
    adata.obsm["X_umap"] = np.full((200, 2), np.nan) if spoil == "nan" else np.zeros((200, 2, 1))
    with pytest.raises(ScnodeError, match=r"not finite in 200 cells|has shape \(200, 2, 1\)"):
        scnode.tl.velocity(adata, basis="umap")
    assert "velocity_scnode_umap" not in adata.obsm
