"""Two processes train as one."""

import subprocess
import sys

import anndata as ad
import numpy as np
import pytest

import scnode

FIT = {"n_latent": 3, "n_members": 2, "max_epochs": 12, "batch_size": 64, "accelerator": "cpu"}


def curve(adata, stage):
    history = adata.uns["scnode"]["history"]
    return history.loc[history["stage"] == stage, "validation_loss"].to_numpy()


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp_fork", "ddp_spawn"])
def test_two_processes_follow_the_curve_of_one(line, tmp_path, strategy):
    line.write_h5ad(tmp_path / "line.h5ad")
    command = [sys.executable, __file__, str(tmp_path / "line.h5ad"), strategy]
    said = subprocess.run(command, check=True, timeout=600, capture_output=True, text=True).stdout
    assert said.count("written by") == 1
    two, one = ad.read_h5ad(tmp_path / "line.h5ad"), line.copy()
    scnode.tl.fit(one, **FIT)
    for stage in ("regression", "polish"):
        assert len(curve(two, stage)) == len(curve(one, stage))
        np.testing.assert_allclose(curve(two, stage), curve(one, stage), rtol=0.25)
    assert curve(two, "regression")[-1] < 0.7 * curve(two, "regression")[0]
    cosine = (one.obsm["velocity_scnode"] * two.obsm["velocity_scnode"]).sum(1)
    cosine /= np.linalg.norm(one.obsm["velocity_scnode"], axis=1) * np.linalg.norm(two.obsm["velocity_scnode"], axis=1)
    assert np.median(cosine) > 0.95


if __name__ == "__main__":
    path, strategy = sys.argv[1:]
    adata = ad.read_h5ad(path)
    scnode.tl.fit(adata, devices=2, trainer_kwargs={"strategy": strategy}, **FIT)
    adata.write_h5ad(path)
    print("written by", path)
