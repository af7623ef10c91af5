"""What clamping a gene does to the fates of simulated cells, by their own network."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
from _futures import network, states

from scnode.datasets._integrate import integrate
from scnode.datasets._network import Edges, Network

N_REPEATS = 8
# Clusters of cells before the fates.
UNDECIDED = {"Progenitor", "Early", "Intermediate"}


def truth(adata: ad.AnnData, seed: int, rows: np.ndarray, genes: Sequence[str]) -> pd.DataFrame:
    """Shifts of the shares of the fates, from the true states of cells, without a gene and with it fully transcribed.

    One row a gene, way and fate, with the standard error of the shift over the cells. The same noise shakes all.
    """
    name = adata.uns["simulation"]["name"]
    kind = getattr(importlib.import_module(f"scnode.datasets._{name}"), name.upper())
    net = network(adata, seed)
    upstream = net.upstream(kind.masters.values())
    deciders, noise = net.subnetwork(upstream), adata.uns["simulation"]["parameters"]["noise"]
    start = np.repeat(states(adata)[rows], N_REPEATS, axis=0)[:, :, upstream]

    def reached(net: Network) -> np.ndarray:
        shaken = np.random.default_rng(seed)
        end = integrate(net, start, kind.duration, noise=noise, rng=shaken, scale=deciders.level_scale)
        found = (kind.fates(net, end)[:, None] == np.array(kind.labels)).astype(float)
        return found.reshape(len(rows), N_REPEATS, -1).mean(1)

    control, table = reached(deciders), []
    for gene in genes:
        for way in ("down", "up"):
            # A gene without a path to the masters changes none of the shares.
            after = reached(clamped(deciders, gene, way)) if gene in deciders.names else control
            shift = after - control
            errors = shift.std(0) / np.sqrt(len(rows))
            parts = zip(kind.labels, control.mean(0), after.mean(0), errors, strict=True)
            table += [(gene, way, fate, was, now, now - was, error) for fate, was, now, error in parts]
    return pd.DataFrame(table, columns=["gene", "way", "fate", "true_control", "true_held", "true_shift", "true_se"])


def clamped(net: Network, gene: str, way: str) -> Network:
    """The network with a gene never transcribed, or always at its full rate."""
    if way == "down":
        return net.knock_out(gene)
    place = net.index(gene)
    constitutive = net.constitutive.copy()
    constitutive[place] = 1.0
    return replace(
        net,
        constitutive=constitutive,
        activators=_without(net.activators, place),
        repressors=_without(net.repressors, place),
    )


def _without(edges: Edges, target: int) -> Edges:
    """Edges to other genes."""
    kept = edges.target != target
    parts = (edges.regulator, edges.target, edges.threshold, edges.hill, edges.weight)
    return Edges(*(part[kept] for part in parts))
