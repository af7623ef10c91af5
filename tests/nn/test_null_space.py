import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from scnode.nn._null_space import left_null_space, whole_columns
from scnode.nn._sums import write_sum

INTEGER = hnp.arrays(np.int64, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.integers(-3, 3))


@settings(deadline=None)
@given(INTEGER)
def test_of_integers_the_basis_is_exact_whole_complete_and_without_divisors(S):
    S = S.astype(float)
    basis = left_null_space(S)
    assert not (basis @ S).any()
    assert len(basis) == len(S) - np.linalg.matrix_rank(S)
    assert np.linalg.matrix_rank(basis) == len(basis) if len(basis) else True
    assert np.array_equal(basis, np.round(basis))
    assert all(np.gcd.reduce(w.astype(int)) == 1 for w in basis)


@pytest.mark.parametrize(
    ("S", "expected"),
    [
        ([[-1], [-1], [1]], ["A + C", "B + C"]),
        ([[-1, 1], [1, -1]], ["A + B"]),
        ([[1], [1]], ["A - B"]),
        ([[-2], [1]], ["A + 2 B"]),
        # E + S <-> ES -> E + P: the enzyme and the substrate are two moieties.
        ([[-1, 1, 1], [-1, 1, 0], [1, -1, -1], [0, 0, 1]], ["A + C", "B + C + D"]),
        ([[1, -1]], []),
        ([[0], [1]], ["A"]),
    ],
)
def test_moieties_come_out_as_they_are_written_by_hand(S, expected):
    assert [write_sum(w, "ABCD"[: len(S)]) for w in left_null_space(np.array(S, float))] == expected


def test_a_network_too_large_for_its_signs_is_still_solved():
    rng = np.random.default_rng(0)
    S = rng.choice([-1.0, 0.0, 1.0], (40, 25))
    basis = left_null_space(S)
    assert basis.shape == (40 - np.linalg.matrix_rank(S), 40)
    assert not (basis @ S).any()


def test_of_real_numbers_it_is_orthonormal():
    S = np.random.default_rng(0).normal(size=(6, 2)) @ np.random.default_rng(1).normal(size=(2, 4))
    basis = left_null_space(S)
    assert basis.shape == (4, 6)
    np.testing.assert_allclose(basis @ basis.T, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(basis @ S, 0, atol=1e-12)


def test_fractions_become_whole_and_other_numbers_do_not():
    S = np.array([[0.5, -1 / 3], [-1.0, 1.0]])
    np.testing.assert_array_equal(whole_columns(S), [[1, -1], [-2, 3]])
    assert whole_columns(np.array([[np.pi], [1.0]])) is None
    assert whole_columns(np.array([[1.0], [2.0**25]])) is None


@pytest.mark.parametrize(
    ("coefficients", "names", "text"),
    [
        ([1, 0, -2], "ABC", "A - 2 C"),
        ([-1, 0.5], "AB", "-A + 0.5 B"),
        ([0.0, 0.0], "AB", "0"),
        ([-0.25, 1.0], ["1", "x y"], "-0.25 + x y"),
    ],
)
def test_sums_are_read_as_written(coefficients, names, text):
    assert write_sum(coefficients, names) == text
