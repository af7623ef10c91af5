"""Draw the figure of each kind's page: python docs/figures/kinds.py [kind ...] (about a minute)."""

from __future__ import annotations

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from _draw import BLUE, GREEN, GREY, ORANGE, RED, draw
from scipy.integrate import solve_ivp

import scnode


def cells(states: np.ndarray, velocity: np.ndarray | None = None, **columns: np.ndarray) -> ad.AnnData:
    """Cells on a plane, with a velocity and columns."""
    names = [f"cell{i}" for i in range(len(states))]
    obsm = {"X_plane": states} if velocity is None else {"X_plane": states, "v": velocity}
    return ad.AnnData(np.zeros((len(states), 1), np.float32), obs=pd.DataFrame(columns, index=names), obsm=obsm)


def fit(adata: ad.AnnData, **options: object) -> None:
    """Fit on the plane, quickly."""
    evidence = {"velocity_key": "v"} if "v" in adata.obsm else {}
    scnode.tl.fit(adata, **({"use_rep": "X_plane", "n_members": 2, "max_epochs": 60} | evidence | options))


def two_wells(n: int = 500) -> ad.AnnData:
    """dx/dt = x - x^3, dy/dt = -y, with noise on the velocity."""
    rng = np.random.default_rng(0)
    states = rng.uniform((-1.6, -0.8), (1.6, 0.8), (n, 2))
    x, y = states.T
    return cells(states, np.stack([x - x**3, -y], axis=1) + rng.normal(0, 0.1, states.shape))


def potential() -> plt.Figure:
    """The landscape that was learned, beside the true one along its valley."""
    adata = two_wells()
    fit(adata, field="gradient")
    model = scnode.get.model(adata)
    x, y = np.meshgrid(np.linspace(-1.7, 1.7, 60), np.linspace(-0.9, 0.9, 40))
    grid = torch.as_tensor(np.stack([x.ravel(), y.ravel()], axis=1), dtype=torch.float32)
    with torch.no_grad():
        height = model.field.potential(grid).numpy().reshape(x.shape)
    # A clock sets the unit of time: the landscape is drawn in that of the simulation.
    truth = x**4 / 4 - x**2 / 2 + y**2 / 2
    height = height * np.ptp(truth) / np.ptp(height)
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 3.2), layout="constrained")
    levels = left.contourf(x, y, height - height.min(), 14, cmap="cividis")
    left.plot(*adata.obsm["X_plane"].T, ".", color="white", markersize=1.5, alpha=0.6)
    figure.colorbar(levels, ax=left, label="learned potential")
    row = len(y) // 2
    right.plot(x[row], height[row] - height[row].min(), color=BLUE, label="learned")
    right.plot(x[row], truth[row] - truth[row].min(), "--", color="black", label="true")
    right.set(xlabel="x", ylabel="potential at y = 0")
    right.legend(frameon=False)
    left.set(xlabel="x", ylabel="y")
    return figure


def polynomial() -> plt.Figure:
    """Noisy trajectories, and solutions of the equations that were read from them, further than they were seen."""

    def predator_and_prey(t: float, x: np.ndarray) -> list[float]:
        return [1.1 * x[0] - 0.4 * x[0] * x[1], 0.1 * x[0] * x[1] - 0.4 * x[1]]

    rng, times = np.random.default_rng(0), np.linspace(0, 10, 81)
    starts = rng.uniform(1, 6, (8, 2))
    paths = np.stack([solve_ivp(predator_and_prey, (0, 10), y0, t_eval=times, rtol=1e-10).y.T for y0 in starts])
    noisy = paths + 0.05 * paths.std((0, 1)) * rng.normal(size=paths.shape)
    field = scnode.nn.PolynomialField(2).double()
    field.sparsify(torch.tensor(times), torch.tensor(noisy))
    later = np.linspace(0, 30, 400)
    with torch.no_grad():
        read = scnode.ode.solve(field.mean, torch.tensor(starts[:1]), torch.tensor(later), rtol=1e-8, atol=1e-10).ys[0]
    true = solve_ivp(predator_and_prey, (0, 30), starts[0], t_eval=later, rtol=1e-10).y
    figure, ax = plt.subplots(figsize=(7, 3), layout="constrained")
    for i, (name, color) in enumerate((("prey", BLUE), ("predator", RED))):
        ax.plot(times, noisy[0, :, i], ".", color=color, markersize=3)
        ax.plot(later, read[:, i], color=color, label=f"{name}, equations read")
        ax.plot(later, true[i], "--", color="black", linewidth=0.9, label="truth" if i else None)
    ax.axvspan(0, 10, color="0.93", zorder=0)
    ax.set(xlabel="time (seen until 10)", ylabel="abundance")
    ax.legend(frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))
    return figure


def stochastic() -> plt.Figure:
    """Cells of a fork with the trajectory of the drift, and with draws from the same start."""
    rng = np.random.default_rng(0)
    time = rng.uniform(0, 1, 600)
    side = np.where(rng.random(600) < 0.5, -1, 1)
    states = np.stack([3 * time, 2 * side * np.maximum(time - 0.4, 0)], axis=1) + rng.normal(0, 0.06, (600, 2))
    adata = cells(states, time=time)
    fit(adata, pseudotime_key="time", noise=True)
    figure, axes = plt.subplots(1, 2, figsize=(8.6, 3), layout="constrained", sharey=True)
    start = list(adata.obs_names[np.argsort(np.linalg.norm(states, axis=1))[:1]])
    for ax, noise, title in zip(axes, (False, True), ("the drift alone", "60 draws with noise"), strict=True):
        scnode.tl.trajectories(adata, start=start, noise=noise, n_samples=60 if noise else 1)
        ax.plot(*states.T, ".", color="0.8", markersize=3)
        for path in adata.uns["scnode"]["trajectories"]["latent"][0]:
            ax.plot(*path.T, color=BLUE, alpha=0.3 if noise else 1, linewidth=0.8 if noise else 2)
        ax.set(xlabel="x", title=title)
    axes[0].set_ylabel("y")
    return figure


def controlled() -> plt.Figure:
    """Cells under three doses, and where the fit takes untreated ones under those, one between, and a schedule."""
    arms = [(dose, day) for dose in (0.0, 0.5, 1.0) for day in (0.0, 1.0, 2.0) if dose == 0 or day > 0]
    dose, day = np.repeat(arms, 50, axis=0).T
    states = np.random.default_rng(0).normal(np.stack([day, dose * day], axis=1), 0.15)
    adata = cells(states, dose=dose, day=day)
    fit(adata, time_key="day", control_key="dose")
    figure, ax = plt.subplots(figsize=(5.6, 3.4), layout="constrained")
    points = ax.scatter(*states.T, c=dose, s=8, cmap="cividis", rasterized=True)
    figure.colorbar(points, label="dose of the cells")
    asked = {"0": 0.0, "0.25": 0.25, "0.5": 0.5, "1": 1.0, "1, washed out": ([0.0, 0.5], [1.0, 0.0])}
    for (name, level), color in zip(asked.items(), (GREY, GREEN, BLUE, RED, ORANGE), strict=True):
        scnode.tl.trajectories(adata, start=(adata.obs["day"] == 0).to_numpy(), control={"dose": level})
        mean = adata.uns["scnode"]["trajectories"]["latent"][:, 0].mean(0)
        ax.plot(*mean.T, color=color, linewidth=2, label=name)
    ax.set(xlabel="x", ylabel="y")
    ax.legend(frameon=False, title="asked for", fontsize="small")
    return figure


def stoichiometric() -> plt.Figure:
    """A conserved total along trajectories of the reactions, and of a perceptron fitted to the same cells."""
    rng, change = np.random.default_rng(0), np.array([-1.0, -1.0, 1.0])

    def flux(x: np.ndarray) -> np.ndarray:
        return 1.5 * x[0] * x[1] - 0.3 * x[2]

    found = []
    for time in rng.uniform(0.01, 1.5, 300):
        start = [*rng.uniform(0.5, 1.5, 2), 0.0]
        found.append(solve_ivp(lambda _, x: change * flux(x), (0, time), start, rtol=1e-8).y[:, -1])
    states = np.array(found)
    motion = flux(states.T)[:, None] * change + rng.normal(0, 0.05, states.shape)
    adata = cells(states, motion)
    adata.obsm["X_plane"] = pd.DataFrame(states, index=adata.obs_names, columns=["A", "B", "C"])
    reactions = scnode.nn.StoichiometricField(scnode.pp.stoichiometry("A + B <-> C"), n_members=2)
    figure, ax = plt.subplots(figsize=(5.6, 3.2), layout="constrained")
    for name, field, color in (("perceptron", "mlp", ORANGE), ("reactions", reactions, BLUE)):
        fit(adata, field=field)
        scnode.tl.trajectories(adata, t=2.0)
        stored = adata.uns["scnode"]["trajectories"]
        total = stored["latent"][:, 0, :, 0] + stored["latent"][:, 0, :, 2]
        ax.plot(stored["t"], (total - total[:, :1]).T, color=color, linewidth=0.8, alpha=0.6)
        ax.plot([], [], color=color, label=name)
    ax.set(xlabel="time (clock)", ylabel="change of A + C")
    ax.legend(frameon=False)
    return figure


def rna() -> plt.Figure:
    """Phase portraits of two genes with what the field makes of them."""
    adata = scnode.datasets.bifurcation(n_cells=500, n_genes=60, rng=1)
    scnode.tl.fit(adata, field="rna", n_members=2, max_epochs=40)
    chosen = [g for g in ("FateA_TF1", "FateB_TF1", *adata.var_names) if np.isfinite(adata.var.loc[g, "scnode_beta"])]
    figure, axes = plt.subplots(1, 2, figsize=(8.6, 3.2), layout="constrained")
    for ax, gene in zip(axes, chosen[:2], strict=True):
        column = adata.var_names.get_loc(gene)
        s, u, alpha = (adata.layers[f"scnode_{k}"][:, column] for k in ("spliced", "unspliced", "alpha"))
        beta, gamma = adata.var.loc[gene, ["scnode_beta", "scnode_gamma"]].astype(float)
        points = ax.scatter(s, u, c=alpha, s=8, cmap="viridis", rasterized=True)
        ax.plot([0, s.max()], [0, s.max() * gamma / beta], color="black", linewidth=0.9)
        shown = np.random.default_rng(0).choice(len(s), 60, replace=False)
        change = np.stack([beta * u - gamma * s, alpha - beta * u], axis=1)[shown]
        ax.quiver(s[shown], u[shown], *change.T, angles="xy", width=0.004)
        ax.set(xlabel="spliced", ylabel="unspliced", title=gene)
        figure.colorbar(points, ax=ax, label="transcription")
    return figure


def discrete() -> plt.Figure:
    """Distance of the map from the flow of the same network, by the number of steps."""
    generator = torch.Generator().manual_seed(0)
    field = scnode.nn.MLPField(3, hidden=(32,)).double()
    with torch.no_grad():
        for weight in field.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator, dtype=torch.float64) * 0.6)
        y0 = torch.randn(64, 3, generator=generator, dtype=torch.float64)
        ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
        true = scnode.ode.solve(field.mean, y0, ends, rtol=1e-11, atol=1e-12).ys[:, -1]
        moved = (true - y0).norm(dim=1).mean()
        numbers = [2**k for k in range(8)]
        maps = [scnode.nn.ResidualMap(field)(y0, torch.linspace(0, 1, n + 1, dtype=torch.float64)) for n in numbers]
    error = [float((m[:, -1] - true).square().sum(1).mean().sqrt() / moved) for m in maps]
    figure, ax = plt.subplots(figsize=(4.6, 3.2), layout="constrained")
    ax.loglog(numbers, error, "o-", color=BLUE, label="map")
    ax.loglog(numbers, error[-1] * numbers[-1] / np.array(numbers), color=GREY, label="first order")
    ax.set(xlabel="steps", ylabel="distance from the flow")
    ax.legend(frameon=False)
    return figure


def time_dependent() -> plt.Figure:
    """Cells that turn back half way: the velocity that each kind of field has learned, by the clock."""
    rng = np.random.default_rng(0)
    day = np.repeat(np.arange(9), 60)
    t = day / 8
    place = 4 * np.minimum(t, 1 - t)
    states = np.stack([place, np.zeros_like(place)], axis=1) + rng.normal(0, 0.5, (len(day), 2))
    figure, ax = plt.subplots(figsize=(5.6, 3.2), layout="constrained")
    for known, color, name in ((False, ORANGE, "f(z)"), (True, BLUE, "f(t, z)")):
        adata = cells(states, day=day.astype(float))
        fit(adata, time_key="day", time_dependent=known)
        ax.plot(
            t + rng.uniform(-0.03, 0.03, len(t)), adata.obsm["velocity_scnode"][:, 0], ".", color=color, markersize=3
        )
        ax.plot([], [], "o", color=color, label=name)
    ax.step([0, 0.5, 1], [4, 4, -4], where="pre", color="black", linewidth=1, label="true")
    ax.set(xlabel="clock", ylabel="velocity to the right")
    ax.legend(frameon=False)
    return figure


KINDS = (controlled, discrete, polynomial, potential, rna, stochastic, stoichiometric, time_dependent)


if __name__ == "__main__":
    draw(KINDS)
