import numpy as np
import pytest

from scnode import ScnodeError
from scnode.datasets import dose_response
from scnode.datasets._dose_response import HALF_DOSE, HILL, INPUT, build_network, under_dose

SMALL = {"n_cells": 160, "n_genes": 12, "rng": 100}


@pytest.fixture(scope="module")
def adata():
    return dose_response(**SMALL, noise=0.0, counts=False)


def level(adata, gene, dose, day):
    own = (adata.obs["dose"] == dose) & (adata.obs["day"] == day)
    return float(np.mean(adata[own.to_numpy(), gene].layers["true_spliced"]))


def test_the_input_gene_follows_the_hill_equation_of_the_dose(adata):
    full = float(adata.var.loc[INPUT, "alpha_max"] / adata.var.loc[INPUT, "gamma"])
    for dose in (0.0, 0.25, 0.5, 1.0):
        bound = dose**HILL / (HALF_DOSE**HILL + dose**HILL)
        # After 24 h the gene is in balance.
        assert level(adata, INPUT, dose, 1.0) / full == pytest.approx(0.01 + 0.99 * bound, rel=0.01)


def test_more_drug_more_response_and_less_maturation(adata):
    response = [level(adata, "Drug_TF2", dose, 1.0) for dose in (0.0, 0.25, 0.5, 1.0)]
    maturation = [level(adata, "Base_TF3", dose, 1.0) for dose in (0.0, 0.25, 0.5, 1.0)]
    assert response == sorted(response)
    assert maturation == sorted(maturation, reverse=True)
    assert maturation[0] > 5 * maturation[-1]


def test_collections_are_even_and_begin_untreated(adata):
    assert (adata.obs.loc[adata.obs["day"] == 0, "dose"] == 0).all()
    table = adata.obs[adata.obs["day"] > 0].groupby(["day", "dose"]).size()
    assert len(table) == 12
    assert (table == 10).all()
    np.testing.assert_allclose(np.unique(adata.obs["true_time"]), [0, 8, 16, 24])


def test_a_schedule_changes_nothing_before_it_does(adata):
    washed = dose_response(**SMALL, noise=0.0, counts=False, schedule=([0.0, 16.0], [1.0, 0.0]))
    early = (adata.obs["day"] < 0.7).to_numpy()
    np.testing.assert_allclose(washed.layers["true_spliced"][early], adata.layers["true_spliced"][early], rtol=1e-5)
    # Eight hours without the drug, at a degradation rate of 0.6 an hour.
    assert level(washed, INPUT, 1.0, 1.0) < 0.1 * level(adata, INPUT, 1.0, 1.0)
    np.testing.assert_allclose(level(washed, INPUT, 0.0, 1.0), level(adata, INPUT, 0.0, 1.0))


def test_a_constant_schedule_is_a_dose(adata):
    halved = dose_response(**SMALL, noise=0.0, counts=False, schedule=([0.0], [0.5]))
    assert level(halved, "Drug_TF1", 1.0, 1.0) == pytest.approx(level(adata, "Drug_TF1", 0.5, 1.0), rel=0.15)


def test_velocities_are_those_of_the_abundances(adata):
    spliced, unspliced = (adata.layers[f"true_{name}"] for name in ("spliced", "unspliced"))
    beta, gamma = adata.var["beta"].to_numpy(), adata.var["gamma"].to_numpy()
    np.testing.assert_allclose(adata.layers["true_velocity"], beta * unspliced - gamma * spliced, rtol=1e-3, atol=1e-3)


def test_a_seed_is_one_data_set():
    one, two = (dose_response(**SMALL) for _ in range(2))
    assert (one.X != two.X).nnz == 0
    assert (one.X.data == np.round(one.X.data)).all()
    assert one.uns["simulation"]["parameters"]["doses"].tolist() == [0, 0.25, 0.5, 1]


def test_only_the_input_gene_sees_the_dose():
    network = build_network(12, np.random.default_rng(100))
    changed = under_dose(network, 1.0).constitutive != network.constitutive
    assert [name for name, c in zip(network.names, changed, strict=True) if c] == [INPUT]


@pytest.mark.parametrize(
    ("options", "fix"),
    [
        ({"doses": (0.5, 1.0)}, r"doses=\(0, 1\)"),
        ({"doses": (0.0,)}, r"doses=\(0, 1\)"),
        ({"doses": (0.0, -1.0)}, r"doses=\(0, 1\)"),
        ({"n_days": 1}, "n_days=2"),
        ({"n_cells": 10}, "n_cells at least 16"),
        ({"n_genes": 5}, "n_genes=6"),
        ({"schedule": ([1.0, 2.0], [1.0, 0.0])}, "increasing hours from 0"),
        ({"schedule": ([0.0], [1.0, 0.0])}, "as many factors"),
        ({"schedule": ([0.0, 1.0], [1.0, -1.0])}, "schedule="),
    ],
)
def test_what_cannot_be_simulated_is_told(options, fix):
    with pytest.raises(ScnodeError, match=fix):
        dose_response(**SMALL | options)
