"""Whatever an AnnData holds, a call ends in a result or in an error of scnode, which leaves it as it was."""

import warnings
from collections import Counter

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import scnode
from scnode import ScnodeError

NAMES = ["a", "b,c", "d/e", "ß é 細胞", "", " ", "1", "nan", "../../x", "a.b", "True", "X" * 300]
"""Of groups and genes, as people and other programs make them."""
KINDS = ["float", "few", "labels", "categories", "bool", "text", "numbers", "Int64", "boolean", "string", "datetime"]
KINDS += ["timedelta", "mixed", "constant", "infinite", "complex"]
"""Of columns."""
FIT = {"n_members": 1, "max_epochs": 1, "accelerator": "cpu"}

seeds = st.integers(0, 2**16).map(np.random.default_rng)


@st.composite
def matrices(draw, n, m):
    rng, kind = draw(seeds), draw(st.sampled_from(["counts"] * 4 + ["log"] * 4 + ["scaled", "zero", "equal", "huge"]))
    x = {
        "counts": lambda: rng.poisson(2.0, (n, m)) + (rng.random((n, m)) < 0.5),
        "log": lambda: np.log1p(rng.poisson(2.0, (n, m)) / 1.3),
        "scaled": lambda: rng.normal(size=(n, m)),
        "zero": lambda: np.zeros((n, m)),
        "equal": lambda: np.tile(rng.poisson(3.0, (1, m)), (n, 1)),
        "huge": lambda: 10.0 ** rng.uniform(-30, 30, (n, m)),
    }[kind]().astype(float)
    fault = draw(st.sampled_from([None] * 12 + [np.nan, np.inf, "constant gene", "empty gene", "empty cell"]))
    if x.size and isinstance(fault, str):
        x[(slice(None), 0) if "gene" in fault else (0, slice(None))] = 0.0 if "empty" in fault else 1.0
    elif x.size and fault is not None:
        x.flat[draw(st.integers(0, x.size - 1))] = fault
    dtype = draw(st.sampled_from([np.float32] * 4 + [np.float64] * 2 + [np.int64, np.uint8, bool]))
    if np.isfinite(x).all() or np.dtype(dtype).kind == "f":
        with np.errstate(all="ignore"):
            x = x.astype(dtype)
    return draw(st.sampled_from([np.asarray, sp.csr_matrix, sp.csc_matrix, sp.csr_array]))(x)


@st.composite
def columns(draw, n, usual="float"):
    """A column of `obs`, as people have them."""
    rng = draw(seeds)
    numbers = rng.uniform(0, 10, n)
    few = rng.integers(0, 3, n)
    kind = draw(st.sampled_from([usual] * 6 + KINDS))
    names = np.array(draw(st.lists(st.sampled_from(NAMES), min_size=3, max_size=3, unique=True)), dtype=object)
    column = {
        "float": lambda: pd.Series(numbers),
        "few": lambda: pd.Series(few),
        "bool": lambda: pd.Series(few > 0),
        "text": lambda: pd.Series(names[few]),
        "categories": lambda: pd.Series(pd.Categorical(names[few], categories=[*names, "unused"])),
        "numbers": lambda: pd.Series(pd.Categorical(few)),
        "Int64": lambda: pd.Series(few).astype("Int64"),
        "boolean": lambda: pd.Series(few > 0).astype("boolean"),
        "string": lambda: pd.Series(names[few]).astype("string"),
        "datetime": lambda: pd.Series(pd.Timestamp("2020-01-01") + pd.to_timedelta(few, unit="D")),
        "timedelta": lambda: pd.Series(pd.to_timedelta(few, unit="D")),
        "mixed": lambda: pd.Series([*([1, "x", None, 2.5, True] * n)][:n], dtype=object),
        "labels": lambda: pd.Series([f"E{8 + d / 2}" for d in few]),
        "constant": lambda: pd.Series(np.ones(n)),
        "infinite": lambda: pd.Series(np.where(few == 0, np.inf, numbers)),
        "complex": lambda: pd.Series(numbers + 1j),
    }[kind]()
    if n and draw(st.integers(0, 9)) == 9 and kind not in ("few", "bool", "complex"):
        column.iloc[0] = None if kind not in ("float", "infinite", "constant") else np.nan
    return column.to_numpy() if kind in ("few", "bool", "complex") else column.array


@st.composite
def cells(draw):
    n, m = draw(st.sampled_from([40, 40, 60, 60, 60, 12, 5, 3, 2, 1, 0])), draw(st.sampled_from([8, 8, 8, 8, 2, 1, 0]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adata = ad.AnnData(draw(matrices(n, m)), obs=pd.DataFrame(index=[f"c{i}" for i in range(n)]))
        genes = draw(st.permutations(NAMES))[:m]
        adata.var_names = draw(
            st.sampled_from([[f"g{i}" for i in range(m)]] * 8 + [genes, genes, ["g"] * m, [*genes[:-1], np.nan][:m]])
        )
        if draw(st.integers(0, 20)) == 20:
            adata.obs_names = ["c"] * n
        for key, usual in (("time", "float"), ("group", "categories"), ("batch", "few")):
            if draw(st.integers(0, 9)):
                adata.obs[key] = draw(columns(n, usual))
        if draw(st.integers(0, 3)) == 0:
            adata.layers["spliced"], adata.layers["unspliced"] = draw(matrices(n, m)), draw(matrices(n, m))
        if draw(st.integers(0, 3)) == 0:
            adata.layers["velocity"] = draw(seeds).normal(size=(n, m))
        rng, wide = draw(seeds), draw(st.sampled_from([1, 2, 5]))
        adata.obsm["X_rep"] = rng.normal(size=(n, wide))
        adata.obsm["v"] = rng.normal(size=(n, wide))
        if n and draw(st.integers(0, 9)) == 9:
            adata.obsm["X_rep"][0, 0] = np.nan
        adata.uns["iroot"] = draw(st.sampled_from([0] * 5 + [n, -1, "c0", None, 1.5]))
        adata.obs["clone"] = rng.integers(0, 5, n).astype(str)
    return adata


EVIDENCE = [
    {},
    {"pseudotime_key": "time"},
    {"pseudotime_key": "time"},
    {"pseudotime_key": "group"},
    {"velocity_key": "velocity"},
    {"velocity_key": "v", "use_rep": "X_rep"},
    {"velocity_key": "v", "use_rep": "X_rep"},
    {"time_key": "batch"},
    {"time_key": "batch", "lineage_key": "clone"},
    {"time_key": "batch", "pseudotime_key": "time"},
    {"time_key": "batch", "holdout": [1.0]},
    {"time_key": "group"},
]
EXTRAS = [
    {"control_key": "group"},
    {"control_key": "batch"},
    {"n_latent": 1},
    {"n_latent": 3},
    {"layer": "spliced"},
    {"encoder": "autoencoder"},
    {"encoder": "vae", "batch_key": "batch"},
    {"encoder": "vae-zinb", "batch_key": "group"},
    {"decoder": "linear"},
    {"field": "gradient"},
    {"field": "polynomial"},
    {"field": "rna"},
    {"noise": True},
    {"time_dependent": True},
    {"n_members": 2},
    {"weights": {"time": 2.0}},
    {"lineage_key": "group"},
]


@st.composite
def calls(draw):
    extras = draw(st.lists(st.sampled_from(EXTRAS), max_size=2))
    return {name: value for part in [draw(st.sampled_from(EVIDENCE)), *extras] for name, value in part.items()}


TOOLS = {
    "fate": lambda a: scnode.tl.fate(a, groupby="group"),
    "perturb": lambda a: scnode.tl.perturb(a, {a.var_names[0]: 0.0}, groupby="group"),
    "trajectories": lambda a: scnode.tl.trajectories(a, n_steps=3, start={"group": [str(a.obs["group"].iloc[0])]}),
    "jacobian": lambda a: scnode.tl.jacobian(a, regulators=[a.var_names[0]], effectors=[a.var_names[-1]]),
    "velocity": lambda a: scnode.tl.velocity(a, basis="rep", genes=True),
    "ftle": scnode.tl.ftle,
    "stiffness": scnode.tl.stiffness,
    "fixed_points": scnode.tl.fixed_points,
    "transition_matrix": scnode.tl.transition_matrix,
    "screen": lambda a: scnode.tl.screen(a, groupby="group"),
    "attribution": lambda a: scnode.tl.attribution(a, groupby="group", n_steps=3),
    "ood": lambda a: scnode.tl.ood(a, groupby="group"),
    "map": lambda a: scnode.tl.map(a[: a.n_obs // 2].copy(), a),
    "model": scnode.get.model,
    "agreement": lambda a: scnode.get.agreement(a, groupby="group"),
}


def outline(adata):
    return [list(getattr(adata, name)) for name in ("obs", "var", "obsm", "obsp", "layers", "uns")]


def attempt(name, call, adata, seen):
    """A result, or an error of scnode after which nothing has changed; None then."""
    before, refused = outline(adata), None
    try:
        call(adata)
    except ScnodeError as error:
        refused = str(error)
    seen[name if refused is None else f"{name} refused"] += 1
    assert refused is None or (outline(adata) == before and refused[-1] in ".?")
    return refused is None


def go(adata, options, tool, folder, seen):
    if attempt("fit", lambda a: scnode.tl.fit(a, **(FIT | options)), adata, seen):
        assert np.isfinite(adata.obsm["X_scnode"]).all()
        assert np.isfinite(adata.obsm["velocity_scnode"]).all()
        if "group" in adata.obs:
            attempt(tool, TOOLS[tool], adata, seen)
        attempt("model", scnode.get.model, adata, seen)


def fuzz(n, folder, capsys):
    seen = Counter()

    @settings(max_examples=n, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(cells(), calls(), st.sampled_from(sorted(TOOLS)))
    def cases(adata, options, tool):
        with warnings.catch_warnings(), scnode.settings.override(verbosity=0):
            warnings.simplefilter("ignore")
            seen["cases"] += 1
            go(adata, options, tool, folder, seen)

    try:
        cases()
    finally:
        with capsys.disabled():
            print("\n" + ", ".join(f"{name}: {count}" for name, count in sorted(seen.items())))
    assert seen["fit"] > n / 50


def test_some_cases(tmp_path, capsys):
    fuzz(80, tmp_path, capsys)


@pytest.mark.slow
def test_many_cases(tmp_path, capsys):
    fuzz(1500, tmp_path, capsys)
