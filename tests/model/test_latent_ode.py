import json

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

import scnode
from scnode import ScnodeError
from scnode.model import LatentODE
from scnode.nn import Hold, MLPField


@pytest.fixture
def model(fitted):
    return scnode.get.model(fitted)


def test_flow_agrees_with_scipy(fitted, model):
    model = model.double()
    start = torch.as_tensor(fitted.obsm["X_scnode"][:2]).double()
    ts = torch.tensor([0.0, 0.2, 0.5], dtype=torch.float64)
    with torch.no_grad():
        found = model.flow(start, ts, rtol=1e-9, atol=1e-10)[:, 0].numpy()
        for y0, path in zip(start.numpy(), found, strict=True):
            known = solve_ivp(
                lambda t, y: model.velocity(torch.from_numpy(y[None]))[0][0].numpy(),
                (0, 0.5),
                y0,
                t_eval=ts.numpy(),
                rtol=1e-10,
                atol=1e-12,
            )
            np.testing.assert_allclose(path, known.y.T, atol=1e-7)


def test_members_flow_each_with_their_own_field(model):
    start, ts = torch.zeros(2, model.n_latent), torch.tensor([0.0, 1e-3])
    with torch.no_grad():
        ends = model.flow(start, ts, members=True)[:, :, -1]
        velocity = model.field.members(torch.zeros(()), start)
    torch.testing.assert_close(ends, 1e-3 * velocity.transpose(0, 1), rtol=0.05, atol=1e-4)


def test_a_held_flow_starts_and_stays_on_its_constraint(model):
    hold = Hold(torch.eye(model.n_latent)[:1], torch.tensor([0.3]))
    with torch.no_grad():
        paths = model.flow(torch.randn(4, model.n_latent), torch.linspace(0, 0.5, 4), hold=hold)
    torch.testing.assert_close(paths[..., 0], torch.full((4, 1, 4), 0.3), atol=1e-5, rtol=0)


def test_arrays_and_files_bring_the_same_bits_back(model, tmp_path):
    model.save(tmp_path / "m")
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["model.json", "model.safetensors"]
    for again in (LatentODE.from_arrays(model.to_arrays()), LatentODE.load(tmp_path / "m")):
        assert again.genes == model.genes
        assert again.transform == model.transform
        for name, value in model.state_dict().items():
            assert torch.equal(again.state_dict()[name], value)


def corrupt(stored, what):
    config = json.loads(stored["config"])
    if what == "format":
        config["format"] = 99
    elif what == "width":
        config["field"]["hidden"] = [10**9, 64]
    elif what == "later width":
        config["field"]["hidden"] = [64, 10**9]
    elif what == "members":
        config["field"]["n_members"] = 10**9
    elif what == "genes":
        config["genes"] = config["genes"][1:]
    elif what == "shape":
        stored["arrays"]["field.scale"] = np.ones(1, dtype=np.float32)
    elif what == "nan":
        stored["arrays"]["field.weights.1"] = np.full((3, 64, 64), np.nan, dtype=np.float32)
    elif what == "strings":
        stored["arrays"]["field.center"] = np.array(["a", "b", "c"])
    elif what == "not a table":
        return {"config": "[]", "arrays": {}}
    elif what == "empty":
        return {}
    elif what == "missing":
        del stored["arrays"]["field.center"]
    elif what == "text":
        return {**stored, "config": "not json"}
    return {**stored, "config": json.dumps(config)}


@pytest.mark.parametrize(
    "what",
    [
        "format",
        "width",
        "later width",
        "members",
        "genes",
        "shape",
        "nan",
        "strings",
        "missing",
        "text",
        "not a table",
        "empty",
    ],
)
def test_a_damaged_record_says_how_to_mend_it(model, what):
    with pytest.raises(ScnodeError, match="Refit with scnode"):
        LatentODE.from_arrays(corrupt(model.to_arrays(), what))


def test_errors_without_a_model(line, fitted, tmp_path):
    with pytest.raises(ScnodeError, match="written by LatentODE"):
        LatentODE.load(tmp_path)
    with pytest.raises(ScnodeError, match=r"Run scnode.tl.fit\(adata\) first"):
        scnode.get.model(line)
    cut = fitted.copy()
    del cut.obsm["X_scnode"]
    with pytest.raises(ScnodeError, match="is missing"):
        scnode.tl.velocity(cut, genes=True)


@pytest.mark.parametrize("file", ["model.json", "model.safetensors"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe broken", None], ids=["empty", "bytes", "half"])
def test_a_damaged_file_is_no_model(model, tmp_path, file, content):
    model.save(tmp_path)
    whole = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(ScnodeError, match="damaged"):
        LatentODE.load(tmp_path)


@pytest.mark.parametrize("hidden", [(), (4,), (4, 5, 6)])
def test_every_depth_of_network_is_kept(hidden, tmp_path):
    model = LatentODE(MLPField(2, hidden=hidden, n_members=2), use_rep="X_umap")
    model.save(tmp_path)
    again = LatentODE.load(tmp_path)
    states = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again.velocity(states)[0], model.velocity(states)[0])
    assert again.encoder is None
    assert again.use_rep == "X_umap"


def test_mean_and_deviation_are_those_of_the_members(model):
    states = torch.randn(5, model.n_latent, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        members = model.field.members(torch.zeros(()), states).numpy()
        mean, sd = (a.numpy() for a in model.velocity(states))
    np.testing.assert_allclose(mean, members.mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(sd, np.sqrt(members.var(0).sum(1)), rtol=1e-4)


def timed(*, time_dependent):
    field = MLPField(
        2, hidden=(16,), n_members=2, time_dependent=time_dependent, generator=torch.Generator().manual_seed(0)
    )
    return LatentODE(field.double(), use_rep="X_umap")


def test_flows_compose_and_with_time_only_on_its_clock():
    """The flow over s + t is that over t after that over s."""
    start = torch.randn(6, 2, generator=torch.Generator().manual_seed(1)).double()
    tight = {"rtol": 1e-10, "atol": 1e-12}

    def end(model, states, ts):
        return model.flow(states, torch.tensor(ts).double(), **tight)[:, 0, -1]

    for time_dependent in (False, True):
        model = timed(time_dependent=time_dependent)
        with torch.no_grad():
            whole, first = end(model, start, [0.0, 1.5]), end(model, start, [0.0, 0.6])
            going_on, anew = end(model, first, [0.6, 1.5]), end(model, first, [0.0, 0.9])
        torch.testing.assert_close(going_on, whole, rtol=1e-8, atol=1e-8)
        assert torch.allclose(anew, whole, rtol=1e-8, atol=1e-8) != time_dependent


def test_a_field_that_depends_on_time_is_not_asked_without_it():
    states = torch.randn(4, 2).double()
    with pytest.raises(ScnodeError, match="Pass t="):
        timed(time_dependent=True).velocity(states)
    clock = torch.linspace(0, 1, 4).double()[:, None]
    model = timed(time_dependent=True)
    mean, _ = model.velocity(states, t=clock)
    torch.testing.assert_close(mean[3], model.velocity(states[3:], t=clock[3, 0])[0][0])
    blind = timed(time_dependent=False)
    assert torch.equal(blind.velocity(states)[0], blind.velocity(states, t=clock)[0])


def test_a_model_says_what_moves_and_where(fitted):
    said = repr(scnode.get.model(fitted))
    assert said.startswith("LatentODE: dz/dt = f(z)\n")
    assert "'mlp', 3 member(s)" in said
    assert "3 coordinates of expression" in said
    assert "'pca' of 12 genes" in said
