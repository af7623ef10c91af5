import pytest
import torch

from scnode import ScnodeError
from scnode.nn import Diffusion, side_by_side

T = torch.zeros(())


def trained(kind="diagonal", n_latent=3):
    """A diffusion with weights of its own."""
    generator = torch.Generator().manual_seed(0)
    diffusion = Diffusion(n_latent, kind=kind, hidden=(8, 8), generator=generator)
    with torch.no_grad():
        diffusion.weights[-1].copy_(torch.randn(diffusion.weights[-1].shape, generator=generator))
    diffusion.set_scales(center=torch.arange(3.0), scale=torch.tensor(2.0), level=torch.tensor(0.7))
    return diffusion


@pytest.mark.parametrize("kind", ["diagonal", "isotropic"])
def test_it_is_positive_and_bounded_wherever_the_state_is(kind):
    diffusion = trained(kind)
    near = diffusion(T, torch.randn(100, 3))
    far = diffusion(T, 1e6 * torch.randn(1000, 3))
    assert (near > 0).all()
    assert (far > 0).all()
    # Hidden units lie in [-1, 1]: the output lies below the sum of the last weights.
    most = torch.nn.functional.softplus(diffusion.weights[-1].abs().sum(0)) * 0.7 / torch.log(torch.tensor(2.0))
    assert (far <= most).all()
    assert near.std(0).min() > 1e-3


def test_before_training_it_is_its_level_everywhere():
    diffusion = Diffusion(3, generator=torch.Generator().manual_seed(1))
    diffusion.set_scales(center=torch.ones(3), scale=torch.tensor(2.0), level=torch.tensor(0.7))
    torch.testing.assert_close(diffusion(T, torch.randn(20, 3)), torch.full((20, 3), 0.7))


def test_the_isotropic_one_is_alike_in_all_coordinates():
    value = trained("isotropic")(T, torch.randn(50, 3))
    assert torch.equal(value, value[:, :1].expand(-1, 3))
    assert value.std() > 1e-3
    assert trained()(T, torch.randn(50, 3)).std(1).min() > 1e-3


def test_states_are_seen_in_units_of_their_scales():
    diffusion = trained()
    plain = trained()
    plain.set_scales(center=torch.zeros(3), scale=torch.ones(()), level=torch.tensor(0.7))
    states = torch.randn(10, 3)
    torch.testing.assert_close(diffusion(T, 2 * states + torch.arange(3.0)), plain(T, states))


def test_an_ensemble_side_by_side_is_shaken_as_its_members():
    diffusion, states = trained(), torch.randn(2, 5, 3)
    joint = side_by_side(diffusion, 2)(T, states.transpose(0, 1).flatten(1))
    torch.testing.assert_close(joint, torch.cat([diffusion(T, one) for one in states], dim=1))


@pytest.mark.parametrize(
    ("options", "fix"),
    [({"n_latent": 0}, "at least 1"), ({"hidden": (4, 0)}, "at least 1"), ({"kind": "full"}, "'isotropic'")],
)
def test_what_cannot_be_names_the_mending_call(options, fix):
    with pytest.raises(ScnodeError, match=fix):
        Diffusion(**({"n_latent": 2} | options))


def test_a_seed_gives_the_weights():
    a, b, c = (Diffusion(2, generator=torch.Generator().manual_seed(s)) for s in (3, 3, 4))
    assert torch.equal(a.weights[0], b.weights[0])
    assert not torch.equal(a.weights[0], c.weights[0])
