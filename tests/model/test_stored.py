import pytest

from scnode import ScnodeError
from scnode.model import LatentODE, stored_model


def test_the_model_of_a_run_is_found_by_its_name(fitted):
    adata = fitted.copy()
    for old, new in (("X_scnode", "X_other"), ("velocity_scnode", "velocity_other")):
        adata.obsm[new] = adata.obsm.pop(old)
    adata.uns["other"] = adata.uns.pop("scnode")
    assert isinstance(stored_model(adata, "other"), LatentODE)
    with pytest.raises(ScnodeError, match="key_added="):
        stored_model(adata)


def take(adata, what):
    if what == "model":
        adata.uns["scnode"] = {k: v for k, v in adata.uns["scnode"].items() if k != "model"}
    elif what in adata.obsm:
        del adata.obsm[what]
    else:
        del adata.uns[what]


@pytest.mark.parametrize(
    ("what", "fix"),
    [
        ("scnode", r"adata.uns\['scnode'\] holds no fitted model.*Run scnode.tl.fit\(adata\) first"),
        ("model", "holds no fitted model"),
        ("X_scnode", r"adata.obsm\['X_scnode'\] is missing. Run scnode.tl.fit"),
        ("velocity_scnode", r"adata.obsm\['velocity_scnode'\] is missing. Run scnode.tl.fit"),
    ],
)
def test_what_is_missing_is_named(fitted, what, fix):
    adata = fitted.copy()
    take(adata, what)
    with pytest.raises(ScnodeError, match=fix):
        stored_model(adata)


def test_near_runs_are_suggested(fitted):
    with pytest.raises(ScnodeError, match="Did you mean 'scnode'"):
        stored_model(fitted, "scnod")
