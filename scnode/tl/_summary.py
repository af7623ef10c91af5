"""What a fit learned, from what, how well, and what to look at next: the last lines of every fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from scnode.model import LatentODE

_DOUBTFUL = 0.5


def summary(
    model: LatentODE, report: dict[str, Any], velocity: np.ndarray, sd: np.ndarray, history: list[dict[str, Any]]
) -> str:
    """Three lines: the model and its evidence, how well they agree, and the call that tells more."""
    ensemble = model.field.n_members
    kind = f"{ensemble} fields" if ensemble > 1 else "a field"
    epochs = sum(record["stage"] != "encoder" for record in history)
    lines = [
        f"Learned {kind} {model.field.name!r} of {model.n_latent} latent coordinates from "
        f"{' and '.join(report['evidence'])} of {len(velocity)} cells, in {epochs} epochs."
    ]
    fits = {pair.removesuffix("|fit"): c for pair, c in report["agreement"].items() if pair.endswith("|fit")}
    told = ", ".join(f"{source} {_mean(cosines):.2f}" for source, cosines in fits.items())
    parts = [f"Mean cosine of the fitted velocity with its evidence: {told}"]
    if ensemble > 1:
        speed = np.linalg.norm(velocity, axis=1)
        parts.append(f"the members differ by {np.median(sd) / max(np.median(speed), 1e-12):.0%} of the usual speed")
    lines.append("; ".join(parts) + ".")
    lines.append(f"Next: {_next(report, fits, ensemble)}")
    return "\n".join(lines)


def _next(report: dict[str, Any], fits: dict[str, np.ndarray], ensemble: int) -> str:
    """The call that bears most on whether to believe this fit."""
    if len(report["notes"]):
        return (
            "uns[...]['report']['notes'] says what contradicts the rest, scnode.get.agreement(adata, groupby=) where."
        )
    if any(_mean(cosines) < _DOUBTFUL for cosines in fits.values()):
        return "the evidence is noisy or contradicts itself; scnode.get.agreement(adata, groupby=) says where."
    if "time_unit" in report:
        key = report["time_unit"]["key"]
        return f"scnode.tl.evaluate(adata, time_key={key!r}) holds every time out in turn."
    if "control" in report or ensemble == 1:
        return "scnode.tl.velocity(adata, basis='umap') draws it."
    return "scnode.tl.velocity(adata, basis='umap') draws it, scnode.tl.ood(adata) says where not to believe it."


def _mean(cosines: np.ndarray) -> float:
    return float(np.nanmean(cosines)) if np.isfinite(cosines).any() else 0.0
