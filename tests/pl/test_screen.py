import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

import scnode
from scnode import ScnodeError


@pytest.fixture
def screened(drawn):
    adata = drawn.copy()
    table = pd.DataFrame(
        {
            "gene": ["g0", "g1", "g2", "g3"],
            "start_ood": 0.0,
            "fate": "late",
            "score": [2.0, -1.0, 0.5, 0.1],
            "log_fold_change": [1.5, -2.0, 0.1, np.nan],
            "qvalue": [0.001, 0.01, 0.9, np.nan],
            "ood": [0.0, 0.5, 0.0, np.nan],
        }
    )
    adata.uns["scnode"] = {**adata.uns["scnode"], "screen": {"level": 0.0, "t": 1.0, "table": table}}
    return adata


def test_genes_held_in_full_are_drawn_coloured_and_named(screened):
    ax = scnode.pl.screen(screened, n_labels=2, show=False)
    points = ax.collections[0]
    np.testing.assert_allclose(points.get_offsets(), [[1.5, 3], [-2, 2], [0.1, -np.log10(0.9)]])
    assert [to_hex(c) for c in points.get_facecolors()] == ["#b2182b", "#2166ac", "#999999"]
    np.testing.assert_allclose(points.get_facecolors()[:, 3], [1, 0.5, 1])
    assert [t.get_text() for t in ax.texts] == ["g0", "g1"]
    assert ax.get_title() == "late"


def test_what_is_missing_is_named(screened, drawn):
    with pytest.raises(ScnodeError, match="No screen is stored"):
        scnode.pl.screen(drawn, show=False)
    with pytest.raises(ScnodeError, match="Did you mean 'late'"):
        scnode.pl.screen(screened, fate="lat", show=False)
    screened.uns["scnode"]["screen"]["table"]["qvalue"] = np.nan
    with pytest.raises(ScnodeError, match="held in full"):
        scnode.pl.screen(screened, show=False)
