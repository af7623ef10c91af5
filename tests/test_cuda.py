"""The same answers on a CUDA device, from tensors and models that live there."""

import copy

import numpy as np
import pytest
import torch

import scnode
from scnode import metrics, nn, ode

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
DOUBLE = torch.float64


def generator():
    return torch.Generator().manual_seed(0)


def normal(*shape):
    return torch.randn(*shape, generator=generator(), dtype=DOUBLE)


def reactions():
    return nn.StoichiometricField(torch.tensor([[-1.0, 1.0], [-1.0, 1.0], [1.0, -1.0]]), generator=generator())


FIELDS = {
    "mlp": lambda: nn.MLPField(3, n_members=2, generator=generator()),
    "mlp in time": lambda: nn.MLPField(3, n_members=2, time_dependent=True, generator=generator()),
    "gradient": lambda: nn.GradientField(3, n_members=2, generator=generator()),
    "gradient+circulation": lambda: nn.CirculatingField(3, n_members=2, generator=generator()),
    "polynomial": lambda: nn.PolynomialField(3, n_members=2, generator=generator()),
    "reactions": reactions,
}


def on(device, made):
    field = made().double()
    center, one = torch.zeros(3, dtype=DOUBLE), torch.ones((), dtype=DOUBLE)
    field.set_scales(center=center, scale=one, speed=one, reach=3.0)
    return field.to(device)


def tensors(found):
    """The numbers of a result, whatever holds them."""
    if isinstance(found, torch.Tensor):
        return [found]
    parts = vars(found).values() if hasattr(found, "__dataclass_fields__") else found
    return [part for part in parts if isinstance(part, torch.Tensor) and part.is_floating_point()]


def same_on_both(work, **tolerance):
    """`work(device)` gives the same on either, and leaves its result where its input was."""
    cpu, cuda = tensors(work("cpu")), tensors(work("cuda"))
    assert cpu
    for a, b in zip(cpu, cuda, strict=True):
        assert b.device.type == "cuda"
        torch.testing.assert_close(b.detach().cpu(), a.detach(), **({"rtol": 1e-6, "atol": 1e-8} | tolerance))


@pytest.mark.parametrize("kind", FIELDS)
def test_every_kind_of_field_moves_and_is_differentiated_there(kind):
    def work(device):
        field, y = on(device, FIELDS[kind]), (2 * normal(50, 3)).to(device)
        t = torch.zeros((), dtype=DOUBLE, device=device)
        return field.mean(t, y), field.members(t, y), field.jacobian(t, y)

    same_on_both(work)


def test_a_field_under_an_input_and_a_schedule_follow_their_device():
    def work(device):
        made = nn.ControlledField(3, n_controls=1, n_members=2, generator=generator()).double().to(device)
        schedule = nn.Schedule([0.0, 0.4], [[0.0], [1.0]])
        breaks, pieces = made.under(schedule).pieces()
        ts = torch.linspace(0, 1, 5, dtype=DOUBLE, device=device)
        return ode.solve_pieces([piece.mean for piece in pieces], breaks, normal(8, 3).to(device), ts).ys

    same_on_both(work, rtol=1e-4, atol=1e-6)


def waves(device):
    return on(device, FIELDS["mlp"]), normal(40, 3).to(device)


ASKED = {
    "own times": lambda field, y: ode.solve(field.mean, y, torch.linspace(0, 1, 5).to(y) + 0.1 * y.new_ones(40, 1)).ys,
    "stiffness": lambda field, y: ode.stiffness_ratio(field.mean, y, torch.linspace(0, 1, 3).to(y)),
    "ftle": lambda field, y: ode.ftle(field.mean, y, 1.0, jacobian=field.jacobian),
    "spectrum": lambda field, y: ode.ftle(field.mean, y, 1.0, spectrum=True, rtol=1e-7, atol=1e-9),
    "directions": lambda field, y: ode.ftle(
        field.mean, y, -0.5, directions=torch.eye(3).to(y).expand(40, 3, 3)[..., :2]
    ),
    "fixed points": lambda field, y: ode.fixed_points(field.mean, y),
    "limit cycles": lambda field, y: ode.limit_cycles(turning, y[:, :2], 20.0),
    "bound": lambda field, y: ode.gronwall_bound(field.mean, y, torch.linspace(0, 1, 5).to(y), defect=0.1),
    "along": lambda field, y: ode.measure_along(
        field.mean, torch.linspace(0, 1, 3).to(y), torch.stack([y, y, y], 1), defect=0.1
    ),
    "measures": lambda field, y: (
        ode.spectral_norm(ode.jacobian(field.mean, y)),
        ode.log_norm(ode.jacobian(field.mean, y)),
        ode.divergence(ode.jacobian(field.mean, y)),
    ),
    "sde": lambda field, y: (
        ode.solve_sde(field.mean, lambda t, z: 0 * z + 0.0, y, torch.linspace(0, 1, 3).to(y), n_samples=2).ys
    ),
    "running cost": lambda field, y: ode.solve(
        field.mean, y, torch.linspace(0, 1, 3).to(y), running_cost=lambda t, z: z.square().sum(1)
    ),
}


def turning(t, y):
    a, b = y.unbind(1)
    grow = 1 - a**2 - b**2
    return torch.stack([a * grow - 2 * b, b * grow + 2 * a], 1)


@pytest.mark.parametrize("question", ASKED)
def test_the_engine_measures_there(question):
    same_on_both(lambda device: ASKED[question](*waves(device)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", ["gauss_newton", "lbfgs"])
def test_trajectories_are_fitted_there(method):
    def work(device):
        field = on(device, lambda: nn.PolynomialField(3, n_members=1, generator=generator()))
        ts = torch.linspace(0, 1, 11, dtype=DOUBLE, device=device)
        ys = ode.solve(lambda t, y: -y + 0.1 * y.roll(1, 1), normal(6, 3).to(device), ts, rtol=1e-8, atol=1e-10).ys
        ode.fit_trajectories(field, ts, ys, method=method, max_iterations=5)
        return field.mean(ts[0], ys[:, 0])

    same_on_both(work)


def test_gradients_are_compared_there():
    def report(device):
        field, y = waves(device)
        ts = torch.linspace(0, 1, 4).to(y)
        return ode.gradient_report(field.mean, y, ts, lambda ys: ys.square().sum(), rtols=(1e-4,))

    rows = report("cuda").rows
    assert all(row.bias < 1e-2 for row in rows)


@pytest.fixture(scope="module")
def cells():
    """A bifurcation with RNA velocity, collection times and an input."""
    adata = scnode.datasets.bifurcation(n_cells=400, n_genes=60, rng=2)
    scnode.pp.velocity(adata)
    adata.obs["hours"] = adata.obs["true_time"].astype(float)
    adata.obs["day"] = np.digitize(adata.obs["hours"], np.quantile(adata.obs["hours"], [0.33, 0.66])).astype(float)
    adata.obs["dose"] = np.where(np.arange(adata.n_obs) % 2, 1.0, 0.0)
    return adata


FITS = {
    "velocity": {"velocity_key": "velocity"},
    "pseudotime": {"pseudotime_key": "hours"},
    "days": {"time_key": "day"},
    "days in time": {"time_key": "day", "time_dependent": True},
    "noise": {"pseudotime_key": "hours", "noise": True},
    "noise of days": {"time_key": "day", "noise": True},
    "input": {"time_key": "day", "control_key": "dose"},
    "vae": {"velocity_key": "velocity", "encoder": "vae"},
    "autoencoder": {"pseudotime_key": "hours", "encoder": "autoencoder"},
    "rna": {"field": "rna", "pseudotime_key": "hours"},
    "gradient": {"field": "gradient", "pseudotime_key": "hours"},
    "gradient+circulation": {"field": "gradient+circulation", "pseudotime_key": "hours"},
    "polynomial": {"field": "polynomial", "pseudotime_key": "hours", "n_latent": 3},
    "adjoint": {"pseudotime_key": "hours", "gradient": "adjoint"},
    "implicit": {"pseudotime_key": "hours", "solver": "rodas5p", "n_members": 1, "n_latent": 4},
}


@pytest.mark.parametrize("name", FITS)
def test_a_fit_on_the_device_is_that_of_the_processor(cells, name):
    fitted = {}
    for accelerator in ("cpu", "gpu"):
        adata = cells.copy()
        with scnode.settings.override(verbosity=0):
            scnode.tl.fit(
                adata, accelerator=accelerator, devices=1, **({"n_members": 2, "max_epochs": 20} | FITS[name])
            )
        fitted[accelerator] = adata
    cpu, gpu = (fitted[name].obsm["velocity_scnode"].astype(float) for name in ("cpu", "gpu"))
    assert np.isfinite(gpu).all()
    # Rounding moves every step of the optimiser a little.
    assert np.median(metrics.cosine(cpu, gpu)) > 0.95
    model = scnode.get.model(fitted["gpu"])
    assert {p.device.type for p in model.parameters()} == {"cpu"}
    scnode.tl.trajectories(fitted["gpu"], n_steps=3)


def test_a_model_moves_to_the_device_and_flows_there(cells):
    adata = cells.copy()
    scnode.tl.fit(adata, velocity_key="velocity", n_members=2, max_epochs=5)
    model, states = scnode.get.model(adata).double(), torch.as_tensor(adata.obsm["X_scnode"], dtype=DOUBLE)

    def work(device):
        moved, y = copy.deepcopy(model).to(device), states.to(device)
        ts, tight = torch.linspace(0, 1, 3, dtype=DOUBLE, device=device), {"rtol": 1e-8, "atol": 1e-10}
        genes = nn.Hold(moved.decoder.components[:1], torch.zeros(1, dtype=DOUBLE, device=device))
        with torch.no_grad():
            held = moved.flow(y, ts, members=True, hold=genes, **tight)
            return moved.velocity(y)[0], moved.flow(y, ts, **tight), held, moved.decoder.decode(y)

    # Two solves differ by their tolerance, not by rounding.
    same_on_both(work, rtol=1e-5, atol=1e-6)
