"""Draw figures of the guide's pages: python docs/figures/guide.py [page ...] (about two minutes)."""

from __future__ import annotations

from functools import cache

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from _draw import BLUE, GREEN, GREY, ORANGE, RED, draw

import scnode

SIDES = ["FateA", "FateB"]


@cache
def decision() -> ad.AnnData:
    """Cells that commit to one of two fates, after a fit to their RNA velocity."""
    adata = scnode.datasets.bifurcation(n_cells=700, n_genes=60, n_futures=100, rng=5)
    scnode.pp.velocity(adata)
    fit(adata, velocity_key="velocity")
    return adata


def fit(adata: ad.AnnData, **options: object) -> None:
    """Fit quickly, and put the leading coordinates beside."""
    scnode.tl.fit(adata, **({"n_latent": 6, "n_members": 3, "max_epochs": 80} | options))
    adata.obsm["X_plane"] = adata.obsm["X_scnode"][:, :2]


def panels(n: int, *, width: float = 8.6, height: float = 3.2, **options: object) -> tuple[plt.Figure, np.ndarray]:
    """Some panels beside each other."""
    return plt.subplots(1, n, figsize=(width, height), layout="constrained", **options)


def plane(ax: plt.Axes, title: str) -> None:
    """Name the axes of a latent plane, whose numbers mean nothing."""
    ax.set(xlabel="latent 1", ylabel="latent 2", xticks=[], yticks=[], title=title)


def field() -> plt.Figure:
    """What was told of the motion and what was learned, and three clocks of the same cells."""
    adata = decision().copy()
    figure, (left, right) = panels(2)
    x, told, learned = adata.obsm["X_plane"], adata.obsm["scnode_evidence"], adata.obsm["velocity_scnode"]
    shown = np.random.default_rng(0).choice(len(x), 130, replace=False)
    left.plot(*x.T, ".", color="0.85", markersize=3)
    for velocity, color, name in ((told, ORANGE, "evidence"), (learned, BLUE, "field")):
        arrows = {"angles": "xy", "scale_units": "xy", "scale": 25, "width": 0.004}
        left.quiver(*x[shown].T, *velocity[shown, :2].T, color=color, label=name, **arrows)
    left.legend(frameon=False)
    plane(left, "velocities of 130 cells")
    hours = adata.obs["true_time"].to_numpy(dtype=float)
    adata.obs["order"] = hours**2
    for rescale, color, name in ((False, ORANGE, "pseudotime"), (True, BLUE, "learned clock")):
        fit(adata, pseudotime_key="order", velocity_key="velocity", rescale_clock=rescale, max_epochs=2)
        right.plot(hours, adata.obs["scnode_time"], ".", color=color, markersize=3)
        right.plot([], [], "o", color=color, label=name)
    right.plot(hours[[hours.argmin(), hours.argmax()]], [0, 1], color="black", linewidth=0.9)
    right.set(xlabel="true time (hours)", ylabel="clock", title="a pseudotime that is the square of the time")
    right.legend(frameon=False)
    return figure


def time_course() -> plt.Figure:
    """Cells of five days with mean trajectories, and distances from each day that was held out."""
    adata = scnode.datasets.bifurcation(n_cells=600, n_genes=60, n_days=5, rng=5)
    adata.obs["hour"] = 24 * adata.obs["day"].astype(float)
    fit(adata, time_key="hour", max_epochs=200)
    figure, (left, right) = panels(2)
    points = left.scatter(*adata.obsm["X_plane"].T, c=adata.obs["hour"], s=6, cmap="cividis", rasterized=True)
    figure.colorbar(points, ax=left, label="hours at collection")
    first = adata.obs_names[adata.obs["hour"] == 0][:25]
    scnode.tl.trajectories(adata, start=list(first), t=1.0)
    for path in adata.uns["scnode"]["trajectories"]["latent"][:, 0]:
        left.plot(*path[:, :2].T, color=RED, linewidth=0.7)
    plane(left, "25 cells of the first day under way")
    scnode.tl.evaluate(adata, time_key="hour")
    table = scnode.get.evaluation(adata).pivot_table(index="holdout", columns="method", values="energy")
    colors = {"no_motion": GREY, "ot_interpolation": ORANGE, "scnode": BLUE, "noise_floor": "black"}
    for method, color in colors.items():
        right.plot(table.index, table[method], "o-", color=color, label=method)
    right.set(xlabel="hours held out", ylabel="energy distance", yscale="log", title="from the cells held out")
    right.legend(frameon=False, fontsize="small")
    return figure


def encoders() -> plt.Figure:
    """Two batches whose genes are caught unequally, in the principal components and in a VAE that knows of them."""
    adata = scnode.datasets.bifurcation(n_cells=700, n_genes=60, rng=5)
    rng = np.random.default_rng(0)
    second = rng.random(adata.n_obs) < 0.5
    caught = np.where(second[:, None], rng.uniform(0.2, 1, adata.n_vars), 1.0)
    counts = rng.binomial(adata.X.toarray().astype(int), caught).astype(np.float32)
    batched = ad.AnnData(counts, obs=adata.obs[["true_time", "clusters"]].copy(), var=adata.var[[]].copy())
    batched.obs["lane"] = np.where(second, "second", "first")
    figure, axes = panels(3, width=9.6)
    fit(batched, pseudotime_key="true_time", max_epochs=2)
    apart(batched, second)
    by_column(axes[0], batched, "lane", 'encoder="pca"')
    fit(batched, pseudotime_key="true_time", encoder="vae", batch_key="lane", max_epochs=200)
    by_column(axes[2], batched, "clusters", "the same")
    apart(batched, second)
    by_column(axes[1], batched, "lane", 'encoder="vae", batch_key="lane"')
    for ax in axes[:2]:
        ax.set_ylabel("from lane to lane")
    return figure


def apart(adata: ad.AnnData, second: np.ndarray) -> None:
    """Cells by the first latent coordinate, and along the line through the means of two lots of them."""
    latent = adata.obsm["X_scnode"]
    across = latent[second].mean(0) - latent[~second].mean(0)
    adata.obsm["X_plane"] = np.stack([latent[:, 0], latent @ across / np.linalg.norm(across)], axis=1)


def by_column(ax: plt.Axes, adata: ad.AnnData, column: str, title: str) -> None:
    """Cells of a latent plane by the names in a column, in an order of no meaning."""
    names = adata.obs[column].astype("category").cat
    order = np.random.default_rng(1).permutation(adata.n_obs)
    colors = np.array([BLUE, ORANGE, GREEN, RED])[names.codes.to_numpy()]
    ax.scatter(*adata.obsm["X_plane"][order].T, c=colors[order], s=5, rasterized=True)
    for name, color in zip(names.categories, (BLUE, ORANGE, GREEN, RED), strict=False):
        ax.plot([], [], "o", color=color, label=name)
    ax.legend(frameon=False, fontsize="small", title=column, title_fontsize="small")
    plane(ax, title)


def fate() -> plt.Figure:
    """Probability of one fate, and how it compares with that of a hundred futures of the same cells."""
    adata = decision().copy()
    scnode.tl.fate(adata, groupby="clusters", groups=SIDES)
    figure, (left, right) = panels(2)
    q = adata.obsm["scnode_fate"]["FateA"].to_numpy()
    points = left.scatter(*adata.obsm["X_plane"].T, c=q, s=6, cmap="viridis", vmin=0, vmax=1, rasterized=True)
    figure.colorbar(points, ax=left, label="probability of FateA")
    plane(left, "tl.fate")
    true = adata.obsm["true_fate_probability"]["FateA"].to_numpy()
    open_ = ~adata.obs["clusters"].isin(SIDES).to_numpy()
    right.plot([0, 1], [0, 1], color="black", linewidth=0.9)
    right.plot(q[open_], true[open_], ".", color="0.75", markersize=3)
    bins = np.array_split(np.argsort(q[open_]), 8)
    centre, mean = (np.array([values[open_][rows].mean() for rows in bins]) for values in (q, true))
    right.plot(centre, mean, "o-", color=BLUE, label="mean of an eighth of the cells")
    right.set(xlabel="probability by tl.fate", ylabel="share of 100 simulated futures", title="cells before their fate")
    right.legend(frameon=False, fontsize="small")
    return figure


def diagnostics() -> plt.Figure:
    """Where near cells part, where they rest, and which regulator acts on which."""
    adata = decision().copy()
    masters = ["Commit_TF", "FateA_TF1", "FateB_TF1"]
    scnode.tl.ftle(adata, n_directions=2)
    scnode.tl.jacobian(adata, regulators=masters, effectors=masters)
    figure, axes = panels(3, width=10.6, height=3.4)
    for ax, key, title, name in zip(
        axes, ("scnode_ftle", "scnode_divergence"), ("tl.ftle", "tl.jacobian"), ("exponent", "divergence"), strict=False
    ):
        values = adata.obs[key].to_numpy()
        most = np.quantile(np.abs(values), 0.98)
        points = ax.scatter(
            *adata.obsm["X_plane"].T, c=values, s=6, cmap="RdBu_r", vmin=-most, vmax=most, rasterized=True
        )
        figure.colorbar(points, ax=ax, label=name)
        plane(ax, title)
    scnode.pl.jacobian(adata, group=("clusters", "Early"), ax=axes[2], show=False)
    axes[2].set_xticks(range(len(masters)), masters, rotation=25, ha="right")
    return figure


def trust() -> plt.Figure:
    """Cells of a fate that no fit has seen, among those that it has, and their scores."""
    whole = scnode.datasets.bifurcation(n_cells=700, n_genes=60, rng=5)
    seen = (whole.obs["clusters"] != "FateB").to_numpy()
    adata, left_out = whole[seen].copy(), whole[~seen].copy()
    fit(adata, pseudotime_key="true_time")
    scnode.tl.ood(adata)
    scnode.tl.map(left_out, adata)
    left_out.obsm["X_plane"] = left_out.obsm["X_scnode"][:, :2]
    figure, (left, right) = panels(2)
    for cells, marker in ((adata, "o"), (left_out, "^")):
        score = cells.obs["scnode_ood"]
        points = left.scatter(
            *cells.obsm["X_plane"].T, c=score, s=9, marker=marker, cmap="cividis", vmin=0, vmax=1, rasterized=True
        )
    figure.colorbar(points, ax=left, label="scnode_ood")
    plane(left, "triangles: the fate left out")
    for cells, color, name in ((adata, BLUE, "seen"), (left_out, RED, "the fate left out")):
        bins = np.linspace(0, 1, 21)
        right.hist(cells.obs["scnode_ood"], bins, density=True, histtype="step", color=color, linewidth=1.6, label=name)
    right.set(xlabel="scnode_ood", ylabel="density of cells")
    right.legend(frameon=False)
    return figure


def growth() -> plt.Figure:
    """Two branches of which one divides: the rates that are learned, and shares of cells that change sides."""
    rng, rate, cells = np.random.default_rng(0), 1.5, []
    for day in (0.0, 1.0, 2.0):
        one = np.stack([rng.normal(0, 0.25, 5000), rng.choice([-1, 1], 5000) * rng.uniform(0.15, 0.5, 5000)], axis=1)
        for _ in range(round(day / 0.02)):
            one += 0.02 * np.stack([np.ones(5000), 2 * one[:, 1] * (1 - one[:, 1] ** 2)], axis=1)
        number = np.exp(rate * day * (one[:, 1] > 0))
        chosen = one[rng.choice(5000, 200, replace=False, p=number / number.sum())]
        cells.append(pd.DataFrame(chosen + rng.normal(0, 0.08, chosen.shape), columns=["x", "y"]).assign(day=day))
    table = pd.concat(cells, ignore_index=True).rename(index=str)
    adata = ad.AnnData(np.zeros((len(table), 1), np.float32), obs=table, obsm={"X_xy": table[["x", "y"]].to_numpy()})
    figure, axes = panels(3, width=10.6, sharey=True)
    for ax, unbalanced, title in ((axes[0], False, "balanced"), (axes[1], True, "unbalanced=True")):
        fit(adata, time_key="day", use_rep="X_xy", n_latent=2, unbalanced=unbalanced, max_epochs=60)
        ax.plot(table["x"], table["y"], ".", color="0.8", markersize=3)
        first = table.index[table["day"] == 0][:60]
        scnode.tl.trajectories(adata, start=list(first), t=1.0)
        for path in adata.uns["scnode"]["trajectories"]["latent"][:, 0]:
            ax.plot(*path.T, color=BLUE, linewidth=0.7)
        ax.set(xlabel="x", title=title)
    points = axes[2].scatter(table["x"], table["y"], c=adata.obs["scnode_growth"], s=8, cmap="viridis", rasterized=True)
    figure.colorbar(points, ax=axes[2], label="learned rate per day, relative")
    axes[2].set(xlabel="x", title="cells above divide at 1.5 a day")
    axes[0].set_ylabel("y")
    return figure


PAGES = (diagnostics, encoders, fate, field, growth, time_course, trust)


if __name__ == "__main__":
    draw(PAGES)
