"""A fit killed at any moment and called again ends as one that was left alone, bit for bit."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pytest

import scnode

TIMES = 20
FIT = {"n_latent": 3, "n_members": 2, "max_epochs": 24, "noise": True, "encoder": "autoencoder", "batch_size": 64}


@pytest.fixture
def source(line, tmp_path):
    line.write_h5ad(tmp_path / "line.h5ad")
    return tmp_path / "line.h5ad"


def run(*arguments, **variables):
    command = [sys.executable, __file__, *map(str, arguments)]
    environment = os.environ | variables
    return subprocess.run(command, check=True, timeout=900, capture_output=True, text=True, env=environment).stdout


@pytest.mark.slow
def test_kill_9_at_random_moments(source, tmp_path):
    # A fork of a process whose OpenMP threads have worked waits for them forever: libgomp keeps their pool.
    said = run("kill", source, tmp_path, OMP_NUM_THREADS="1", NUMBA_NUM_THREADS="1")
    ends = [line for line in said.splitlines() if line.startswith("trial")]
    assert len(ends) == TIMES
    assert all(line.endswith("same") for line in ends), said
    assert sum("killed" in line for line in ends) > TIMES / 2, said


def test_another_process_gives_the_same_bits(line, source, tmp_path):
    run("fit", source, tmp_path / "there.npz")
    np.testing.assert_equal(dict(np.load(tmp_path / "there.npz")), result(line.copy(), max_epochs=6))


def result(adata, folder=None, **options):
    """All numbers that a fit writes."""
    with scnode.settings.override(verbosity=0):
        scnode.tl.fit(adata, resume=folder, **FIT | options)
    run = adata.uns["scnode"]
    history = run["history"][["epoch", "train_loss", "validation_loss"]].to_numpy()
    cells = {k: np.asarray(adata.obs[k]) for k in adata.obs if k.startswith("scnode")}
    states = {k: adata.obsm[k] for k in ("X_scnode", "velocity_scnode", "scnode_evidence")}
    return {"history": history, **cells, **states, **run["model"]["arrays"]}


def fork(source, folder, target):
    """Fit in a process of its own, and give its number."""
    child = os.fork()
    if child:
        return child
    np.savez(target, **result(ad.read_h5ad(source), folder))
    os._exit(0)


def kill(source, folder):
    """Kill and fit again, until one fit is through."""
    rng = np.random.default_rng(0)
    begun = time.monotonic()
    os.waitpid(fork(source, folder / "none", folder / "whole.npz"), 0)
    length = time.monotonic() - begun
    whole = dict(np.load(folder / "whole.npz"))
    for trial in range(TIMES):
        child = fork(source, folder / str(trial), folder / "cut.npz")
        time.sleep(rng.uniform(0, length))
        os.kill(child, signal.SIGKILL)
        how = "killed" if os.WIFSIGNALED(os.waitpid(child, 0)[1]) else "finished"
        os.waitpid(fork(source, folder / str(trial), folder / "again.npz"), 0)
        again = dict(np.load(folder / "again.npz"))
        same = whole.keys() == again.keys() and all(np.array_equal(whole[k], again[k], equal_nan=True) for k in whole)
        print(
            f"trial {trial} {how} with {len(list((folder / str(trial)).iterdir()))} files:", "same" if same else "OTHER"
        )


if __name__ == "__main__":
    what, source, target = sys.argv[1:]
    if what == "kill":
        # Imports and compilation are done once, before processes part.
        result(ad.read_h5ad(source))
        kill(source, Path(target))
    else:
        np.savez(target, **result(ad.read_h5ad(source), max_epochs=6))
