"""Velocity, speed and time against the truth."""

from __future__ import annotations

import numpy as np
from _baselines import neighbors
from _data import Case, log_velocity
from scipy.stats import spearmanr

from scnode.metrics import cosine

COLUMNS = ("cosine, own", "cosine, chain rule", "genes", "speed", "time")


def scores(case: Case, found: dict[str, np.ndarray]) -> dict[str, float]:
    """One number a column; what a method does not give is left out."""
    truth = case.truth
    fast = upper_half(np.linalg.norm(truth["velocity_pca"], axis=1))
    got = velocities(case, found)
    best = got.get("cosine, chain rule", got.get("cosine, own"))
    result = {name: agreement(v, truth["velocity_pca"], fast) for name, v in got.items()}
    if best is not None:
        result["genes"] = agreement(in_genes(case, found, best), truth["velocity_log"], fast)
        result["speed"] = spearman(np.linalg.norm(best, axis=1), np.linalg.norm(truth["velocity_pca"], axis=1))
    if "time" in found or "phase" in found:
        result["time"] = time_agreement(truth, found)
    return result


def upper_half(speed: np.ndarray) -> np.ndarray:
    return speed >= np.median(speed)


def velocities(case: Case, found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Velocity in the components as the peer brings it there, and through the chain rule where it is one of genes."""
    got = {}
    if "velocity_pca" in found:
        got["cosine, own"] = found["velocity_pca"]
    if "velocity_genes" in found:
        got["cosine, chain rule"] = smoothed(case, found) @ case.seen.varm["PCs"]
    return got


def smoothed(case: Case, found: dict[str, np.ndarray]) -> np.ndarray:
    """Velocity of log1p of counts per 10,000, averaged over neighbours; genes without a fit stand still."""
    velocity, abundance = found["velocity_genes"], found["abundance"]
    fitted = np.isfinite(velocity).all(0)
    rate = np.zeros_like(velocity)
    rate[:, fitted] = log_velocity(velocity[:, fitted], abundance[:, fitted], total=abundance.sum(1, keepdims=True))
    return neighbors(case).mean(rate)


def in_genes(case: Case, found: dict[str, np.ndarray], latent: np.ndarray) -> np.ndarray:
    if "velocity_log" in found:
        return found["velocity_log"]
    if "velocity_genes" in found:
        return smoothed(case, found)
    return latent @ case.seen.varm["PCs"].T


def agreement(velocity: np.ndarray, truth: np.ndarray, cells: np.ndarray) -> float:
    """Mean cosine; a cell without a velocity counts as zero."""
    return float(np.nan_to_num(cosine(np.nan_to_num(velocity), truth)[cells]).mean())


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    return float(spearmanr(a, b, nan_policy="omit").statistic)


def time_agreement(truth: dict[str, np.ndarray], found: dict[str, np.ndarray]) -> float:
    """Circular correlation of the phase on a cycle; elsewhere the rank correlation within fates, by their sizes."""
    if "phase" in truth:
        return circular(found["phase"] if "phase" in found else turn(found["time"]), truth["phase"])
    fates, sizes = np.unique(truth["fate"], return_counts=True)
    each = [spearman(found["time"][truth["fate"] == f], truth["time"][truth["fate"] == f]) for f in fates]
    return float(np.average(each, weights=sizes))


def turn(time: np.ndarray) -> np.ndarray:
    """A time spread over one turn."""
    low, high = np.nanmin(time), np.nanmax(time)
    return 2 * np.pi * (time - low) / max(high - low, np.finfo(float).tiny)


def circular(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of two angles for uniform ones: 1 for equal up to a shift, -1 for reversed."""
    both = np.isfinite(a) & np.isfinite(b)
    a, b = a[both], b[both]
    return float(abs(np.exp(1j * (a - b)).mean()) - abs(np.exp(1j * (a + b)).mean()))
