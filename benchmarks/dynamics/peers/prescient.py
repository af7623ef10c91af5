"""PRESCIENT: a potential whose noisy flow from the first day meets the others, its command line's network and rates."""

from __future__ import annotations

from tempfile import TemporaryDirectory
from types import SimpleNamespace

import anndata as ad
import numpy as np
import torch
from _course import Course
from prescient.commands.train_model import create_parser, init_config
from prescient.simulate import simulate
from prescient.train import AutoGenerator
from prescient.train import run as train

# A fifth of the defaults.
PRETRAIN_EPOCHS, EPOCHS = 100, 500
CPU = torch.device("cpu")


def run(adata: ad.AnnData) -> dict[str, np.ndarray]:
    course = Course.of(adata)
    with TemporaryDirectory() as folder:
        model, config = fit(course, int(adata.uns["seed"]), folder)
    drift = slope(model, torch.from_numpy(course.states))
    return course.answer(drift, None if course.asked is None else carry(model, config, course))


def fit(course: Course, seed: int, folder: str) -> tuple[AutoGenerator, SimpleNamespace]:
    """The model of the last epoch, every cell of one weight."""
    wanted = {"data_path": "", "out_dir": folder, "seed": seed}
    wanted |= {"pretrain_epochs": PRETRAIN_EPOCHS, "train_epochs": EPOCHS}
    options = create_parser().parse_args([f"--{name}={value}" for name, value in wanted.items()])
    options.weight = "none"
    days = np.unique(course.day).tolist()
    clouds = [torch.from_numpy(course.states[course.day == day]) for day in days]
    weights = {(days[0], day): torch.ones(len(clouds[0])) for day in days[1:]}
    config = init_config(options)
    config.x_dim, config.t, config.ns = course.states.shape[1], days[-1] - days[0], len(clouds[-1])
    config.start_t, config.train_t = 0, list(range(1, len(days)))
    train(options, lambda _: (clouds, days, weights, config))
    model = AutoGenerator(config)
    model.load_state_dict(torch.load(config.train_pt.format(f"epoch_{EPOCHS:06d}"))["model_state_dict"])
    return model, config


def slope(model: AutoGenerator, states: torch.Tensor) -> np.ndarray:
    """Gradient of the potential, which the cells climb."""
    states = states.clone().requires_grad_()
    return torch.autograd.grad(model.net(states).sum(), states)[0].numpy()


def carry(model: AutoGenerator, config: SimpleNamespace, course: Course) -> np.ndarray:
    """The day before, simulated to the day asked."""
    n_cells, n_steps = int((course.day == course.before).sum()), course.steps(config.train_dt)
    unknown = [""] * len(course.day)
    paths = simulate(
        course.states, course.day, unknown, None, model, config, 1, n_cells, n_steps, CPU, course.before, None
    )
    return paths[0][-1]
