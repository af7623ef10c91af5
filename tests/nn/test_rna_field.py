import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scnode import ScnodeError, nn, ode
from scnode.model import LatentODE

NOW = torch.zeros(())


def gray_box(n_genes=3, *, n_members=2, reach=float("inf"), seed=0):
    """A double-precision field away from its defaults."""
    source = torch.Generator().manual_seed(seed)
    field = nn.RNAField(2 * n_genes, hidden=(16,), n_members=n_members, generator=source).double()
    positive = torch.rand(3, n_genes, generator=source, dtype=torch.float64) + 0.5
    field.set_rates(beta=4 * positive[0], gamma=positive[1], level=3 * positive[2])
    with torch.no_grad():
        field.log_fold.copy_(0.3 * torch.randn(field.log_fold.shape, generator=source))
    field.set_scales(
        center=torch.rand(2 * n_genes, generator=source, dtype=torch.float64) + 1,
        scale=torch.tensor(0.7),
        speed=torch.tensor(2.0),
        reach=reach,
    )
    return field


def states(n, n_genes=3, *, spread=2.0, seed=1):
    return spread * torch.rand(n, 2 * n_genes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("reach", [float("inf"), 1.0])
def test_it_is_stoichiometry_times_fluxes(reach):
    """Of every gene S r, with r its transcription, splicing and degradation."""
    field, y = gray_box(n_members=1, reach=reach), states(20, spread=8.0)
    u, s = y.split(3, 1)
    fluxes = torch.stack((field.transcription(y), field.beta[0] * u, field.gamma[0] * s))
    stoichiometry = torch.tensor([[1.0, -1.0, 0.0], [0.0, 1.0, -1.0]], dtype=torch.float64)
    expected = torch.einsum("kr,rng->nkg", stoichiometry, fluxes).flatten(1)
    torch.testing.assert_close(field(NOW, y), expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("reach", [float("inf"), 1.0])
@pytest.mark.parametrize("n_members", [1, 3])
def test_closed_jacobian_is_that_of_autodiff(reach, n_members):
    field, y = gray_box(n_members=n_members, reach=reach), states(15)
    differentiated = torch.func.vmap(torch.func.jacrev(lambda one: field.mean(NOW, one[None])[0]))(y)
    torch.testing.assert_close(field.jacobian(NOW, y), differentiated)
    torch.testing.assert_close(ode.jacobian(field, y), differentiated)
    torch.testing.assert_close(field.regulation(y), differentiated[:, :3, 3:])
    z = (y - field.center) / field.scale
    torch.testing.assert_close(field.scaled_jacobian(NOW, z), nn.Field.scaled_jacobian(field, NOW, z))


def test_scaled_velocity_is_the_velocity_in_the_usual_units():
    field, y = gray_box(reach=1.0), states(6)
    z = (y - field.center) / field.scale
    together = field.scaled(NOW, z.expand(2, -1, -1))
    torch.testing.assert_close(field.speed * together, field.members(NOW, y))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), reach=st.sampled_from([float("inf"), 2.0]), spread=st.floats(0.1, 100))
def test_the_field_points_into_the_orthant_on_every_face(seed, reach, spread):
    """Also far beyond the reach, where a rim with a pull need not."""
    field, y = gray_box(reach=reach, seed=seed), states(12, spread=spread, seed=seed)
    for coordinate in range(6):
        face = y.clone()
        face[:, coordinate] = 0
        assert (field.members(NOW, face)[..., coordinate] >= 0).all()


@pytest.mark.parametrize("solver", ["dopri5", "rodas5p", "auto"])
def test_solves_that_start_without_molecules_never_owe_any(solver):
    field, y = gray_box(reach=2.0), states(10, spread=30.0)
    y[:5] = 0
    y[5:, ::2] = 0
    ys = ode.solve(
        field.mean, y, torch.linspace(0, 20, 60, dtype=torch.float64), solver=solver, rtol=1e-6, atol=1e-9
    ).ys
    assert ys.min() > -1e-8


def test_transcription_is_bounded_and_every_trajectory_with_it():
    """From far outside all states come to where bounded transcription can hold them."""
    field = gray_box(reach=2.0, n_members=1)
    far = states(50, spread=1e4)
    made = field.transcription(far)
    most = field.transcription(field.center + states(4000, spread=4.0) - 2).max(0).values
    assert (made < 3 * most).all()
    ends = ode.solve(field, far, torch.tensor([0.0, 40.0], dtype=torch.float64), rtol=1e-6).ys[:, -1]
    bound = torch.cat((made.max(0).values * 3 / field.beta[0], made.max(0).values * 3 / field.gamma[0]))
    assert (ends < bound).all()


def test_constant_transcription_gives_the_known_solution():
    field = gray_box(n_members=1)
    with torch.no_grad():
        for weight in field.network.weights:
            weight.zero_()
    y0, ts = states(4), torch.linspace(0, 3, 7, dtype=torch.float64)
    alpha, beta, gamma = field.transcription(y0), field.beta[0], field.gamma[0]
    u0, s0 = y0.split(3, 1)
    t = ts[:, None, None]
    u = alpha / beta + (u0 - alpha / beta) * torch.exp(-beta * t)
    part = (u0 - alpha / beta) * beta / (gamma - beta)
    s = alpha / gamma + part * torch.exp(-beta * t) + (s0 - alpha / gamma - part) * torch.exp(-gamma * t)
    ys = ode.solve(field, y0, ts, rtol=1e-9, atol=1e-11).ys.transpose(0, 1)
    torch.testing.assert_close(ys, torch.cat((u, s), 2), rtol=1e-6, atol=1e-8)


def test_a_new_field_transcribes_at_its_level_in_the_middle():
    field = nn.RNAField(6, hidden=(8,))
    field.set_rates(beta=torch.ones(3), gamma=torch.ones(3), level=torch.tensor([1.0, 2.0, 5.0]))
    torch.testing.assert_close(field.transcription(torch.zeros(1, 6))[0], torch.tensor([1.0, 2.0, 5.0]))


def test_a_fresh_field_has_the_mean_rates_and_weights_of_its_own():
    field = gray_box().float()
    fresh = field.fresh(n_members=3, generator=torch.Generator().manual_seed(2))
    for name in ("beta", "gamma"):
        torch.testing.assert_close(getattr(fresh, name), getattr(field, name).mean(0).expand(3, -1))
    assert torch.equal(fresh.level, field.level)
    assert not torch.equal(fresh.network.weights[0][0], field.network.weights[0][0])


def test_it_is_stored_and_read_as_it_was():
    field = gray_box(reach=3.0).float()
    encoder = nn.Moments(torch.rand(3), torch.rand(3) + 1)
    model = LatentODE(field, encoder=encoder, genes=["a", "b", "c"], transform="moments")
    again = LatentODE.from_arrays(model.to_arrays())
    y = states(5).float()
    assert torch.equal(again.field.members(NOW, y), field.members(NOW, y))
    assert torch.equal(again.encoder.decode(y), encoder.decode(y))
    assert again.field.reach == 3.0


def test_several_members_ask_for_their_own_states():
    with pytest.raises(ScnodeError, match=r"Call field\.mean"):
        gray_box()(NOW, states(4))


def test_a_state_needs_both_kinds_of_every_gene():
    with pytest.raises(ScnodeError, match="twice the number of genes"):
        nn.RNAField(5)
