"""A record that somebody else made is read, or refused in words; never run, and never allocated beyond its arrays."""

import copy
import json
import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import scnode
from scnode import ScnodeError
from scnode.model import LatentODE


class Code:
    """An object whose use would show."""

    def __reduce__(self):
        return (pytest.fail, ("code was run",))


VALUES = [
    None,
    True,
    -1,
    0,
    1,
    2.5,
    10**9,
    10**30,
    1e308,
    float("nan"),
    "",
    "mlp",
    "../../etc/passwd",
    "os.system",
    "a/b",
    [],
    [1],
    [10**9] * 3,
    {},
    {"name": "pca"},
    [["a"]],
]
ARRAYS = [
    np.zeros(0),
    np.zeros((3, 3)),
    np.full((), np.nan),
    np.array(["a"]),
    np.array([None, 1], dtype=object),
    np.array([Code()], dtype=object),
    sp.csr_matrix(np.eye(3)),
    Code(),
    "text",
    None,
    np.zeros((1, 1), dtype=complex),
    [[1.0], [2.0, 3.0]],
]


def places(value, path=()):
    """Every place inside a configuration."""
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list) and value and path[-1:] != ("genes",):
        yield from places(value[0], (*path, 0))


def put(root, path, value):
    for key in path[:-1]:
        root = root[key]
    root[path[-1]] = value


@pytest.fixture(scope="module")
def plain(fitted):
    return fitted.uns["scnode"]["model"]


def record(plain, draw):
    """A true record with one part changed."""
    config, arrays = json.loads(plain["config"]), dict(plain["arrays"])
    how = draw(st.sampled_from(["value", "value", "missing", "array", "no array", "extra", "whole"]))
    path = draw(st.sampled_from([p for p in places(config) if p]))
    name = draw(st.sampled_from(sorted(arrays)))
    if how == "value":
        put(config, path, draw(st.sampled_from(VALUES)))
    elif how == "missing":
        del config[path[0]]
    elif how == "array":
        arrays[name] = draw(st.sampled_from(ARRAYS))
    elif how == "no array":
        del arrays[name]
    elif how == "extra":
        arrays["field.__class__"] = np.zeros(2)
    else:
        return draw(
            st.sampled_from([None, [], "text", {}, {"config": "{}"}, {"config": "[" * 10**5, "arrays": arrays}])
        )
    return {"config": json.dumps(config), "arrays": arrays}


def outcome(stored):
    """The model, or None where it is refused in words."""
    try:
        return LatentODE.from_arrays(stored)
    except ScnodeError:
        return None


@settings(max_examples=300, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_change_of_a_record_is_read_or_refused(plain, data):
    tracemalloc.start()
    model = outcome(record(copy.deepcopy(plain), data.draw))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**26
    if model is not None:
        assert model.genes == json.loads(plain["config"])["genes"] or all(isinstance(g, str) for g in model.genes)


@pytest.mark.parametrize("stored", [None, [], "text", 3, np.zeros(3)], ids=repr)
def test_a_run_that_is_none_is_told(fitted, stored):
    adata = fitted.copy()
    adata.uns["scnode"] = stored
    with pytest.raises(ScnodeError, match=r"not one of scnode|holds no fitted model"):
        scnode.get.model(adata)


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("X_scnode", np.zeros((200, 7))),
        ("velocity_scnode", np.full((200, 3), np.nan)),
        ("X_scnode", sp.csr_matrix(sp.eye(200, 3))),
    ],
    ids=["shape", "nan", "sparse"],
)
def test_states_that_are_not_the_models_are_told(fitted, what, value):
    adata = fitted.copy()
    adata.obsm[what] = value
    with pytest.raises(ScnodeError, match="finite numbers a cell"):
        scnode.tl.trajectories(adata)


READERS = {
    "trajectories": scnode.get.trajectories,
    "jacobian": scnode.get.jacobian,
    "screen": scnode.get.screen,
    "evaluation": scnode.get.evaluation,
    "fixed_points": scnode.get.fixed_points,
    "report": scnode.get.agreement,
    "perturbations": lambda a: scnode.get.perturbation(a, "Gata1_0"),
    "fate": lambda a: scnode.tl.perturb(a, {"g1": 0.0}),
    "ood": scnode.tl.trajectories,
}


@pytest.mark.parametrize("name", sorted(READERS))
@pytest.mark.parametrize(
    "value", ["text", 3, {"a": 1}, [1, 2], {"latent": np.zeros(3), "table": 1, "values": "x"}], ids=repr
)
def test_results_that_do_not_read_as_such_are_told(fitted, name, value):
    adata = fitted.copy()
    adata.uns["scnode"] = {**adata.uns["scnode"], name: value}
    with pytest.raises(ScnodeError, match=r"damaged|No |no "):
        READERS[name](adata)
