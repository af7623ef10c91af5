import anndata as ad
import numpy as np
import pytest
import torch

import scnode
from scnode import ScnodeError


@pytest.fixture
def labelled(fitted):
    adata = fitted.copy()
    adata.obs["stage"] = np.where(adata.obs["pseudotime"] > 0.7, "late", "early")
    return adata


@pytest.mark.parametrize("mode", ["hold", "initial"])
def test_only_hold_keeps_the_level(fitted, mode):
    out = scnode.tl.perturb(fitted, {"g2": 0.5}, mode=mode, name="x", copy=True)
    ends = out.uns["scnode"]["perturbations"]["x"]["perturbed"]
    decoded = scnode.get.model(out).encoder.decode(torch.from_numpy(ends))[..., 2].numpy()
    assert np.allclose(decoded, 0.5, atol=1e-4) == (mode == "hold")


def test_holding_a_gene_where_it_stays_anyway_changes_little(fitted):
    adata = fitted.copy()
    adata.X = adata.X.copy()
    start = [adata.obs_names[50]]
    scnode.tl.perturb(adata, {"g11": 0.0}, start=start, t=1e-6, mode="initial", name="moved")
    moved = adata.obs["scnode_moved_shift"].dropna()
    assert list(moved.index) == start
    level = scnode.get.model(adata).encoder.decode(torch.from_numpy(adata.obsm["X_scnode"][50]))[11]
    scnode.tl.perturb(adata, {"g11": float(level)}, start=start, t=1e-6, name="kept")
    assert adata.obs["scnode_kept_shift"].dropna().iloc[0] < 1e-3 < moved.iloc[0]


def test_table_of_fates(labelled, tmp_path):
    scnode.tl.perturb(labelled, {"g2": 0.0, "g5": 1.0}, groupby="stage", name="a")
    table = scnode.get.perturbation(labelled, "a")
    columns = ["fate", "control", "perturbed", "log_fold_change", "ci_low", "ci_high", "pvalue", "qvalue", "ood"]
    assert list(table.columns) == columns
    np.testing.assert_allclose(table[["control", "perturbed"]].sum(), 1)
    assert (table["ci_low"] <= table["log_fold_change"] + 1e-9).all()
    assert (table["log_fold_change"] <= table["ci_high"] + 1e-9).all()
    assert table["qvalue"].between(0, 1).all()
    labelled.write_h5ad(tmp_path / "a.h5ad")
    assert scnode.get.perturbation(ad.read_h5ad(tmp_path / "a.h5ad"), "a").equals(table)


def test_an_arm_against_itself_is_not_significant(labelled):
    from scnode.tl._outcomes import outcome_table

    latent, late = labelled.obsm["X_scnode"].astype(float), labelled.obs["stage"].to_numpy(dtype=str)
    arm = np.repeat(latent[:100, None], 3, axis=1)
    table = outcome_table(latent, late, arm, arm)
    np.testing.assert_array_equal(table["log_fold_change"], 0)
    assert (table["qvalue"] == 1).all()
    assert table["ood"].max() < 0.05
    far = outcome_table(latent, late, arm, arm + 100)
    assert far["ood"].max() == 1


@pytest.mark.parametrize(
    ("genes", "options", "fix"),
    [
        ({"G2": 0.0}, {}, "Did you mean 'g2'"),
        ({"g2": -1.0}, {}, "at least 0"),
        ({"g2": float("nan")}, {}, "at least 0"),
        ({"g2": "low"}, {}, "Pass 0.0 for a knock-out"),
        ({}, {}, "names no gene"),
        ({"g0": 0.0, "g1": 0.0, "g2": 0.0, "g3": 0.0}, {}, "n_latent="),
        ({"g2": 0.0}, {"mode": "push"}, "'hold' or 'initial'"),
        ({"g2": 0.0}, {"t": -1}, "positive"),
        ({"g2": 0.0}, {"groupby": "stages"}, "Did you mean 'stage'"),
        ({"g2": 0.0}, {"groupby": "stage", "groups": ["lat"]}, "Did you mean 'late'"),
        ({"g2": 0.0}, {"start": ["nobody"]}, "obs_names"),
        ({"g2": 0.0}, {"name": "a/b"}, "another name="),
    ],
)
def test_bad_requests_leave_adata(labelled, genes, options, fix):
    before = set(labelled.obsm), set(labelled.obs)
    with pytest.raises(ScnodeError, match=fix):
        scnode.tl.perturb(labelled, genes, **options)
    assert (set(labelled.obsm), set(labelled.obs)) == before


def test_a_name_is_used_once(labelled):
    scnode.tl.perturb(labelled, {"g2": 0.0})
    with pytest.raises(ScnodeError, match="overwrite=True"):
        scnode.tl.perturb(labelled, {"g2": 0.0})
    scnode.tl.perturb(labelled, {"g2": 0.0}, overwrite=True)
    with pytest.raises(ScnodeError, match="groupby="):
        scnode.get.perturbation(labelled, "g2_0")
    with pytest.raises(ScnodeError, match="Did you mean 'g2_0'"):
        scnode.get.perturbation(labelled, "g2")


def test_ends_are_doubted_by_the_calibration(labelled):
    start = list(labelled.obs_names[100:110])
    decoded = scnode.get.model(labelled).encoder.decode(torch.from_numpy(labelled.obsm["X_scnode"][100:110]))
    own, options = {"g2": float(decoded[:, 2].mean())}, {"groupby": "stage", "start": start, "t": 0.1, "name": "own"}
    before = scnode.tl.perturb(labelled, own, **options, copy=True)
    assert "ood" not in before.uns["scnode"]["perturbations"]["own"]
    scnode.tl.ood(labelled)
    scnode.tl.perturb(labelled, own, **options)
    scnode.tl.perturb(labelled, {"g2": 9.0}, **{**options, "name": "far"})
    near, far = (labelled.uns["scnode"]["perturbations"][name]["ood"] for name in ("own", "far"))
    assert near.shape == labelled.uns["scnode"]["perturbations"]["own"]["perturbed"].shape[:2]
    assert far.mean() > 0.9
    assert near.mean() < 0.6
    table = scnode.get.perturbation(labelled, "own")
    shares = table["perturbed"] / table["perturbed"].sum()
    assert (table["ood"] * shares).sum() == pytest.approx(near.mean(), abs=1e-5)
