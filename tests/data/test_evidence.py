import logging

import numpy as np
import pytest

import scnode
from scnode import EvidenceError, ScnodeError
from scnode.data import find_evidence
from scnode.tl._space import build_space


@pytest.fixture(scope="module")
def rich():
    """Cells with every kind of evidence."""
    adata = scnode.datasets.bifurcation(n_cells=200, n_genes=30, rng=4)
    scnode.pp.velocity(adata)
    adata.obs["dpt_pseudotime"] = adata.obs["true_time"] / 30
    adata.obsm["motion"] = np.ones((200, 8))
    adata.uns["iroot"] = int(np.argmin(adata.obs["true_time"]))
    return adata


def found(adata, **keys):
    space = build_space(adata, use_rep=None, layer=None, n_latent=8).evidence
    return find_evidence(adata, space, rng=np.random.default_rng(0), **keys)


def test_the_first_that_is_present_is_used(rich, caplog):
    adata, used = rich.copy(), []
    with scnode.settings.override(verbosity=2), caplog.at_level(logging.INFO, logger="scnode"):
        for drop in (
            lambda: None,
            lambda: adata.layers.pop("velocity"),
            lambda: adata.layers.pop("spliced"),
            lambda: adata.obs.pop("dpt_pseudotime"),
        ):
            drop()
            used.append(found(adata)[0].source)
        del adata.uns["iroot"]
        with pytest.raises(EvidenceError, match="iroot"):
            found(adata)
    assert ["layers['velocity']" in used[0], "scvelo" in used[1], "dpt_pseudotime" in used[2], "iroot" in used[3]] == [
        True
    ] * 4
    told = list(dict.fromkeys(r.message for r in caplog.records if r.message.startswith("Evidence of motion")))
    assert [u in line for u, line in zip(used, told, strict=True)] == [True] * 4


def test_all_that_is_named_is_used(rich):
    both = found(rich, pseudotime_key="true_time", velocity_key="motion")
    assert [e.name for e in both] == ["pseudotime", "velocity"]
    assert both[0].clock.min() == 0
    assert both[0].clock.max() == 1


def spoil(adata, what):
    if what == "nan velocity":
        adata.layers["velocity"][3, 5] = np.nan
    elif what == "inf motion":
        adata.obsm["motion"][3, 5] = np.inf
    elif what == "root":
        adata.uns["iroot"] = 999


@pytest.mark.parametrize(
    ("what", "keys", "fix"),
    [
        ("nan velocity", {"velocity_key": "velocity"}, "1 entries of 1 genes"),
        ("inf motion", {"velocity_key": "motion"}, "infinite in 1 cells"),
        ("", {"velocity_key": "X_pca"}, "velocity_key="),
        ("", {"velocity_key": "motoin"}, "Did you mean 'motion'"),
        ("", {"pseudotime_key": "true_fate"}, "scnode.pp.time"),
        ("root", {}, "is no cell index"),
    ],
)
def test_errors_name_the_mending_call(rich, what, keys, fix):
    adata = rich.copy()
    if what == "root":
        del adata.layers["velocity"], adata.layers["spliced"], adata.obs["dpt_pseudotime"]
    spoil(adata, what)
    with pytest.raises(ScnodeError, match=fix):
        found(adata, **keys)


def test_velocity_of_another_space(rich):
    adata = rich.copy()
    adata.obsm["motion"] = np.ones((200, 5))
    with pytest.raises(EvidenceError, match="use_rep="):
        found(adata, velocity_key="motion")


@pytest.mark.parametrize("root", [200, -1, 1.5, "cell_0", None])
def test_a_root_that_is_no_cell(rich, root):
    with pytest.raises(EvidenceError, match=r"is no cell index below 200. Set it"):
        found(rooted(rich, root))


def rooted(rich, root):
    adata = rich.copy()
    del adata.layers["velocity"], adata.layers["spliced"], adata.obs["dpt_pseudotime"]
    adata.uns["iroot"] = root
    return adata


@pytest.mark.parametrize("root", [3, np.int64(3)])
def test_diffusion_pseudotime_starts_at_its_root(rich, root):
    evidence = found(rooted(rich, root))[0]
    assert evidence.name == "pseudotime"
    assert evidence.clock.argmin() == 3


def test_cells_that_no_path_joins_to_the_root_are_counted(rich):
    from dataclasses import replace

    from scnode.data import Neighbors

    adata = rooted(rich, 0)
    space = build_space(adata, use_rep=None, layer=None, n_latent=8).evidence
    latent = space.latent.copy()
    latent[-40:] += 1e3
    moved = replace(space, latent=latent, neighbors=Neighbors.of(latent, k=30))
    with pytest.raises(EvidenceError, match=r"40 cells are not connected to the root adata.uns\['iroot'\]=0. Drop"):
        find_evidence(adata, moved, rng=np.random.default_rng(0))
