import numpy as np
import pytest

import scnode
from scnode import ScnodeError


@pytest.fixture
def attributed(drawn):
    adata = drawn.copy()
    contribution = np.zeros((2, 4, 3))
    contribution[1] = [[0, 0, 3], [-2, 0, 0], [0.1, 0.1, 0.1], [0, 1, 0]]
    record = {
        "t": np.array([0.0, 0.5, 1.0]),
        "genes": np.array(["late", "early", "small", "middle"]),
        "fates": np.array(["left", "right"]),
        "contribution": contribution,
        "sd": np.ones((2, 4, 3)),
    }
    adata.uns["scnode"] = {**adata.uns["scnode"], "attribution": record}
    return adata


def test_the_largest_genes_stand_in_the_order_of_their_times(attributed):
    ax = scnode.pl.attribution(attributed, fate="right", n_genes=3, show=False)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["early", "middle", "late"]
    image = ax.images[0]
    np.testing.assert_allclose(image.get_array(), [[-2, 0, 0], [0, 1, 0], [0, 0, 3]])
    assert image.get_clim() == (-3, 3)
    assert image.get_extent()[:2] == [-0.25, 1.25]
    assert ax.get_title() == "right"


def test_what_is_missing_is_named(attributed, drawn):
    with pytest.raises(ScnodeError, match="No attribution is stored"):
        scnode.pl.attribution(drawn, show=False)
    with pytest.raises(ScnodeError, match="Did you mean 'right'"):
        scnode.pl.attribution(attributed, fate="righ", show=False)
    with pytest.raises(ScnodeError, match="draws nothing"):
        scnode.pl.attribution(attributed, n_genes=0, show=False)
