import numpy as np
import pytest

import scnode
from scnode import ScnodeError


def test_marks_the_state_that_was_kept(drawn):
    ax = scnode.pl.history(drawn, show=False)
    record = drawn.uns["scnode"]["history"]
    assert ax.get_yscale() == "log"
    marks = [line for line in ax.lines if line.get_marker() == "o"]
    kept = record.groupby("stage", sort=False)["validation_loss"].min()
    np.testing.assert_allclose([m.get_ydata()[0] for m in marks], kept)
    assert {t.get_text() for t in ax.texts} == set(kept.index)
    with pytest.raises(ScnodeError, match="no history"):
        scnode.pl.history(drawn, key_added="other")
