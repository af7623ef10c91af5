import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scnode import ScnodeError, nn, ode
from scnode.model import LatentODE

ZERO = torch.zeros(())
WAVES = {"x": {"x": 1.1, "x y": -0.4}, "y": {"y": -0.4, "x y": 0.1}}


def polynomial(n=3, *, reach=math.inf, **options):
    """A field of random coefficients, with its scales set."""
    field = nn.PolynomialField(n, **options).double()
    with torch.no_grad():
        field.weight.copy_(torch.randn(field.weight.shape, generator=torch.Generator().manual_seed(0)))
    number = {name: torch.tensor(x).double() for name, x in {"scale": 0.7, "speed": 2.0}.items()}
    field.set_scales(center=torch.linspace(-0.5, 1, n).double(), reach=reach, **number)
    return field


def states(n=3, rows=8):
    return torch.randn(rows, n, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@st.composite
def mass_action(draw):
    """Reactions of at most two reactants among three species: reactants, net change and rate constant of each."""
    species = st.integers(0, 2)
    reaction = st.tuples(
        st.lists(species, max_size=2), st.lists(st.integers(-2, 2), min_size=3, max_size=3), st.floats(0.1, 3)
    )
    return draw(st.lists(reaction, min_size=1, max_size=5))


@settings(deadline=None)
@given(mass_action())
def test_mass_action_of_order_two_is_exact(reactions):
    field, names = nn.PolynomialField(3).double(), ["A", "B", "C"]
    monomials = dict(zip(field.monomials.factors, field.monomials.names(names), strict=True))
    table = {name: dict.fromkeys(monomials.values(), 0.0) for name in names}
    for reactants, change, k in reactions:
        for name, n in zip(names, change, strict=True):
            table[name][monomials[tuple(sorted(reactants))]] += n * k
    field.set_coefficients(table)
    field.set_scales(center=torch.ones(3).double() * 3, scale=torch.tensor(0.5), speed=torch.tensor(4.0))
    x = states().abs()
    expected = torch.zeros_like(x)
    for reactants, change, k in reactions:
        expected += (k * x[:, reactants].prod(1))[:, None] * torch.tensor(change)
    torch.testing.assert_close(field(ZERO, x), expected)


def test_squares_of_sums_are_all_it_takes():
    """The products of two states are a hidden layer of squares with known weights."""
    field, x = polynomial(), states()
    u = (x - field.origin) / field.scale
    first, second = zip(*(m for m in field.monomials.factors if len(m) == 2), strict=True)
    square = [torch.square(u[:, first] + sign * u[:, second]) for sign in (1, -1)]
    hidden = torch.cat((torch.ones(8, 1), u, (square[0] - square[1]) / 4), 1)
    torch.testing.assert_close(field(ZERO, x), field.speed * hidden @ field.weight[0])


@pytest.mark.parametrize("degree", [1, 2, 3])
@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("reach", [math.inf, 1.0])
def test_the_jacobian_is_exact_within_and_beyond_reach(degree, n_members, reach):
    field, y = polynomial(degree=degree, n_members=n_members, reach=reach), states()
    exact = torch.func.vmap(torch.func.jacrev(lambda one: field.mean(ZERO, one[None])[0]))(y)
    torch.testing.assert_close(field.jacobian(ZERO, y), exact)
    torch.testing.assert_close(field.members(ZERO, y)[0], field(ZERO, y.expand(n_members, -1, -1))[0])


def test_gradients_pass_through_the_jacobian():
    field, y = polynomial(2, n_members=2), states(2, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda y: field.jacobian(ZERO, y), y)
    field.jacobian(ZERO, y).square().sum().backward()
    assert field.weight.grad[:, 1:].abs().min() > 0


@pytest.mark.parametrize("degree", [2, 3])
def test_coefficients_are_those_of_the_units_of_x(degree):
    field, x = polynomial(degree=degree, n_members=2), states()
    table = pd.DataFrame(field.coefficients(["x", "y", "z"]))
    assert list(table.columns) == ["x", "y", "z"]
    features = np.stack([x.numpy()[:, list(m)].prod(1) for m in field.monomials.factors], 1)
    np.testing.assert_allclose(features @ table.to_numpy(), field.mean(ZERO, x).detach().numpy(), rtol=1e-10)


def test_scales_change_the_numbers_and_not_the_field():
    field, x = polynomial(degree=3), states()
    before = field(ZERO, x)
    field.set_scales(center=torch.full((3,), 9.0), scale=torch.tensor(0.1), speed=torch.tensor(0.3))
    torch.testing.assert_close(field(ZERO, x), before, rtol=1e-8, atol=1e-8)


def test_equations_are_read_in_the_units_of_x():
    field = nn.PolynomialField(2)
    assert field.equations(["x", "y"]) == ["dx/dt = 0", "dy/dt = 0"]
    field.set_coefficients(WAVES)
    field.set_scales(center=torch.tensor([7.0, -2.0]), scale=torch.tensor(3.0), speed=torch.tensor(11.0))
    assert field.equations(["x", "y"]) == ["dx/dt = 1.1 x - 0.4 x y", "dy/dt = -0.4 y + 0.1 x y"]
    assert field.equations()[0] == "dx0/dt = 1.1 x0 - 0.4 x0 x1"
    assert field.equations(["x", "y"], tolerance=0.9) == ["dx/dt = -0.4 x y", "dy/dt = 0.1 x y"]


def test_what_is_set_is_read():
    field = nn.PolynomialField(2, n_members=3).double()
    field.set_coefficients(WAVES)
    found = field.coefficients(["x", "y"])
    for state, terms in found.items():
        assert terms == pytest.approx(dict.fromkeys(terms, 0.0) | WAVES[state])


def test_noise_free_trajectories_give_the_coefficients_back(system):
    field = nn.PolynomialField(len(system.names)).double()
    field.regress(system.ts, system.ys)
    assert system.error(field.coefficients(system.names)) < 5e-3
    few, early = slice(0, 5), slice(0, 31)
    ode.fit_trajectories(field, system.ts[early], system.ys[few, early], solver="tsit5", rtol=1e-7)
    assert system.error(field.coefficients(system.names)) < 1e-4


def support(table):
    return {(state, term) for state, terms in table.items() for term in terms}


def test_without_noise_what_the_quadrature_leaves_is_no_term(system):
    field = nn.PolynomialField(len(system.names))
    field.sparsify(system.ts, system.ys)
    assert support(field.coefficients(system.names)) == support(system.truth)
    assert system.error(field.coefficients(system.names)) < 0.02


@pytest.mark.parametrize("noise", [0.02, 0.05])
def test_exactly_the_right_terms_are_found_in_noise(system, noise):
    """A threshold has its level: of 240 draws, two found a term too many."""
    right, n_draws, z = 0, 20, []
    for seed in range(n_draws):
        field = nn.PolynomialField(len(system.names))
        errors = field.sparsify(system.ts, system.noisy(noise, seed))
        found = field.coefficients(system.names)
        assert support(found) >= support(system.truth)
        right += support(found) == support(system.truth)
        for (state, terms), spread in zip(found.items(), errors.values(), strict=True):
            rows = zip(terms.items(), spread.values(), strict=True)
            z += [(value - system.truth[state].get(term, 0.0)) / error for (term, value), error in rows]
    assert right >= n_draws - 1
    # The standard errors are those of the coefficients.
    assert 0.7 < np.std(z) < 1.4


def test_times_need_not_be_even_nor_the_same(waves):
    rng = np.random.default_rng(0)
    index = torch.tensor(np.sort(np.stack([rng.choice(81, 60, replace=False) for _ in range(10)]), 1))
    ts, ys = waves.ts[index], torch.take_along_dim(waves.noisy(0.02, 0), index[..., None], 1)
    field = nn.PolynomialField(2)
    field.sparsify(ts, ys)
    assert support(field.coefficients(["x", "y"])) == support(WAVES)
    assert waves.error(field.coefficients(["x", "y"])) < 0.05


def test_cubic_terms_are_found():
    ts, y0 = torch.linspace(0, 6, 121).double(), torch.tensor([[0.1], [-0.3], [2.0], [1.5]]).double()
    ys = ode.solve(lambda t, y: y - y**3, y0, ts, rtol=1e-9, atol=1e-11).ys
    field = nn.PolynomialField(1, degree=3)
    field.sparsify(ts, ys + 0.02 * torch.randn(ys.shape, generator=torch.Generator().manual_seed(0)))
    assert set(field.coefficients(["x"])["x"]) == {"x", "x^3"}


def test_what_is_left_out_stays_out(waves):
    field = nn.PolynomialField(2).double()
    field.sparsify(waves.ts, waves.noisy(0.02, 0))
    field.set_scales(center=waves.ys.mean((0, 1)), scale=waves.ys.std(), speed=torch.tensor(2.0).double())
    optimizer = torch.optim.Adam(field.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        field(ZERO, waves.ys[:, 0]).square().sum().backward()
        optimizer.step()
    assert support(field.coefficients(["x", "y"])) == support(WAVES)
    again = LatentODE.from_arrays(LatentODE(field.float()).to_arrays()).field
    assert again.equations(["x", "y"]) == field.equations(["x", "y"])
    again.set_coefficients({"x": {"x^2": 1.0}, "y": {"1": 1.0}})
    assert again.equations(["x", "y"]) == ["dx/dt = x^2", "dy/dt = 1"]


def test_starts_of_one_total_do_not_tell_terms_apart():
    ts = torch.linspace(0, 3, 40).double()
    y0 = torch.tensor([[0.2, 0.8], [0.5, 0.5], [0.9, 0.1]]).double()
    ys = ode.solve(lambda t, y: torch.stack((-y[:, 0], y[:, 0]), 1), y0, ts, rtol=1e-9, atol=1e-12).ys
    with pytest.raises(ScnodeError, match=r"conserved total\. Pass trajectories from more starts"):
        nn.PolynomialField(2).sparsify(ts, ys)
    field = nn.PolynomialField(2).double()
    field.regress(ts, ys)
    torch.testing.assert_close(field(ZERO, ys[:, 5]), torch.stack((-ys[:, 5, 0], ys[:, 5, 0]), 1), rtol=0.02, atol=0.02)


def test_evidence_is_regressed_before_it_is_trained_on():
    truth, x = polynomial(), states(rows=200)
    field = nn.PolynomialField(3, n_members=2).double()
    field.set_scales(center=x.mean(0), scale=x.std(), speed=torch.tensor(3.0).double())
    weight = torch.rand(2, 200, dtype=torch.float64)
    assert field.prepare(x, truth(ZERO, x).detach(), weight)
    torch.testing.assert_close(field.mean(ZERO, x), truth(ZERO, x), rtol=1e-4, atol=1e-3)
    assert not field.prepare(x, x, weight)
    assert not nn.MLPField(3).prepare(x, x, weight)


def test_the_record_brings_everything_back():
    field = polynomial(degree=3, n_members=2, reach=2.0).float()
    again = LatentODE.from_arrays(LatentODE(field).to_arrays()).field
    assert torch.equal(again.mean(ZERO, states().float()), field.mean(ZERO, states().float()))
    assert again.degree == 3


TS, YS = torch.linspace(0, 1, 20), torch.rand(2, 20, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.PolynomialField(2, degree=4), "Pass 1, 2 or 3"),
        (lambda: nn.PolynomialField(100, degree=3), "176851 monomials"),
        (lambda: nn.PolynomialField(0), "positive integers"),
        (lambda: nn.PolynomialField(2).set_coefficients({"x": {"z": 1.0}, "y": {}}), "'z' is none of the monomials"),
        (lambda: nn.PolynomialField(2).set_coefficients({"x": {}}), "do not name 2 states"),
        (lambda: nn.PolynomialField(2).equations(["x", "x"]), "all different"),
        (lambda: nn.PolynomialField(3).regress(TS, YS), "ys has 2 states and the field 3"),
        (lambda: nn.PolynomialField(2).regress(TS[:6], YS[:, :6]), "at least 7"),
        (lambda: nn.PolynomialField(2).regress(TS[:9], YS), "Pass ys"),
        (lambda: nn.PolynomialField(2).regress(TS.flip(0), YS), "increase strictly"),
        (lambda: nn.PolynomialField(2).regress(TS, YS * math.nan), "not finite"),
        (lambda: nn.PolynomialField(2).regress(TS, YS, window=20), "window=20 must be"),
        (lambda: nn.PolynomialField(2).sparsify(TS, YS, threshold=-1.0), "threshold=-1.0"),
        (lambda: nn.PolynomialField(2).sparsify(TS, YS, threshold=1e9), "No term stands out"),
    ],
)
def test_bad_input_is_told(call, message):
    with pytest.raises(ScnodeError, match=message):
        call()
