"""scDiffEq: a neural SDE down a potential from the first day on, its defaults but for the number of epochs."""

from __future__ import annotations

from contextlib import chdir
from tempfile import TemporaryDirectory

import anndata as ad
import numpy as np
import pandas as pd
import scdiffeq as sdq
import torch
from _course import Course

EPOCHS, DT = 250, 0.1


def run(adata: ad.AnnData) -> dict[str, np.ndarray]:
    course = Course.of(adata)
    work = ad.AnnData(obs=pd.DataFrame({"t": course.day}, index=adata.obs_names), obsm={"X_pca": course.states})
    model = fit(work, int(adata.uns["seed"]))
    drift = sdq.tl.drift(work, model, inplace=False)
    return course.answer(drift, None if course.asked is None else carry(model, work, course))


def fit(work: ad.AnnData, seed: int) -> sdq.scDiffEq:
    """Checkpoints and logs go where they are forgotten."""
    size = work.obsm["X_pca"].shape[1]
    with TemporaryDirectory() as folder, chdir(folder):
        model = sdq.scDiffEq(
            work, latent_dim=size, time_key="t", seed=seed, train_epochs=EPOCHS, dt=DT, working_dir=folder
        )
        model.fit(train_epochs=EPOCHS)
    model.DiffEq.eval()
    return model


def carry(model: sdq.scDiffEq, work: ad.AnnData, course: Course) -> np.ndarray:
    """The day before, simulated to the day asked."""
    times = torch.linspace(course.before, course.asked, course.steps(DT) + 1)
    starts = work.obs_names[course.day == course.before]
    paths = sdq.tl.simulate(work, model.DiffEq, idx=starts, t=times, dt=DT)
    return np.asarray(paths.X[-len(starts) :])
