import itertools

import pytest
import torch

from scnode.nn._monomials import Monomials

SIZES = [(1, 1), (1, 3), (2, 2), (3, 3), (5, 2)]


def states(n, rows=6):
    return torch.randn(rows, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize(("n", "degree"), SIZES)
def test_every_product_is_there_once(n, degree):
    monomials, x = Monomials(n, degree), states(n)
    expected = {tuple(sorted(m)) for k in range(degree + 1) for m in itertools.product(range(n), repeat=k)}
    assert sorted(monomials.factors) == sorted(expected)
    by_hand = torch.stack([x[:, list(m)].prod(1) for m in monomials.factors], 1)
    torch.testing.assert_close(monomials(x), by_hand)
    torch.testing.assert_close(monomials(x[None])[0], by_hand)


@pytest.mark.parametrize(("n", "degree"), SIZES)
def test_slopes_are_the_derivatives(n, degree):
    monomials, x = Monomials(n, degree), states(n)
    coefficients = torch.randn(len(monomials), 3, dtype=torch.float64)
    exact = torch.func.vmap(torch.func.jacrev(lambda one: monomials(one) @ coefficients))(x)
    torch.testing.assert_close(monomials.slopes(x, coefficients), exact)


@pytest.mark.parametrize(("n", "degree"), SIZES)
def test_substitution_expands_scale_and_shift(n, degree):
    monomials, x = Monomials(n, degree), states(n)
    shift = torch.linspace(-1, 2, n, dtype=torch.float64)
    matrix = monomials.substitution(1.7, shift.tolist())
    torch.testing.assert_close(monomials(1.7 * x + shift), monomials(x) @ matrix.T)
    back = monomials.substitution(1 / 1.7, (-shift / 1.7).tolist())
    torch.testing.assert_close(matrix @ back, torch.eye(len(monomials), dtype=torch.float64))


def test_names_are_read_as_products():
    assert Monomials(2, 3).names(["x", "y"]) == ["1", "x", "y", "x^2", "x y", "y^2", "x^3", "x^2 y", "x y^2", "y^3"]
