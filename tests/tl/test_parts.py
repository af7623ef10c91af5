import os
import pickle
import time
from functools import partial

import numpy as np
import pytest
import torch

import scnode
from scnode import ScnodeError
from scnode.tl import _ftle, _jacobian, _trust
from scnode.tl._parts import each_part

TOOLS = {
    "jacobian": {"regulators": ["g0", "g3"], "effectors": ["g1"]},
    "stiffness": {},
    "ftle": {"n_directions": 2, "horizon": 0.2},
    "ood": {},
}
WRITTEN = {
    "jacobian": ("scnode_divergence", "scnode_jacobian_norm"),
    "stiffness": ("scnode_stiffness", "scnode_fast_time", "scnode_slow_time"),
    "ftle": ("scnode_ftle",),
    "ood": ("scnode_ood", "scnode_error_bound"),
}
each_tool = pytest.mark.parametrize("tool", sorted(TOOLS))


def echo(model, states, control):
    return model, states, control


def test_parts_are_asked_in_order_and_what_is_not_there_stays_out():
    states = torch.arange(7.0)[:, None]
    told = each_part(echo, "model", (states, None), size=3, client=None, name="Echo")
    assert [len(part) for _, part, _ in told] == [3, 3, 1]
    torch.testing.assert_close(torch.cat([part for _, part, _ in told]), states)
    assert {(model, control) for model, _, control in told} == {("model", None)}


@each_tool
def test_the_size_of_the_parts_does_not_matter(fitted, tool, monkeypatch):
    whole = getattr(scnode.tl, tool)(fitted, **TOOLS[tool], copy=True)
    for module in (_ftle, _jacobian, _trust):
        monkeypatch.setattr(module, "_NUMBERS", 1000)
    parts = getattr(scnode.tl, tool)(fitted, **TOOLS[tool], copy=True)
    # The steps of an FTLE's solver are chosen for the states of a part together.
    for key in WRITTEN[tool]:
        np.testing.assert_allclose(parts.obs[key], whole.obs[key], rtol=2e-3, atol=2e-4)


@each_tool
@pytest.mark.parametrize("client", ["localhost:8786", object()])
def test_what_is_no_client_is_refused(fitted, tool, client):
    with pytest.raises(ScnodeError, match=r"no dask client .* Pass client=dask.distributed.Client\(\)"):
        getattr(scnode.tl, tool)(fitted, **TOOLS[tool], client=client)


class Wire:
    """A client of no workers, which sends everything through pickle and notes its size."""

    asynchronous = False

    def __init__(self):
        self.sizes = []

    def scatter(self, model, **options):
        assert options == {"broadcast": True, "hash": False}
        return self.send(model)

    def map(self, ask, *columns, pure):
        assert not pure
        self.sizes.clear()
        return [ask(*self.send(part)) for part in zip(*columns, strict=True)]

    def gather(self, futures):
        return futures

    def send(self, what):
        sent = pickle.dumps(what)
        self.sizes.append(len(sent))
        return pickle.loads(sent)


def test_a_part_takes_its_own_cells_along_and_no_others():
    wire, states = Wire(), torch.arange(20_000.0).reshape(-1, 2)
    told = each_part(echo, "model", (states, None), size=1000, client=wire, name="Echo")
    torch.testing.assert_close(torch.cat([part for _, part, _ in told]), states)
    assert max(wire.sizes) < 10_000 < 4 * states.numel()


@each_tool
def test_what_goes_over_a_wire_gives_the_same_numbers(fitted, tool):
    here = getattr(scnode.tl, tool)(fitted, **TOOLS[tool], copy=True)
    there = getattr(scnode.tl, tool)(fitted, **TOOLS[tool], client=Wire(), copy=True)
    for key in WRITTEN[tool]:
        np.testing.assert_array_equal(there.obs[key], here.obs[key])


@pytest.fixture(scope="module")
def cluster():
    """Two processes of one thread."""
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": ":0"}
    with distributed.LocalCluster(**options) as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    with cluster.get_client() as client:
        yield client


@pytest.mark.slow
@each_tool
def test_workers_give_the_same_numbers(fitted, tool, client, monkeypatch):
    for module in (_ftle, _jacobian, _trust):
        monkeypatch.setattr(module, "_NUMBERS", 1000)
    here = getattr(scnode.tl, tool)(fitted, **TOOLS[tool], copy=True)
    there = getattr(scnode.tl, tool)(fitted, **TOOLS[tool], client=client, copy=True)
    for key in WRITTEN[tool]:
        np.testing.assert_array_equal(there.obs[key], here.obs[key])
    if tool == "jacobian":
        np.testing.assert_array_equal(there.obsm["scnode_eigenvalues"], here.obsm["scnode_eigenvalues"])
        assert scnode.get.jacobian(there).equals(scnode.get.jacobian(here))


def slowly(model, states):
    """The process that answers, and how the field does."""
    time.sleep(0.2)
    return os.getpid(), model.field.mean(torch.zeros(()), states)


@pytest.mark.slow
def test_both_workers_take_part(fitted, client):
    model = scnode.get.model(fitted)
    states = torch.as_tensor(fitted.obsm["X_scnode"][:40])
    told = each_part(slowly, model, (states,), size=5, client=client, name="Slowly")
    assert len({process for process, _ in told} - {os.getpid()}) == 2
    with torch.no_grad():
        torch.testing.assert_close(torch.cat([velocity for _, velocity in told]), model.velocity(states)[0])


def dies_once(model, states, *, flag):
    if flag.exists():
        return states
    flag.touch()
    os._exit(1)


@pytest.mark.slow
def test_the_other_worker_takes_over_from_one_that_dies(fitted, client, tmp_path):
    states = torch.arange(8.0)[:, None]
    ask = partial(dies_once, flag=tmp_path / "died")
    told = each_part(ask, scnode.get.model(fitted), (states,), size=2, client=client, name="Dies once")
    torch.testing.assert_close(torch.cat(told), states)


def dies(model, states):
    os._exit(1)


def fails(model, states):
    raise scnode.SolverError("The trajectory does not arrive.")


@pytest.mark.slow
def test_an_error_of_the_question_arrives_as_it_is(fitted, client):
    states = torch.zeros(4, 3)
    with pytest.raises(scnode.SolverError, match="does not arrive"):
        each_part(fails, scnode.get.model(fitted), (states,), size=2, client=client, name="Fails")


@pytest.mark.slow
def test_a_closed_client_and_dead_workers_are_told(fitted):
    distributed = pytest.importorskip("distributed")
    model, states = scnode.get.model(fitted), torch.zeros(4, 3)
    options = {"n_workers": 1, "threads_per_worker": 1, "processes": True, "dashboard_address": ":0"}
    with distributed.LocalCluster(**options) as cluster, cluster.get_client() as client:
        with pytest.raises(ScnodeError, match=r"gave no answer .* start a new client"):
            each_part(dies, model, (states,), size=4, client=client, name="Dies")
        client.close()
        before = fitted.obs.columns.tolist()
        with pytest.raises(ScnodeError, match=r"gave no answer .* leave client= out"):
            scnode.tl.ftle(fitted, client=client)
        assert fitted.obs.columns.tolist() == before
