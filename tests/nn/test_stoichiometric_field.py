import math
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from scnode import ScnodeError, nn, ode
from scnode.model import LatentODE

# A + B <-> C, C -> B + D, A + D -> 2 E: two moieties, one with a species in three places.
S = np.array([[-1, 1, 0, -1], [-1, 1, 1, 0], [1, -1, -1, 0], [0, 0, 1, -1], [0, 0, 0, 2]])
CONSERVED = ["B + C", "A + C + D + E"]
ZERO = torch.zeros(())


def reactions(dtype=torch.float64, *, reach=math.inf, **options):
    """A field of random rates, with its scales set."""
    options = {"species": list("ABCDE"), "hidden": (16, 16), "generator": torch.Generator().manual_seed(0)} | options
    field = nn.StoichiometricField(S, **options).to(dtype)
    number = {name: torch.tensor(x, dtype=dtype) for name, x in {"scale": 0.4, "speed": 1.3}.items()}
    field.set_scales(center=torch.full((5,), 0.7, dtype=dtype), reach=reach, **number)
    return field


def starts(dtype=torch.float64, n=6):
    """Some within a reach of 0.8, most far beyond."""
    return torch.rand(n, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype) * 3


def drift(ys, basis):
    """Most that a conserved quantity moves, relative to the size of its terms."""
    held = ys.double() @ basis.double().T
    size = ys.double().abs().amax((0, 1)) @ basis.double().abs().T
    return ((held - held[:, :1]).abs().amax((0, 1)) / size).max().item()


@pytest.mark.parametrize("reach", [math.inf, 0.8])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("solver", ode.SOLVERS)
def test_every_solver_conserves_to_rounding(solver, dtype, bound, reach):
    field = reactions(dtype, reach=reach)
    ts = torch.linspace(0, 2, 41, dtype=dtype)
    with torch.no_grad(), warnings.catch_warnings():
        # torchdiffeq's implicit Adams method says so where its iteration stops early; conservation does not ask.
        warnings.simplefilter("ignore", UserWarning)
        ys = ode.solve(field, starts(dtype), ts, solver=solver, rtol=1e-4, atol=1e-6).ys
    assert (ys[:, -1] - ys[:, 0]).abs().amax(1).min() > 0.05
    assert drift(ys, field.conserved) < bound


@pytest.mark.parametrize("solver", ["auto", "rodas5p", "radau5"])
def test_conservation_survives_stiffness(solver):
    field = reactions(non_negative=False, reach=0.8, activation="tanh")
    with torch.no_grad():
        for weight in field.weights:
            weight.mul_(5)
    rates = torch.linalg.eigvals(field.jacobian(ZERO, field.center[None])).real
    assert rates.min() < -100
    with torch.no_grad():
        ys = ode.solve(field, starts(), torch.tensor([0.0, 5.0]).double(), solver=solver).ys
    assert drift(ys, field.conserved) < 1e-11


def test_whatever_is_learned_is_conserved():
    field = reactions(reach=0.8)
    optimizer = torch.optim.Adam(field.parameters(), lr=0.1)
    y0, ts = starts(), torch.tensor([0.0, 0.5, 1.0]).double()
    for _ in range(5):
        ys = ode.solve(field, y0, ts, solver="dopri5").ys
        assert drift(ys.detach(), field.conserved) < 1e-12
        optimizer.zero_grad()
        (ys[:, -1] - 1).square().sum().backward()
        optimizer.step()


def test_every_member_conserves_on_its_own():
    field = reactions(n_members=3, reach=0.8)
    with torch.no_grad():
        joint = ode.solve(nn.side_by_side(field, 3), starts().repeat(1, 3), torch.tensor([0.0, 1.0]).double()).ys
    members = joint.unflatten(2, (3, 5))
    assert (members[:, -1, 0] - members[:, -1, 1]).abs().max() > 0.01
    assert max(drift(members[:, :, m], field.conserved) for m in range(3)) < 1e-12


def test_states_far_away_come_back_as_far_as_they_can():
    field = reactions(reach=1.0)
    y0 = field.center + torch.tensor([[20.0, 0.0, 0.0, 0.0, 0.0]]).double()
    with torch.no_grad():
        end = ode.solve(field, y0, torch.tensor([0.0, 60.0]).double()).ys[:, -1]
    # The nearest state of the same totals is where the pull alone would lead.
    closest = y0 - field.allowed(y0 - field.center)
    assert (end - closest).norm() < (y0 - closest).norm() / 2
    # What cannot come back is what is conserved.
    torch.testing.assert_close(end @ field.conserved.T, y0 @ field.conserved.T)
    assert (field.conserved @ (field.allowed(y0 - field.center)).T).abs().max() < 1e-13


@pytest.mark.parametrize("time_dependent", [False, True])
@pytest.mark.parametrize("non_negative", [False, True])
@pytest.mark.parametrize("n_members", [1, 3])
def test_the_jacobian_is_exact_within_and_beyond_reach(n_members, non_negative, time_dependent):
    field = reactions(reach=1.5, n_members=n_members, non_negative=non_negative, time_dependent=time_dependent)
    y, t = starts(n=12), torch.tensor(0.3).double()
    far = (y - field.center).norm(dim=1) > 1.5
    assert far.any()
    assert (~far).any()
    exact = torch.func.vmap(torch.func.jacrev(lambda one: field.mean(t, one[None])[0]))(y)
    found = field.jacobian(t, y)
    torch.testing.assert_close(found, exact)
    assert (field.conserved @ found).abs().max() < 1e-13


def test_gradients_pass_through_the_jacobian():
    field = reactions(n_members=2)
    y = starts(n=2).requires_grad_()
    assert torch.autograd.gradcheck(lambda y: field.jacobian(ZERO, y), y)
    field.jacobian(ZERO, y).square().sum().backward()
    assert all(w.grad.abs().sum() > 0 for w in field.weights)


def test_rates_make_the_velocity_and_run_forward_only():
    field = reactions(n_members=2, reach=5.0)
    rates = field.rates(ZERO, starts())
    assert rates.shape == (2, 6, 4)
    assert (rates > 0).all()
    torch.testing.assert_close(rates @ field.S.T, field.members(ZERO, starts()))
    assert (reactions(non_negative=False).rates(ZERO, starts()) < 0).any()


def test_quantities_are_named():
    field = reactions()
    assert field.conserved_names() == CONSERVED
    assert field.conserved_names("vwxyz") == ["w + x", "v + x + y + z"]
    assert not (field.conserved @ field.S).any()
    assert nn.StoichiometricField([[1, -1]]).conserved.shape == (0, 1)
    assert nn.StoichiometricField([[1, -1]]).conserved_names() == []


def test_a_data_frame_brings_its_names():
    field = nn.StoichiometricField(pd.DataFrame({"binding": [-1, -1, 1]}, index=["A", "B", "C"]))
    assert (field.species, field.reactions) == (["A", "B", "C"], ["binding"])
    assert nn.StoichiometricField(np.array([[1], [-1]])).species == ["x0", "x1"]


def test_fractions_are_conserved_as_exactly_as_whole_numbers():
    field = nn.StoichiometricField(np.array([[-1 / 3], [0.1], [0.7]])).double()
    assert field.S.flatten().tolist() == [-10, 3, 21]
    assert field.conserved_names() == ["3 x0 + 10 x1", "21 x0 + 10 x2"]
    ys = ode.solve(field, starts()[:, :3], torch.tensor([0.0, 1.0]).double()).ys.detach()
    assert drift(ys, field.conserved) < 1e-12


def test_irrational_coefficients_are_conserved_as_they_are_stored():
    field = nn.StoichiometricField(np.array([[-np.pi], [math.e], [1.0]])).double()
    ys = ode.solve(field, starts()[:, :3], torch.tensor([0.0, 1.0]).double()).ys.detach()
    assert field.conserved.shape == (2, 3)
    assert drift(ys, field.conserved) < 1e-12


def test_the_record_brings_everything_back():
    field = reactions(torch.float32, reach=2.0, n_members=2, non_negative=False, reactions=["a", "b", "c", "d"])
    stored = LatentODE(field).to_arrays()
    again = LatentODE.from_arrays(stored).field
    y = starts(torch.float32)
    assert torch.equal(again.mean(ZERO, y), field.mean(ZERO, y))
    assert (again.species, again.reactions, again.non_negative) == (field.species, field.reactions, False)
    assert again.conserved_names() == CONSERVED
    with pytest.raises(ScnodeError, match="4 reactions are named and S has 5"):
        LatentODE.from_arrays({**stored, "config": stored["config"].replace('"n_reactions": 4', '"n_reactions": 5')})


@pytest.mark.parametrize(
    ("S", "options", "message"),
    [
        (5, {}, r"S has shape \(\)\. Pass S of shape \(species, reactions\)"),
        ([1, -1], {}, r"shape \(2,\)"),
        (np.zeros((2, 0)), {}, r"shape \(2, 0\)"),
        (np.zeros((2, 3)), {}, "zero throughout"),
        ([[1.0, np.nan]], {}, "not finite, first in row 0, column 1"),
        ([["a"]], {}, "holds what is no number"),
        ([[1, 2], [3]], {}, "holds what is no number"),
        (S, {"species": ["A", "B"]}, "2 species are named and S has 5"),
        (S, {"reactions": ["A"]}, "1 reactions are named and S has 4"),
        (S, {"species": list("ABCDA")}, r"species come more than once: \['A'\]"),
        (S, {"hidden": (0,)}, "positive integers"),
        (S, {"activation": "relu"}, "'silu', 'softplus', 'tanh'"),
        (S, {"n_members": 0}, "positive integers"),
    ],
)
def test_bad_input_is_told(S, options, message):
    with pytest.raises(ScnodeError, match=message):
        nn.StoichiometricField(S, **options)


def test_a_fresh_one_has_the_same_reactions_and_weights_of_its_own():
    field = reactions(torch.float32, n_members=3)
    fresh = field.fresh(n_members=2, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(fresh.S, field.S)
    assert (fresh.species, fresh.reactions, fresh.n_members) == (field.species, field.reactions, 2)
    assert not torch.equal(fresh.weights[0][0], field.weights[0][0])
    moved = fresh.members(torch.zeros(()), starts(torch.float32))
    torch.testing.assert_close(moved @ field.conserved.T.to(moved), torch.zeros(2, 6, len(field.conserved)))


@pytest.mark.parametrize("time_dependent", [False, True])
def test_an_input_drives_the_rates_and_breaks_nothing(time_dependent):
    field = reactions(reach=0.8, n_controls=2, n_members=1, time_dependent=time_dependent)
    u = torch.tensor([[1.0, 0.0], [-2.0, 0.5]], dtype=torch.float64)
    schedule = nn.Schedule([0.0, 0.6], u)
    breaks, pieces = field.under(schedule).pieces()
    ts = torch.linspace(0, 2, 11, dtype=torch.float64)
    with torch.no_grad():
        ys = ode.solve_pieces(pieces, breaks, starts(), ts, rtol=1e-4, atol=1e-6).ys
        one = ode.solve(field.under(u[0]), starts(), ts, rtol=1e-4, atol=1e-6).ys
        rates = [field.under(level).rates(ZERO, starts()) for level in u]
    assert drift(ys, field.conserved) < 1e-12
    torch.testing.assert_close(ys[:, :4], one[:, :4], atol=1e-3, rtol=0)
    assert (ys[:, -1] - one[:, -1]).abs().max() > 0.01
    assert (rates[0] - rates[1]).abs().min() > 0


def test_the_jacobian_under_an_input_is_by_the_species_alone():
    field, t = reactions(n_controls=1, n_members=2, time_dependent=True), torch.tensor(0.3, dtype=torch.float64)
    bound = field.under(torch.tensor([0.7]))
    expected = torch.func.vmap(torch.func.jacrev(lambda one: bound.mean(t, one[None])[0]))(starts())
    torch.testing.assert_close(bound.jacobian(t, starts()), expected)


def test_an_input_has_a_size():
    with pytest.raises(ScnodeError, match="Pass 0 for no input"):
        reactions(n_controls=-1)
    with pytest.raises(ScnodeError, match="Make it with n_controls="):
        reactions().under(torch.zeros(1))
