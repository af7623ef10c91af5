"""TorchCFM: flow matching between successive days with exact optimal transport, its example's network and rates."""

from __future__ import annotations

from itertools import pairwise

import anndata as ad
import numpy as np
import torch
from torch import nn
from torchcfm.conditional_flow_matching import ExactOptimalTransportConditionalFlowMatcher
from torchcfm.models.models import MLP
from torchdiffeq import odeint

STEPS, BATCH, SIGMA, LR = 5000, 128, 0.1, 1e-3


def run(adata: ad.AnnData) -> dict[str, np.ndarray]:
    torch.manual_seed(int(adata.uns["seed"]))
    days, day = np.unique(adata.obs["day"]), adata.obs["day"].to_numpy()
    # Days count in mean intervals and states in their spread, as the example's do.
    unit, states = float(np.diff(days).mean()), np.asarray(adata.obsm["X_pca"], dtype=np.float32)
    spread = float(states.std())
    scaled = torch.from_numpy(states / spread)
    clouds = {float(d) / unit: scaled[torch.from_numpy(day == d)] for d in days}
    net = fit(clouds)
    with torch.no_grad():
        velocity = field(net, torch.from_numpy((day / unit).astype(np.float32)), scaled) * spread / unit
        found = {"velocity_pca": velocity.numpy()}
        if "predict" in adata.uns:
            asked = float(adata.uns["predict"]) / unit
            found["cloud"] = carry(net, clouds, asked).numpy() * spread
    return found


def fit(clouds: dict[float, torch.Tensor]) -> nn.Module:
    net = MLP(dim=next(iter(clouds.values())).shape[1], time_varying=True, w=64)
    optimizer = torch.optim.AdamW(net.parameters(), LR)
    matcher = ExactOptimalTransportConditionalFlowMatcher(sigma=SIGMA)
    for _ in range(STEPS):
        time, state, target = (torch.cat(part) for part in zip(*samples(matcher, clouds), strict=True))
        optimizer.zero_grad()
        (field(net, time, state) - target).square().mean().backward()
        optimizer.step()
    return net


def samples(
    matcher: ExactOptimalTransportConditionalFlowMatcher, clouds: dict[float, torch.Tensor]
) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Times, states and velocities on the way from each day to the next."""
    drawn = []
    for start, end in pairwise(clouds):
        first, second = (clouds[d][torch.randint(len(clouds[d]), (BATCH,))] for d in (start, end))
        share, state, move = matcher.sample_location_and_conditional_flow(first, second)
        drawn.append((start + share * (end - start), state, move / (end - start)))
    return drawn


def field(net: nn.Module, time: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
    return net(torch.cat([state, time.expand(len(state))[:, None]], 1))


def carry(net: nn.Module, clouds: dict[float, torch.Tensor], asked: float) -> torch.Tensor:
    """The day before, integrated to the day asked."""
    start = max(day for day in clouds if day < asked)
    times = torch.tensor([start, asked])
    return odeint(lambda t, y: field(net, t, y), clouds[start], times, rtol=1e-4, atol=1e-4)[-1]
