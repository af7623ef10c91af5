"""A failure in the middle of writing leaves every object as it was."""

import numpy as np
import pandas as pd
import pytest

import scnode
from scnode import ScnodeError
from scnode._write import written

GROUPS = {"groupby": "part", "groups": ["early", "late"]}
WRITERS = {
    "fit": lambda a: scnode.tl.fit(a, n_latent=3, n_members=1, max_epochs=1),
    "fate": lambda a: scnode.tl.fate(a, **GROUPS),
    "perturb": lambda a: scnode.tl.perturb(a, {"g1": 0.0}, **GROUPS),
    "trajectories": lambda a: scnode.tl.trajectories(a, n_steps=3),
    "jacobian": lambda a: scnode.tl.jacobian(a, regulators=["g1"], effectors=["g2"]),
    "ftle": scnode.tl.ftle,
    "stiffness": scnode.tl.stiffness,
    "fixed_points": scnode.tl.fixed_points,
    "screen": lambda a: scnode.tl.screen(a, genes=["g1"], **GROUPS),
    "attribution": lambda a: scnode.tl.attribution(a, n_steps=3, **GROUPS),
    "map": lambda a: scnode.tl.map(a, scnode.get.model(a)),
    "ood": scnode.tl.ood,
    "time": lambda a: scnode.pp.time(a, "day"),
}


class Full(dict):
    """No entry can be made."""

    def __setitem__(self, key, value):
        raise MemoryError(key)


@pytest.fixture
def ready(fitted):
    adata = fitted.copy()
    adata.obs["part"] = pd.Categorical(np.repeat(["early", "middle", "late"], [50, 100, 50]))
    adata.obs["day"] = np.repeat(["E1", "E2"], 100)
    return adata


def same(a, b):
    pd.testing.assert_frame_equal(a.obs, b.obs)
    pd.testing.assert_frame_equal(a.var, b.var)
    for name in ("obsm", "obsp", "layers"):
        left, right = getattr(a, name), getattr(b, name)
        assert list(left) == list(right)
        assert all(np.array_equal(left[k], right[k], equal_nan=True) for k in left)
    assert list(a.uns) == list(b.uns)
    assert list(a.uns["scnode"]) == list(b.uns["scnode"])


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_nothing_is_written_in_part(ready, name):
    before = ready.copy()
    ready.uns = Full(ready.uns)
    with pytest.raises(MemoryError):
        WRITERS[name](ready)
    same(ready, before)


def test_nor_into_a_view(ready):
    view, before = ready[:100], ready[:100].copy()

    def cut_off():
        with written(view, copy=False) as result:
            result.obs["new"] = 1
            del result.obs["day"]
            result.obsm["X_scnode"] = np.zeros((100, 3))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut_off()
    same(view, before)


def test_a_copy_of_a_backed_object_is_refused_in_words(ready, tmp_path):
    import anndata as ad

    ready.write_h5ad(tmp_path / "a.h5ad")
    with pytest.raises(ScnodeError, match="to_memory"):
        scnode.tl.ftle(ad.read_h5ad(tmp_path / "a.h5ad", backed="r"), copy=True)
