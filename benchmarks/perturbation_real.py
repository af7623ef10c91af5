"""Knock-outs of known direction in real cells and in a simulated network of known signs."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from _table import publish

import scnode

GONAD = ("SOX9", "FOXL2")
ERYTHROID = {"Erythrocyte", "Megakaryocytes"}
ENDOCRINE = {"Pre-endocrine", "Alpha", "Beta", "Delta", "Epsilon"}
FALLS, RISES = -1, 1
FIT: dict[str, Any] = {"max_epochs": 60}


@dataclass(frozen=True)
class Claim:
    """Without `gene`, the share of `fate` among the `groups` of `groupby` falls or rises in the ends of `start`."""

    gene: str
    fate: str
    sign: int
    groupby: str
    start: Mapping[str, list[str]]
    groups: tuple[str, ...] | None = None


def main() -> None:
    scnode.settings.verbosity = 0
    rows: list[list[object]] = []
    notes = []
    sets = {
        "paul15": paul15,
        "pancreas": pancreas,
        "BoolODE GSD, early": partial(gonad, "early"),
        "BoolODE GSD, midway": partial(gonad, "midway"),
    }
    for name, load in sets.items():
        adata, claims = load()
        results = [held(adata, claim) for claim in claims]
        rows += [[name, *line(claim, found)] for claim, found in zip(claims, results, strict=True)]
        notes.append(f"{name}: {verdict(claims, results)}")
        sys.stderr.write(f"{name} done\n")
    columns = ["data", "knock-out", "fate", "known", "log2 fold change", "95 % interval", "q", "OOD share", "sign"]
    publish(__file__, "Knock-outs of known direction", columns, rows, f"{NOTES}\n\n{' '.join(notes)}")


def read(name: str) -> ad.AnnData:
    return ad.read_h5ad(Path(os.environ["SCNODE_DATA"]) / name)


def paul15() -> tuple[ad.AnnData, list[Claim]]:
    adata = read("paul15_myeloid.h5ad")
    scnode.tl.fit(adata, pseudotime_key="monocle_pseudotime", **FIT)
    clusters, root = adata.obs["clusters"].astype(str), "Multipotent progenitors"
    branch = np.where(clusters.isin(ERYTHROID), "erythroid", "granulo-monocytic")
    adata.obs["branch"] = np.where(clusters == root, root, branch)
    early = [
        ("Gata1", "erythroid"),
        ("Klf1", "erythroid"),
        *((g, "granulo-monocytic") for g in ("Spi1", "Sfpi1", "Cebpa")),
    ]
    gmp, tilt = {"clusters": ["GMP"]}, ("Monocytes", "Neutrophils")
    claims = [Claim(gene, fate, FALLS, "branch", {"clusters": [root]}) for gene, fate in early]
    return adata, [
        *claims,
        Claim("Cebpe", "Neutrophils", FALLS, "clusters", gmp),
        Claim("Irf8", "Monocytes", FALLS, "clusters", gmp, tilt),
        Claim("Gfi1", "Neutrophils", FALLS, "clusters", gmp, tilt),
    ]


def pancreas() -> tuple[ad.AnnData, list[Claim]]:
    adata = read("pancreas_endocrinogenesis.h5ad")
    scnode.pp.velocity(adata)
    scnode.tl.fit(adata, velocity_key="velocity", **FIT)
    adata.obs["side"] = np.where(adata.obs["clusters"].isin(ENDOCRINE), "endocrine", "progenitor")
    late = {"clusters": ["Ngn3 high EP"]}
    return adata, [
        Claim("Neurog3", "endocrine", FALLS, "side", {"clusters": ["Ductal"]}),
        Claim("Arx", "Alpha", FALLS, "clusters", late),
        Claim("Pax4", "Beta", FALLS, "clusters", late),
    ]


def gonad(stage: str) -> tuple[ad.AnnData, list[Claim]]:
    """Claims are the signs of the shortest paths to the master of the Sertoli fate, where they are of one sign."""
    adata = read("sim_boolode_gsd.h5ad")
    scnode.tl.fit(adata, pseudotime_key="sim_time", **FIT)
    values = pd.DataFrame(np.asarray(adata[:, list(GONAD)].X), index=adata.obs_names, columns=GONAD)
    sertoli = values["SOX9"] > values["FOXL2"]
    late = adata.obs["sim_time"] > 6
    adata.obs["fate"] = np.where(late, np.where(sertoli, "Sertoli", "granulosa"), "undecided")
    adata.obs["stage"] = np.select(
        [adata.obs["sim_time"] < 1, adata.obs["sim_time"].between(3, 5)], ["early", "midway"], "other"
    )
    signs = {gene: path_sign(adata.uns["network"], gene, GONAD[0]) for gene in adata.var_names}
    start = {"stage": [stage]}
    return adata, [Claim(gene, "Sertoli", -sign, "fate", start) for gene, sign in signs.items() if sign]


def path_sign(network: pd.DataFrame, gene: str, goal: str) -> int:
    """Sign of the shortest paths from a gene to another, 0 where they disagree or there is none."""
    signs, reached = {gene: {1}}, {gene}
    if gene == goal:
        return 1
    while signs and goal not in signs:
        further: dict[str, set[int]] = {}
        for source, target, kind in network[["Gene1", "Gene2", "Type"]].itertuples(index=False):
            if source in signs and target not in reached:
                further.setdefault(target, set()).update(s * (1 if kind == "+" else -1) for s in signs[source])
        signs, reached = further, reached | set(further)
    found = signs.get(goal, set())
    return found.pop() if len(found) == 1 else 0


def held(adata: ad.AnnData, claim: Claim) -> dict[str, Any]:
    """The fate's row of the knock-out, with the share of random genes of the sign known; else why there is none."""
    try:
        where = {"start": claim.start, "groupby": claim.groupby, "groups": claim.groups}
        scnode.tl.perturb(adata, {claim.gene: 0.0}, **where, name="now", overwrite=True)
    except scnode.ScnodeError as error:
        return {"why": str(error).split(". ")[0]}
    record = adata.uns["scnode"]["perturbations"]["now"]
    table = scnode.get.perturbation(adata, "now").reset_index(drop=True)
    place = int(np.flatnonzero(table["fate"] == claim.fate)[0])
    null = np.sign(record["null"][:, place])
    return {**table.iloc[place], "chance": float(np.mean(null[null != 0] == claim.sign))}


def line(claim: Claim, found: dict[str, Any]) -> list[str]:
    known = {FALLS: "falls", RISES: "rises"}[claim.sign]
    if "why" in found:
        return [claim.gene, claim.fate, known, "not measured", "", "", "", ""]
    interval = f"{found['ci_low']:+.2f} to {found['ci_high']:+.2f}"
    right = {claim.sign: "right", -claim.sign: "wrong"}.get(direction(found), "no change")
    numbers = [f"{found['log_fold_change']:+.2f}", interval, f"{found['qvalue']:.3f}", f"{found['ood']:.2f}"]
    return [claim.gene, claim.fate, known, *numbers, right]


def direction(found: dict[str, Any]) -> int:
    """Sign of a fold change, 0 below a twentieth."""
    return int(np.sign(round(found["log_fold_change"], 1)))


def verdict(claims: list[Claim], results: list[dict[str, Any]]) -> str:
    known = [(claim, found) for claim, found in zip(claims, results, strict=True) if "why" not in found]
    right = sum(direction(found) == claim.sign for claim, found in known)
    chance = np.mean([found["chance"] for _, found in known])
    still = sum(direction(found) == 0 for _, found in known)
    return (
        f"{right} of {len(known)} signs are right and {still} are of no change; of random genes in their place "
        f"{chance:.2f} are."
    )


NOTES = (
    "`tl.fit(max_epochs=60)` to `monocle_pseudotime` (paul15), RNA velocity (pancreas) and the simulation's time "
    "(BoolODE), then `tl.perturb` at level 0 with its matched null. Starts: multipotent progenitors for branches and "
    "GMP for neutrophils and monocytes, where Irf8 and Gfi1 are asked which of these two is nearer in the end; "
    "Ductal for all endocrine cells and Ngn3 high EP for Alpha and Beta; the first unit of time, and times 3 to 5. Of "
    "the network, a sign is that of its shortest paths from the gene to SOX9, where these agree. A share that is zero "
    "without the knock-out cannot fall: the deterministic flow of the mean takes all early cells of BoolODE to one "
    "fate, and all of Ngn3 high EP to Beta. The starts midway were "
    "taken for this, after the early ones had shown it, as those from which both fates are reached."
)

if __name__ == "__main__":
    main()
