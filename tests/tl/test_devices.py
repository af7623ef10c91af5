"""Training and solving stay on the device that they are given, and Lightning gets what it is told."""

import lightning as L
import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import scnode
from scnode import ode
from scnode.nn import Diffusion, GradientField, MLPField, PolynomialField
from scnode.ode import _explicit, _radau5, _rodas5p
from scnode.train._module import FieldModule

A = torch.tensor([[-0.5, 1.0], [-1.0, -0.5]])


class OneDevice(TorchDispatchMode):
    """Refuse every operation that mixes devices, and note those that leave theirs."""

    def __init__(self, device):
        super().__init__()
        self.device, self.left = torch.device(device), []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        given = [a for a in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(a, torch.Tensor)]
        made = [a for a in torch.utils._pytree.tree_leaves(found) if isinstance(a, torch.Tensor)]
        there = [a.device == self.device for a in given]
        if any(there) and any(a.device != self.device for a in made):
            self.left.append(str(function))
        # A scalar of the host's may enter a kernel; an array may not.
        assert not any(there) or all(t or a.ndim == 0 for t, a in zip(there, given, strict=True)), function
        return found


def batch(n=12, members=2):
    states = torch.zeros(n, 2)
    return {
        "latent": states,
        "velocity": states,
        "weight": torch.ones(n, members),
        "outside": states,
        "outside_velocity": states,
        "states": torch.zeros(n, 3, 2),
        "times": torch.arange(3.0).expand(n, 3),
        "clock": torch.zeros(n, 1),
        "outside_clock": torch.zeros(n, 1),
    }


FIELDS = {
    "mlp": lambda: MLPField(2, hidden=(8,), n_members=2),
    "gradient": lambda: GradientField(2, hidden=(8,), n_members=2),
    "polynomial": lambda: PolynomialField(2, n_members=2),
    "time dependent": lambda: MLPField(2, hidden=(8,), n_members=2, time_dependent=True),
}


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_a_training_step_never_leaves_its_device(name):
    """On the meta device there are no numbers: what asked for one would fail, and what moved would be seen."""
    field = FIELDS[name]().to("meta")
    module = FieldModule(field, lr=1e-3)
    given = {key: values.to("meta") for key, values in batch().items()}
    with OneDevice("meta") as watched:
        loss = module.terms(given).total
        loss.backward()
    assert loss.device.type == "meta"
    assert all(p.grad is None or p.grad.device.type == "meta" for p in field.parameters())
    assert not watched.left


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("solver", ["dopri5", "tsit5", "rk4", "rodas5p", "radau", "auto"])
def test_solutions_keep_dtype_and_device(solver, dtype):
    y0, ts = torch.ones(3, 2, dtype=dtype), torch.linspace(0, 1, 4, dtype=dtype)
    found = ode.solve(lambda t, y: y @ A.T.to(y), y0, ts, solver=solver)
    assert (found.ys.dtype, found.ys.device) == (dtype, y0.device)


@pytest.mark.parametrize("gradient", ["backprop", "checkpointed", "adjoint"])
@pytest.mark.parametrize("solver", ["dopri5", "tsit5", "rk4", "rodas5p", "radau", "auto"])
def test_what_the_engine_makes_is_where_the_states_are(solver, gradient):
    """With another default device than that of the states, all that does not follow them would be on it, and fail."""
    y0, ts, matrix = torch.ones(3, 2), torch.linspace(0, 1, 4), A.clone().requires_grad_()
    options = {"step": 0.1} if solver == "rk4" else {}
    # Tables that an earlier solve has left would hide where new ones are made.
    for table in (_explicit._weights, _explicit._dense, _rodas5p._stages, _rodas5p._dense, _radau5._coefficients):
        table.cache_clear()
    with torch.device("meta"):
        ys = ode.solve(lambda t, y: y @ matrix.T, y0, ts, solver=solver, gradient=gradient, **options).ys
        ys[:, -1].square().sum().backward()
    assert ys.device.type == "cpu"
    assert matrix.grad.isfinite().all()


@pytest.mark.parametrize("name", sorted(FIELDS))
@pytest.mark.parametrize("polish", [False, True], ids=["regression", "polish"])
def test_what_a_training_step_makes_is_where_the_cells_are(name, polish):
    module = FieldModule(FIELDS[name](), lr=1e-3, solve_options={"rtol": 1e-2, "atol": 1e-3} if polish else None)
    given = batch()
    with torch.device("meta"):
        loss = module.terms(given).total
        loss.backward()
    assert loss.isfinite()


def test_noise_is_on_the_device_of_the_states():
    diffusion = Diffusion(2, hidden=(4,)).to("meta")
    with OneDevice("meta") as watched:
        assert diffusion(torch.zeros((), device="meta"), torch.zeros(3, 2, device="meta")).device.type == "meta"
    assert not watched.left


class Watch(L.Callback):
    """What the trainer was made with."""

    def on_fit_start(self, trainer, pl_module):
        self.precision, self.device, self.n = trainer.precision, pl_module.device.type, trainer.num_devices


def test_lightning_is_told_accelerator_devices_and_precision(line):
    watch, adata = Watch(), line.copy()
    options = {"precision": "bf16-mixed", "callbacks": [watch]}
    scnode.tl.fit(adata, n_latent=2, n_members=1, max_epochs=2, accelerator="cpu", devices=1, trainer_kwargs=options)
    assert (watch.precision, watch.device, watch.n) == ("bf16-mixed", "cpu", 1)
    assert adata.obsm["velocity_scnode"].dtype == np.float32
    assert np.isfinite(adata.obsm["velocity_scnode"]).all()
